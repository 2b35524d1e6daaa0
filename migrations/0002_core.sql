-- The mission's first file: configuration, codebases, tasks, executions, agents and runs.

CREATE TABLE system_configuration (
    id uuid PRIMARY KEY DEFAULT uuid_v7(),
    config_key varchar(255) NOT NULL UNIQUE,
    config_value jsonb NOT NULL,
    description text,
    category varchar(100) DEFAULT 'general',
    is_sensitive boolean NOT NULL DEFAULT false,
    is_readonly boolean NOT NULL DEFAULT false,
    validation_schema jsonb DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE codebases (
    id uuid PRIMARY KEY DEFAULT uuid_v7(),
    name varchar(255) NOT NULL UNIQUE CHECK (btrim(name) <> ''),
    description text,
    repository_url varchar(500),
    local_path text UNIQUE, -- one row a folder: registering it again finds it
    primary_language language_type,
    github_repo_id bigint,
    default_branch varchar(100) DEFAULT 'main',
    linear_project_id varchar(100),
    slack_channel_id varchar(100),
    last_analyzed_at timestamptz,
    analysis_status varchar(50) DEFAULT 'pending',
    settings jsonb DEFAULT '{}',
    status status_type NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE codegen_agents (
    id uuid PRIMARY KEY DEFAULT uuid_v7(),
    name varchar(255) NOT NULL UNIQUE, -- so that seeding is idempotent and a name finds one agent
    description text,
    agent_type varchar(100) NOT NULL,
    configuration jsonb NOT NULL DEFAULT '{}',
    capabilities jsonb NOT NULL DEFAULT '[]',
    is_active boolean NOT NULL DEFAULT true,
    last_used_at timestamptz,
    usage_stats jsonb DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- One life of a runtime process. Its heartbeat tells whether its leases may be waited for.
CREATE TABLE runtime_nodes (
    id uuid PRIMARY KEY DEFAULT uuid_v7(),
    kind text NOT NULL CHECK (kind IN ('daemon', 'foreground')),
    pid integer NOT NULL,
    boot_id text NOT NULL,
    host text NOT NULL,
    data_dir text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    only_task uuid,
    stopped_at timestamptz
);
CREATE INDEX idx_runtime_nodes_live ON runtime_nodes (heartbeat_at) WHERE stopped_at IS NULL;

CREATE TABLE tasks (
    id uuid PRIMARY KEY DEFAULT uuid_v7(),
    codebase_id uuid REFERENCES codebases ON DELETE CASCADE,
    parent_task_id uuid REFERENCES tasks ON DELETE CASCADE,
    title varchar(500) NOT NULL,
    description text,
    task_type varchar(100) NOT NULL,
    priority priority_level NOT NULL DEFAULT 'normal',
    status status_type NOT NULL DEFAULT 'pending'
        CHECK (status NOT IN ('active', 'inactive', 'retrying')),
    codegen_task_id varchar(100),
    estimated_hours numeric(5,2),
    actual_hours numeric(5,2),
    context jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    started_at timestamptz,
    completed_at timestamptz,
    due_date timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- What the user asked for, beyond the mission's columns.
    driver text,
    model text,
    agent_id uuid REFERENCES codegen_agents ON DELETE SET NULL,
    check_commands jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(check_commands) = 'array'),
    command jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(command) = 'array'),
    base_ref text,
    deliver text NOT NULL DEFAULT 'branch' CHECK (deliver IN ('branch', 'pr', 'patch', 'none')),
    allow_unverified boolean NOT NULL DEFAULT false,
    budget_usd numeric(12,4) CHECK (budget_usd >= 0),
    time_limit_s integer CHECK (time_limit_s > 0),
    max_rounds integer CHECK (max_rounds > 0),
    unique_key text,
    -- Where it stands.
    waiting_for waiting_reason,
    wake_at timestamptz,
    reserved_for uuid REFERENCES runtime_nodes ON DELETE SET NULL,
    attempts integer NOT NULL DEFAULT 0,
    cancel_requested_at timestamptz,
    pause_requested_at timestamptz,
    approved_at timestamptz,
    -- What came of it.
    branch text,
    base_commit text,
    head_commit text,
    verified boolean,
    done_by_word boolean,
    error text,
    traceparent text,
    CHECK ((status = 'waiting') = (waiting_for IS NOT NULL)),
    CHECK (waiting_for IS DISTINCT FROM 'retry_at' OR wake_at IS NOT NULL)
);
-- The claim reads in this order; retries that come due; one unfinished task a key; lists.
CREATE INDEX idx_tasks_claim ON tasks (priority DESC, due_date, created_at, id) WHERE status = 'ready';
CREATE INDEX idx_tasks_wake ON tasks (wake_at) WHERE status = 'waiting' AND wake_at IS NOT NULL;
CREATE UNIQUE INDEX idx_tasks_unique_key ON tasks (unique_key)
    WHERE unique_key IS NOT NULL AND status NOT IN ('completed', 'failed', 'cancelled', 'timeout');
CREATE INDEX idx_tasks_codebase ON tasks (codebase_id, id);
CREATE INDEX idx_tasks_status ON tasks (status, id);
CREATE INDEX idx_tasks_parent ON tasks (parent_task_id) WHERE parent_task_id IS NOT NULL;
-- Displays show the end of an id; this finds a task by it.
CREATE INDEX idx_tasks_suffix ON tasks (reverse(replace(id::text, '-', '')) text_pattern_ops);

CREATE TABLE task_dependencies (
    task_id uuid NOT NULL REFERENCES tasks ON DELETE CASCADE,
    depends_on uuid NOT NULL REFERENCES tasks ON DELETE CASCADE,
    -- What it needs of the other: that it completed, or only that it ended.
    kind text NOT NULL DEFAULT 'completed' CHECK (kind IN ('completed', 'ended')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (task_id, depends_on)
);
CREATE INDEX idx_task_dependencies_depends_on ON task_dependencies (depends_on);

-- Refuses an edge that closes a cycle. The tasks that wait for NEW.task_id, directly or not, are
-- walked; a task that nobody waits for yet costs one look at an index. The lock keeps two
-- transactions from closing a cycle together that neither sees.
CREATE FUNCTION refuse_dependency_cycle() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    dependants uuid[];
    path uuid[] := ARRAY[NEW.task_id];
    here uuid := NEW.depends_on;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('journeyman.task_dependencies'));
    WITH RECURSIVE walk(id) AS (
        SELECT NEW.task_id
        UNION
        SELECT d.task_id FROM task_dependencies d JOIN walk w ON d.depends_on = w.id
    )
    SELECT array_agg(id) INTO dependants FROM walk;
    IF NOT here = ANY (dependants) THEN
        RETURN NEW;
    END IF;
    WHILE here <> NEW.task_id LOOP
        path := path || here;
        SELECT d.depends_on INTO here FROM task_dependencies d
        WHERE d.task_id = here AND d.depends_on = ANY (dependants) LIMIT 1;
    END LOOP;
    RAISE EXCEPTION 'dependencies must not form a cycle'
        USING ERRCODE = 'JM001', DETAIL = array_to_string(path || NEW.task_id, ' ');
END
$$;
CREATE TRIGGER task_dependencies_acyclic BEFORE INSERT OR UPDATE ON task_dependencies
    FOR EACH ROW EXECUTE FUNCTION refuse_dependency_cycle();

-- `tasks.dependencies` and `tasks.blocks`, computed, so that they cannot contradict the rows:
-- `SELECT t.dependencies, t.blocks FROM tasks t`.
CREATE FUNCTION dependencies(task tasks) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(d.depends_on ORDER BY d.depends_on), '[]')
    FROM task_dependencies d WHERE d.task_id = task.id
