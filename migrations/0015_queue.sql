-- The queue by what is ready, not by looking at all tasks. What may be claimed stands in `ready_tasks`, many
-- tasks a row, in the order of claims; `tasks` has no index on what changes, so that a task's end touches its row alone.

-- What a claim must look at apart: its agents and its codebase's limit. As many rows as there are kinds of work.
CREATE TABLE queue_lanes (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    codebase_id uuid,
    agent_id uuid,          -- the wanted agent
    capability text NOT NULL,
    is_runless boolean NOT NULL, -- no agent works on them: they only stand for others
    UNIQUE NULLS NOT DISTINCT (codebase_id, agent_id, capability, is_runless)
);

-- Tasks that may be claimed. `bucket`: the day on which the oldest could be added, less one day for each level of
-- priority, so that a task gains a level with each day that it waits. `chain`: the longest chain of tasks that wait
-- for it, below zero, so that the longest goes first. An id whose task is not ready any more is passed over.
CREATE TABLE ready_tasks (
    lane_id integer NOT NULL,
    bucket integer NOT NULL,
    due timestamptz NOT NULL,
    chain integer NOT NULL,
    first_id uuid NOT NULL,
    place uuid NOT NULL DEFAULT gen_random_uuid(), -- a row is never added to: a claim may hold an older look at it
    reserved_for uuid,
    ids uuid[] NOT NULL CHECK (cardinality(ids) > 0),
    PRIMARY KEY (lane_id, bucket, due, chain, first_id, place)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
-- A few kilobytes that are written once and read once.
ALTER TABLE ready_tasks ALTER COLUMN ids SET STORAGE MAIN;
ALTER TABLE audit_events ALTER COLUMN record_ids SET STORAGE EXTERNAL;

-- The lease on tasks without a run that are claimed together and end together.
CREATE TABLE task_leases (
    id uuid PRIMARY KEY DEFAULT uuid_v7(),
    node_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    ids uuid[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE task_leases ALTER COLUMN ids SET STORAGE MAIN;

-- Unfinished tasks by their unique key.
CREATE TABLE task_keys (
    unique_key text CONSTRAINT task_keys_unique_key PRIMARY KEY,
    task_id uuid NOT NULL REFERENCES tasks ON DELETE CASCADE
);
CREATE INDEX idx_task_keys_task ON task_keys (task_id);

-- Tasks in a state that is neither ready nor completed, and when they wake: lists and the clock read it.
CREATE TABLE task_marks (
    task_id uuid PRIMARY KEY REFERENCES tasks ON DELETE CASCADE,
    status status_type NOT NULL,
    wake_at timestamptz
);
CREATE INDEX idx_task_marks_status ON task_marks (status, task_id);
CREATE INDEX idx_task_marks_wake ON task_marks (wake_at) WHERE wake_at IS NOT NULL;

CREATE FUNCTION mark_task() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    final CONSTANT status_type[] := '{completed,failed,cancelled,timeout}';
BEGIN
    IF NEW.status IN ('pending', 'ready', 'completed') THEN
        DELETE FROM task_marks WHERE task_id = NEW.id;
    ELSE
        INSERT INTO task_marks (task_id, status, wake_at)
        VALUES (NEW.id, NEW.status, CASE WHEN NEW.status = 'waiting' THEN NEW.wake_at END)
        ON CONFLICT (task_id) DO UPDATE SET status = excluded.status, wake_at = excluded.wake_at;
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
CREATE TRIGGER mark_new AFTER INSERT ON tasks FOR EACH ROW
    WHEN (NEW.unique_key IS NOT NULL OR NEW.status NOT IN ('pending', 'ready', 'completed'))
    EXECUTE FUNCTION mark_task();
CREATE TRIGGER mark_changed AFTER UPDATE OF status, wake_at ON tasks FOR EACH ROW
    WHEN ((OLD.status <> NEW.status OR OLD.wake_at IS DISTINCT FROM NEW.wake_at)
        AND (NEW.unique_key IS NOT NULL OR OLD.status NOT IN ('pending', 'ready', 'completed')
            OR NEW.status NOT IN ('pending', 'ready', 'completed')))
    EXECUTE FUNCTION mark_task();

-- What is added, and what ends without a run, is audited by the event of its batch; every other change by its row.
DROP TRIGGER audit ON tasks;
CREATE TRIGGER audit AFTER UPDATE ON tasks FOR EACH ROW
    WHEN (OLD.status <> 'ready' OR NEW.status <> 'completed') EXECUTE FUNCTION audit_change('id');
CREATE TRIGGER audit_delete AFTER DELETE ON tasks FOR EACH ROW EXECUTE FUNCTION audit_change('id');
-- A trigger before each row would lock the row first, and write that down. Our statements set it themselves.
DROP TRIGGER updated_at ON tasks;

INSERT INTO task_marks (task_id, status, wake_at)
SELECT id, status, CASE WHEN status = 'waiting' THEN wake_at END FROM tasks
WHERE status NOT IN ('pending', 'ready', 'completed');
INSERT INTO task_keys (unique_key, task_id) SELECT unique_key, id FROM tasks
WHERE unique_key IS NOT NULL AND status NOT IN ('completed', 'failed', 'cancelled', 'timeout');
-- The next claim makes them ready, with their place.
UPDATE tasks SET status = 'waiting', waiting_for = 'retry_at',
    wake_at = now() - make_interval(secs => array_position(enum_range(NULL::priority_level), priority))
WHERE status IN ('pending', 'ready');

DROP INDEX idx_tasks_claim, idx_tasks_wake, idx_tasks_unique_key, idx_tasks_status, idx_tasks_suffix, idx_tasks_codebase;
CREATE INDEX idx_tasks_codebase ON tasks (codebase_id, id) WHERE codebase_id IS NOT NULL;
-- Room for the end of each task beside its beginning.
ALTER TABLE tasks SET (fillfactor = 45);
