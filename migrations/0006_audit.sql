-- The audit: one trigger for every table, batch events, and the chain of hashes over both.

CREATE TABLE audit_rows (
    position bigint GENERATED ALWAYS AS IDENTITY,
    id uuid NOT NULL DEFAULT uuid_v7(),
    table_name varchar(255) NOT NULL,
    record_id uuid NOT NULL,
    operation varchar(20) NOT NULL CHECK (operation IN ('INSERT', 'UPDATE', 'DELETE')),
    old_values jsonb,
    new_values jsonb,
    changed_fields jsonb NOT NULL DEFAULT '[]',
    actor text NOT NULL,
    trace_id text,
    span_id text,
    session_id varchar(255),
    occurred_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (position, occurred_at)
) PARTITION BY RANGE (occurred_at);
CREATE INDEX idx_audit_rows_record ON audit_rows (record_id, position);

-- One row for a batch of equal events: what happened (kind) to which records of which table.
CREATE TABLE audit_events (
    position bigint GENERATED ALWAYS AS IDENTITY,
    id uuid NOT NULL DEFAULT uuid_v7(),
    kind text NOT NULL,
    table_name varchar(255) NOT NULL,
    record_ids uuid[] NOT NULL,
    attributes jsonb NOT NULL DEFAULT '{}',
    actor text NOT NULL,
    trace_id text,
    span_id text,
    session_id varchar(255),
    occurred_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (position, occurred_at)
) PARTITION BY RANGE (occurred_at);

-- Block `seq` of chain 'rows' or 'events' covers the positions first..last.
-- hash = SHA-256(previous_hash, chain, seq, first, last, count, content_digest).
CREATE TABLE audit_blocks (
    chain text NOT NULL CHECK (chain IN ('rows', 'events')),
    seq bigint NOT NULL CHECK (seq > 0),
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    row_count bigint NOT NULL,
    content_digest bytea NOT NULL CHECK (length(content_digest) = 32),
    previous_hash bytea NOT NULL CHECK (length(previous_hash) = 32),
    hash bytea NOT NULL CHECK (length(hash) = 32),
    sealed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (chain, seq),
    UNIQUE (chain, last_position),
    CHECK (first_position <= last_position)
);

-- Append-only. Retention drops whole partitions, which no trigger sees; only for rows in a default
-- partition it deletes, and says so by a transaction-local setting.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('journeyman.retention', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'JM002';
END
$$;

-- An own trigger for each command: a row trigger for single rows, a statement trigger for TRUNCATE.
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['audit_rows', 'audit_events', 'audit_blocks', 'run_steps', 'blobs'] LOOP
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %I FROM PUBLIC', name);
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %I
            FOR EACH ROW EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON %I
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', name);
    END LOOP;
END
$$;

-- Writes the audit row of a change. Arguments: the column that identifies the record, then the
-- columns whose values are masked. Fields that only say "still alive" count as no change.
CREATE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    unaudited CONSTANT text[] := ARRAY['updated_at', 'heartbeat_at', 'lease_expires_at'];
    key text := TG_ARGV[0];
    old_row jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    new_row jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    record uuid := coalesce(new_row, old_row) ->> key;
    masked text[] := TG_ARGV[1:];
    changed text[];
    field text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT array_agg(n.key ORDER BY n.key) INTO changed
        FROM jsonb_each(new_row) n
        WHERE n.value IS DISTINCT FROM old_row -> n.key AND n.key <> ALL (unaudited);
        IF changed IS NULL THEN
            RETURN NULL;
        END IF;
    END IF;
    IF TG_TABLE_NAME = 'system_configuration'
        AND ((old_row ->> 'is_sensitive')::boolean OR (new_row ->> 'is_sensitive')::boolean) THEN
        masked := array_append(masked, 'config_value');
    END IF;
    FOREACH field IN ARRAY coalesce(masked, '{}') LOOP
        IF old_row -> field NOT IN ('null', '{}', '""') THEN
            old_row := jsonb_set(old_row, ARRAY[field], '"***"');
        END IF;
        IF new_row -> field NOT IN ('null', '{}', '""') THEN
            new_row := jsonb_set(new_row, ARRAY[field], '"***"');
        END IF;
    END LOOP;
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(f, old_row -> f), jsonb_object_agg(f, new_row -> f)
        INTO old_row, new_row FROM unnest(changed) f;
    END IF;
    INSERT INTO audit_rows (table_name, record_id, operation, old_values, new_values,
        changed_fields, actor, trace_id, span_id, session_id)
    VALUES (TG_TABLE_NAME, record, TG_OP, old_row, new_row, to_jsonb(coalesce(changed, '{}')),
        coalesce(nullif(current_setting('journeyman.actor', true), ''), session_user),
        nullif(current_setting('journeyman.trace_id', true), ''),
        nullif(current_setting('journeyman.span_id', true), ''),
        nullif(current_setting('journeyman.session', true), ''));
    RETURN NULL;
END
$$;

-- Every later migration that makes a table calls this for it.
CREATE FUNCTION attach_audit(target regclass, key text, VARIADIC masked text[] DEFAULT '{}')
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON %s
        FOR EACH ROW EXECUTE FUNCTION audit_change(%s)', target,
        (SELECT string_agg(quote_literal(a), ', ') FROM unnest(key || masked) a));
