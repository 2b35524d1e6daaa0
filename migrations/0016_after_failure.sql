-- What becomes of a task when one that it waits for fails, is cancelled or runs out of time. None: it waits on,
-- until that one is tried again.

ALTER TABLE tasks ADD COLUMN after_failure text CHECK (after_failure IN ('fail', 'skip', 'run'));