$$;
CREATE FUNCTION blocks(task tasks) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(d.task_id ORDER BY d.task_id), '[]')
    FROM task_dependencies d WHERE d.depends_on = task.id
$$;

-- One attempt at a task, and the fenced lease on it.
CREATE TABLE task_executions (
    id uuid PRIMARY KEY DEFAULT uuid_v7(),
    task_id uuid NOT NULL REFERENCES tasks ON DELETE CASCADE,
    codegen_execution_id varchar(100),
    agent_type varchar(100),
    status status_type NOT NULL,
    started_at timestamptz DEFAULT now(),
    completed_at timestamptz,
    duration_ms bigint,
    result jsonb NOT NULL DEFAULT '{}',
    logs text,
    error_message text,
    metrics jsonb DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    attempt integer NOT NULL DEFAULT 1,
    node_id uuid REFERENCES runtime_nodes ON DELETE SET NULL,
    lease_epoch bigint NOT NULL DEFAULT 1,
    lease_expires_at timestamptz,
    workspace text,
    branch text,
    base_commit text,
    head_commit text,
    verification jsonb,
    reclaims integer NOT NULL DEFAULT 0, -- take-overs in a row without a new step
    last_step_seq integer NOT NULL DEFAULT 0, -- the journal's length at the last claim or take-over
    traceparent text,
    UNIQUE (task_id, attempt)
);
CREATE INDEX idx_task_executions_node ON task_executions (node_id) WHERE status = 'running';
CREATE INDEX idx_task_executions_lease ON task_executions (lease_expires_at) WHERE status = 'running';
CREATE INDEX idx_task_executions_created_at ON task_executions (created_at); -- health of the last day

