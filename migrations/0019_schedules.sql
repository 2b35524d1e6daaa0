-- Tasks that are added by the clock.

CREATE TABLE task_schedules (
    id uuid PRIMARY KEY DEFAULT uuid_v7(),
    name varchar(255) NOT NULL UNIQUE CHECK (btrim(name) <> ''),
    cron text NOT NULL,
    time_zone text NOT NULL,
    missed text NOT NULL CHECK (missed IN ('skip', 'once', 'all')),
    overlap text NOT NULL CHECK (overlap IN ('skip', 'allow')),
    codebase_id uuid NOT NULL REFERENCES codebases ON DELETE CASCADE,
    task jsonb NOT NULL, -- what is added, as the program's `NewTask`
    status status_type NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused')),
    next_at timestamptz NOT NULL,
    last_at timestamptz,
    last_task_id uuid,
    note text, -- why the last time added nothing
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_task_schedules_next ON task_schedules (next_at) WHERE status = 'active';
CREATE TRIGGER updated_at BEFORE UPDATE ON task_schedules
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
SELECT attach_audit('task_schedules', 'id');