END
$$;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'system_configuration', 'codebases', 'tasks', 'task_executions', 'codegen_agents',
        'agent_tasks', 'evaluations', 'context_analysis', 'error_reports', 'learning_patterns',
        'pattern_applications', 'improvement_cycles', 'knowledge_base', 'event_handlers',
        'event_handler_executions', 'workflow_step_executions', 'notifications',
        'notification_deliveries', 'runtime_nodes', 'child_processes', 'outbox'
    ] LOOP
        PERFORM attach_audit(name::regclass, 'id');
    END LOOP;
    PERFORM attach_audit('task_dependencies', 'task_id');
    PERFORM attach_audit('integrations', 'id', 'credentials');
    PERFORM attach_audit('github_integrations', 'id',
        'webhook_secret', 'access_token_hash', 'refresh_token_hash');
    PERFORM attach_audit('linear_integrations', 'id', 'webhook_secret', 'api_key_hash');
    PERFORM attach_audit('slack_integrations', 'id',
        'bot_token_hash', 'client_secret_hash', 'webhook_url_hash', 'signing_secret_hash');
    PERFORM attach_audit('integration_events', 'id', 'headers');
    PERFORM attach_audit('workflows', 'id', 'environment_variables');
    PERFORM attach_audit('workflow_executions', 'id', 'environment_snapshot');

    FOREACH name IN ARRAY ARRAY[
        'system_configuration', 'codebases', 'tasks', 'codegen_agents', 'evaluations',
        'context_analysis', 'error_reports', 'learning_patterns', 'improvement_cycles',
        'knowledge_base', 'integrations', 'github_integrations', 'linear_integrations',
        'slack_integrations', 'event_handlers', 'workflows', 'outbox'
    ] LOOP
        EXECUTE format('CREATE TRIGGER updated_at BEFORE UPDATE ON %I
            FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()', name);
    END LOOP;
END
$$;

-- The mission's audit_log: row changes and events in one, each with the hashes of its block.
CREATE VIEW audit_log AS
SELECT a.id, a.table_name, a.record_id, a.operation, a.old_values, a.new_values, a.changed_fields,
    a.context, a.session_id, a.occurred_at, a.actor, a.trace_id, a.span_id,
    b.previous_hash, b.hash
FROM (
    SELECT 'rows' AS chain, position, id, table_name, record_id, operation, old_values, new_values,
        changed_fields, '{}'::jsonb AS context, session_id, occurred_at, actor, trace_id, span_id
    FROM audit_rows
    UNION ALL
    SELECT 'events', position, id, table_name, record, 'EVENT', NULL, NULL, '[]',
        attributes || jsonb_build_object('event', kind), session_id, occurred_at, actor, trace_id,
        span_id
    FROM audit_events, unnest(record_ids) record
) a
LEFT JOIN LATERAL (
    SELECT previous_hash, hash FROM audit_blocks
    WHERE chain = a.chain AND last_position >= a.position AND first_position <= a.position
    ORDER BY last_position LIMIT 1
) b ON true;
