-- Why a node begins nothing, where its user wants that.

ALTER TABLE runtime_nodes ADD COLUMN idle_because text CHECK (idle_because IN ('drained', 'maintenance'));

-- Whoever writes a completed row without our statements is in the lists, too.
CREATE TRIGGER mark_added_completed AFTER INSERT ON tasks FOR EACH ROW
    WHEN (NEW.status = 'completed') EXECUTE FUNCTION mark_completed();
