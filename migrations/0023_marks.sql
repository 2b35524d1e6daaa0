-- Lists of what is in a seldom state read one table: with the codebase, with what is waited for, and with what is
-- not judged yet.

ALTER TABLE task_marks ADD COLUMN codebase_id uuid, ADD COLUMN waiting_for waiting_reason;
INSERT INTO task_marks (task_id, status) SELECT id, status FROM tasks WHERE status = 'pending'
ON CONFLICT DO NOTHING;
UPDATE task_marks m SET codebase_id = t.codebase_id, waiting_for = t.waiting_for FROM tasks t WHERE t.id = m.task_id;
CREATE INDEX idx_task_marks_codebase ON task_marks (codebase_id, status, task_id);
CREATE INDEX idx_task_marks_waiting ON task_marks (waiting_for, task_id) WHERE waiting_for IS NOT NULL;

CREATE OR REPLACE FUNCTION mark_task() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    final CONSTANT status_type[] := '{completed,failed,cancelled,timeout}';
BEGIN
    IF NEW.status IN ('ready', 'completed') THEN
        DELETE FROM task_marks WHERE task_id = NEW.id;
    ELSE
        INSERT INTO task_marks (task_id, status, wake_at, codebase_id, waiting_for)
        VALUES (NEW.id, NEW.status, CASE WHEN NEW.status = 'waiting' THEN NEW.wake_at END, NEW.codebase_id,
            NEW.waiting_for)
        ON CONFLICT (task_id) DO UPDATE SET status = excluded.status, wake_at = excluded.wake_at,
            waiting_for = excluded.waiting_for;
    END IF;
    IF NEW.unique_key IS NOT NULL THEN
        IF NEW.status = ANY (final) THEN
            DELETE FROM task_keys WHERE task_id = NEW.id;
        ELSIF TG_OP = 'INSERT' OR OLD.status = ANY (final) THEN
            INSERT INTO task_keys (unique_key, task_id) VALUES (NEW.unique_key, NEW.id);
        END IF;
    END IF;
    RETURN NULL;
END
$$;
DROP TRIGGER mark_new ON tasks;
DROP TRIGGER mark_changed ON tasks;
CREATE TRIGGER mark_new AFTER INSERT ON tasks FOR EACH ROW
    WHEN (NEW.unique_key IS NOT NULL OR NEW.status NOT IN ('ready', 'completed'))
    EXECUTE FUNCTION mark_task();
CREATE TRIGGER mark_changed AFTER UPDATE OF status, wake_at, waiting_for ON tasks FOR EACH ROW
    WHEN ((OLD.status <> NEW.status OR OLD.wake_at IS DISTINCT FROM NEW.wake_at
            OR OLD.waiting_for IS DISTINCT FROM NEW.waiting_for)
        AND (NEW.unique_key IS NOT NULL OR OLD.status NOT IN ('ready', 'completed')
            OR NEW.status NOT IN ('ready', 'completed')))
    EXECUTE FUNCTION mark_task();
