-- The statement that appends a step stores its blobs, too, and neither is ever changed or removed: two foreign
-- keys would look again for each entry, most of which have no blob.

ALTER TABLE run_steps DROP CONSTRAINT run_steps_output_blob_fkey, DROP CONSTRAINT run_steps_pack_blob_fkey;
