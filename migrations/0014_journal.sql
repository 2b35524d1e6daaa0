-- A journal's entry is appended where the execution's lease and the run are looked at in the same statement:
-- a foreign key would look, and lock the run's row, once more for each entry.

ALTER TABLE run_steps DROP CONSTRAINT run_steps_run_id_fkey;
