-- A reason to wait: another task works on the same files. A new value can be used only after its commit.

ALTER TYPE waiting_reason ADD VALUE 'lock';