-- An agent's run; its id is the run's id.
CREATE TABLE agent_tasks (
    id uuid PRIMARY KEY DEFAULT uuid_v7(),
    agent_id uuid NOT NULL REFERENCES codegen_agents ON DELETE CASCADE,
    task_id uuid REFERENCES tasks ON DELETE SET NULL,
    codegen_task_id varchar(100) UNIQUE,
    prompt text NOT NULL,
    context jsonb NOT NULL DEFAULT '{}',
    status status_type NOT NULL DEFAULT 'pending',
    priority priority_level NOT NULL DEFAULT 'normal',
    result jsonb NOT NULL DEFAULT '{}',
    error_message text,
    tokens_used bigint GENERATED ALWAYS AS (
        uncached_input_tokens + cache_read_tokens + cache_write_tokens + output_tokens
    ) STORED,
    cost_estimate numeric(14,6) NOT NULL DEFAULT 0, -- US dollars, by price_version
    started_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    execution_id uuid REFERENCES task_executions ON DELETE SET NULL,
    attempt integer NOT NULL DEFAULT 1,
    driver text,
    model text,
    uncached_input_tokens bigint NOT NULL DEFAULT 0,
    cache_read_tokens bigint NOT NULL DEFAULT 0,
    cache_write_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0, -- reasoning included, as providers count it
    reasoning_tokens bigint NOT NULL DEFAULT 0,
    price_version text
);
CREATE INDEX idx_agent_tasks_agent ON agent_tasks (agent_id, id);
CREATE INDEX idx_agent_tasks_task ON agent_tasks (task_id);
CREATE INDEX idx_agent_tasks_execution ON agent_tasks (execution_id);

-- Grows with time: one partition a month (0006).
CREATE TABLE performance_metrics (
    id uuid NOT NULL DEFAULT uuid_v7(),
    metric_name varchar(255) NOT NULL,
    metric_type varchar(100) NOT NULL,
    value numeric(15,6) NOT NULL,
    unit varchar(50),
    context jsonb DEFAULT '{}',
    dimensions jsonb DEFAULT '{}',
    measured_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (measured_at, id) -- the aggregation reads ranges of time
) PARTITION BY RANGE (measured_at);

CREATE TABLE metric_aggregates (
    metric_name varchar(255) NOT NULL,
    metric_type varchar(100) NOT NULL,
    bucket_start timestamptz NOT NULL,
    bucket_hours integer NOT NULL,
    samples bigint NOT NULL,
    value_sum numeric NOT NULL,
    value_min numeric NOT NULL,
    value_max numeric NOT NULL,
    PRIMARY KEY (metric_name, metric_type, bucket_hours, bucket_start)
);
