-- What a task works on, and how much waits for it.

-- The files that a task declared. It holds them from its first claim until it ends, so that what it changes is
-- delivered before another one begins on them.
CREATE TABLE task_files (
    task_id uuid PRIMARY KEY REFERENCES tasks ON DELETE CASCADE,
    codebase_id uuid NOT NULL REFERENCES codebases ON DELETE CASCADE,
    globs text[] NOT NULL CHECK (cardinality(globs) > 0),
    holds boolean NOT NULL DEFAULT false,
    waits_for uuid -- the holder that it met
);
CREATE INDEX idx_task_files_held ON task_files (codebase_id) WHERE holds;
CREATE INDEX idx_task_files_waiting ON task_files (codebase_id) WHERE waits_for IS NOT NULL;
SELECT attach_audit('task_files', 'task_id');

-- The longest chain of tasks that wait for a task, where any does: among equals the longest goes first.
CREATE TABLE task_chains (
    task_id uuid PRIMARY KEY REFERENCES tasks ON DELETE CASCADE,
    length integer NOT NULL CHECK (length > 0)
);

-- Lists by what is seldom wanted.
CREATE INDEX idx_tasks_agent ON tasks (agent_id, id) WHERE agent_id IS NOT NULL;
CREATE INDEX idx_tasks_priority ON tasks (priority, id) WHERE priority <> 'normal';
DROP INDEX idx_tasks_parent;
CREATE INDEX idx_tasks_parent ON tasks (parent_task_id, id) WHERE parent_task_id IS NOT NULL;
