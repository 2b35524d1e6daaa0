-- The runtime's own tables: children, the journal, blobs, the outbox.

CREATE TABLE child_processes (
    id uuid PRIMARY KEY DEFAULT uuid_v7(),
    node_id uuid NOT NULL REFERENCES runtime_nodes ON DELETE CASCADE,
    execution_id uuid REFERENCES task_executions ON DELETE SET NULL,
    lease_epoch bigint,
    run_id uuid REFERENCES agent_tasks ON DELETE SET NULL,
    pid integer NOT NULL,
    start_time bigint NOT NULL, -- clock ticks since boot: with the PID it names one process
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    argv_head text NOT NULL
);
CREATE INDEX idx_child_processes_execution ON child_processes (execution_id) WHERE ended_at IS NULL;
CREATE INDEX idx_child_processes_node ON child_processes (node_id) WHERE ended_at IS NULL;

-- Content-addressed, stored once. Outputs are compressed already or gain little: plain storage
-- would cost more than PostgreSQL's own compression, so the default stays.
CREATE TABLE blobs (
    hash bytea PRIMARY KEY CHECK (length(hash) = 32), -- SHA-256 of bytes
    size bigint NOT NULL CHECK (size = length(bytes)),
    bytes bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The journal of a run. The fence is checked where rows are inserted, in the same statement.
CREATE TABLE run_steps (
    run_id uuid NOT NULL REFERENCES agent_tasks,
    seq integer NOT NULL CHECK (seq > 0),
    epoch bigint NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    output_blob bytea REFERENCES blobs,
    snapshot_tree text,
    pack_blob bytea REFERENCES blobs,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, seq)
);

-- Effects on foreign systems, written in the transaction that decides them.
CREATE TABLE outbox (
    id uuid PRIMARY KEY DEFAULT uuid_v7(),
    kind text NOT NULL,
    target text NOT NULL,
    idempotency_key text NOT NULL UNIQUE,
    payload jsonb NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sending', 'done', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    remote_id text,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_outbox_due ON outbox (next_attempt_at) WHERE state IN ('pending', 'sending');
