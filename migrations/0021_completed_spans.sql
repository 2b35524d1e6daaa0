-- Where the completed tasks are, for lists of them: spans of ids in which any task has completed. An index on the
-- state would be written for each task that ends.

-- The span of an id: its first 44 bits, 16 milliseconds.
CREATE FUNCTION span_of(id uuid) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('x' || left(replace(id::text, '-', ''), 11))::bit(44)::bigint
$$;
CREATE FUNCTION span_begins(span bigint) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT rpad(lpad(to_hex(span), 11, '0'), 32, '0')::uuid
$$;
CREATE TABLE completed_spans (span bigint PRIMARY KEY);
INSERT INTO completed_spans SELECT DISTINCT span_of(id) FROM tasks WHERE status = 'completed';

CREATE FUNCTION mark_completed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO completed_spans (span) VALUES (span_of(NEW.id)) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
-- What ends without a run says it itself, once for its batch.
CREATE TRIGGER mark_completed AFTER UPDATE OF status ON tasks FOR EACH ROW
    WHEN (NEW.status = 'completed' AND OLD.status NOT IN ('ready', 'completed'))
    EXECUTE FUNCTION mark_completed();
