-- The outbox in use: for which task an effect is, which machine can bring it about, who sends it under which
-- lease, and after which other one it was decided.

ALTER TABLE outbox
    ADD COLUMN task_id uuid REFERENCES tasks ON DELETE CASCADE,
    ADD COLUMN follows uuid REFERENCES outbox ON DELETE SET NULL,
    ADD COLUMN host text, -- only a node of this machine has what it needs; NULL: any node
    ADD COLUMN node_id uuid REFERENCES runtime_nodes ON DELETE SET NULL,
    ADD COLUMN lease_epoch bigint NOT NULL DEFAULT 0,
    ADD COLUMN lease_expires_at timestamptz,
    ADD COLUMN traceparent text,
    ADD CONSTRAINT outbox_lease CHECK ((state = 'sending') = (lease_expires_at IS NOT NULL));

CREATE INDEX idx_outbox_task ON outbox (task_id);
