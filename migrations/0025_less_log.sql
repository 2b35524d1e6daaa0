-- Less is written for each task: what is empty is nothing, and the ids of a batch, which begin alike, are compressed.

ALTER TABLE tasks ALTER COLUMN check_commands DROP NOT NULL, ALTER COLUMN check_commands DROP DEFAULT,
    ALTER COLUMN command DROP NOT NULL, ALTER COLUMN command DROP DEFAULT;
ALTER TABLE audit_events ALTER COLUMN record_ids SET STORAGE MAIN;
