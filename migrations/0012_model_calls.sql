-- Each try of a model call: what it used, what it cost, how it failed, when the next one is due.

CREATE TABLE model_calls (
    run_id uuid NOT NULL REFERENCES agent_tasks,
    request_seq integer NOT NULL CHECK (request_seq > 0), -- the step that holds the request
    attempt integer NOT NULL CHECK (attempt > 0),
    provider text NOT NULL,
    model text NOT NULL,
    wire text NOT NULL,
    started_at timestamptz NOT NULL,
    duration_ms bigint NOT NULL,
    first_chunk_ms bigint,
    failure_kind text, -- none: it answered
    http_status integer,
    next_attempt_at timestamptz,
    uncached_input_tokens bigint NOT NULL DEFAULT 0,
    cache_read_tokens bigint NOT NULL DEFAULT 0,
    cache_write_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    reasoning_tokens bigint NOT NULL DEFAULT 0,
    cost_nanousd bigint, -- billionths of a US dollar; none: nobody knows
    price_version text,
    PRIMARY KEY (run_id, request_seq, attempt)
);
CREATE INDEX idx_model_calls_started ON model_calls (started_at);

REVOKE UPDATE, DELETE, TRUNCATE ON model_calls FROM PUBLIC;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON model_calls
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON model_calls
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
