-- Each step bears a digest of itself, so that a row which was changed by hand, or is another run's, is found when
-- the journal is read again. Steps from before have none, and are read by their shape alone.

CREATE FUNCTION step_digest(run uuid, seq integer, epoch bigint, kind text, payload jsonb, output bytea,
    snapshot text, pack bytea) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    -- jsonb prints equal values equally.
    SELECT sha256(convert_to(jsonb_build_array(run, seq, epoch, kind, payload, encode(output, 'hex'), snapshot,
        encode(pack, 'hex'))::text, 'UTF8'))
$$;

ALTER TABLE run_steps ADD COLUMN digest bytea;
