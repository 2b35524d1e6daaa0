-- Types and the two functions that every table uses.

CREATE TYPE priority_level AS ENUM ('low', 'normal', 'high', 'urgent', 'critical');
CREATE TYPE status_type AS ENUM (
    'active', 'inactive', 'pending', 'completed', 'failed', 'cancelled',
    'ready', 'running', 'waiting', 'retrying', 'paused', 'timeout', 'parked'
);
CREATE TYPE waiting_reason AS ENUM (
    'dependency', 'approval', 'input', 'budget', 'rate_limit', 'retry_at', 'provider'
);
CREATE TYPE language_type AS ENUM (
    'python', 'typescript', 'javascript', 'java', 'cpp', 'rust', 'go', 'php', 'ruby', 'swift',
    'kotlin', 'csharp', 'sql', 'html', 'css', 'markdown', 'yaml', 'json', 'xml', 'shell',
    'dockerfile', 'other'
);
CREATE TYPE analysis_type AS ENUM (
    'complexity', 'dependencies', 'dead_code', 'security', 'performance', 'quality', 'coverage',
    'documentation', 'maintainability', 'technical_debt', 'full_codebase'
);
CREATE TYPE evaluation_status AS ENUM (
    'pending', 'in_progress', 'completed', 'failed', 'cancelled', 'timeout'
);
CREATE TYPE error_classification AS ENUM (
    'syntax_error', 'logic_error', 'runtime_error', 'performance_issue', 'security_vulnerability',
    'dependency_issue', 'configuration_error', 'integration_failure', 'data_inconsistency',
    'resource_exhaustion', 'unknown'
);
CREATE TYPE learning_pattern_type AS ENUM (
    'successful_implementation', 'error_resolution', 'optimization_strategy', 'testing_approach',
    'deployment_pattern', 'code_structure', 'performance_improvement', 'security_enhancement',
    'refactoring_pattern', 'integration_pattern'
);
CREATE TYPE integration_type AS ENUM ('github', 'linear', 'slack', 'codegen', 'webhook', 'api');
CREATE TYPE event_type AS ENUM (
    'push', 'pull_request', 'issue', 'comment', 'review', 'deployment', 'workflow',
    'notification', 'sync', 'webhook'
);
CREATE TYPE sync_status AS ENUM ('active', 'inactive', 'error', 'syncing', 'paused');

-- UUID version 7 (RFC 9562, method 3): 48 bits of milliseconds, the version, 12 bits of the
-- millisecond's fraction, then random bits. So ids sort by time to the microsecond, which is what
-- keeps the rows of one transaction in their order.
CREATE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT encode(
        int8send((us / 1000 << 16) | 28672 | (us % 1000 * 4096 / 1000)) -- 28672 = 0x7000
            || substring(uuid_send(gen_random_uuid()) FROM 9),
        'hex')::uuid
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us) clock
$$;

CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
