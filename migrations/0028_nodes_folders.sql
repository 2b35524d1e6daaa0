-- A node is told apart from others by the boot of its machine and by its data folder, whose id is in a file of it:
-- machines and containers may share a name, and paths.

ALTER TABLE runtime_nodes ADD COLUMN data_id uuid;
