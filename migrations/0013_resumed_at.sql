-- When the user last let a task go on that waited for them. A run that was put aside before this goes on
-- by their word; one that was put aside after it waits anew.

ALTER TABLE tasks ADD COLUMN resumed_at timestamptz;
