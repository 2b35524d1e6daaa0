-- Health as three functions judge it. A grade is the worst of its reasons; a reason is
-- {"grade", "text"}; without a reason the grade is healthy. Thresholds stand beside each reason.

CREATE FUNCTION health_grade(reasons jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN reasons @> '[{"grade": "unhealthy"}]' THEN 'unhealthy'
        WHEN reasons <> '[]' THEN 'degraded'
        ELSE 'healthy' END
$$;

-- Keeps the rows whose condition holds.
CREATE FUNCTION health_reasons(grades text[], conditions boolean[], texts text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('grade', g, 'text', t) ORDER BY n), '[]')
    FROM unnest(grades, conditions, texts) WITH ORDINALITY AS r(g, c, t, n) WHERE c
$$;

CREATE FUNCTION get_system_health() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    active_agents bigint := (SELECT count(*) FROM codegen_agents WHERE is_active);
    parked bigint := (SELECT count(*) FROM tasks WHERE status = 'parked');
    -- Ready for 15 minutes while no runtime is alive (three missed minutes of heartbeat).
    stranded bigint := (SELECT count(*) FROM tasks
        WHERE status = 'ready' AND updated_at < now() - interval '15 minutes'
        AND NOT EXISTS (SELECT FROM runtime_nodes
            WHERE stopped_at IS NULL AND heartbeat_at > now() - interval '3 minutes'));
    lost bigint := (SELECT count(*) FROM task_executions
        WHERE status = 'running' AND lease_expires_at < now() - interval '5 minutes');
    maintenance boolean := (SELECT config_value = 'true' FROM system_configuration
        WHERE config_key = 'system.maintenance_mode');
    recent bigint;
    ended bigint;
    bad bigint;
    reasons jsonb;
BEGIN
    SELECT count(*), count(*) FILTER (WHERE status IN ('completed', 'failed', 'timeout')),
        count(*) FILTER (WHERE status IN ('failed', 'timeout'))
    INTO recent, ended, bad
    FROM task_executions WHERE created_at > now() - interval '24 hours';
    reasons := health_reasons(
        ARRAY['unhealthy', 'unhealthy', 'degraded', 'degraded', 'degraded', 'degraded', 'degraded'],
        ARRAY[
            active_agents = 0,
            ended >= 10 AND bad * 2 > ended,                          -- over half failed
            ended >= 10 AND bad * 5 > ended AND bad * 2 <= ended,     -- over a fifth failed
            parked > 0, stranded > 0, lost > 0, coalesce(maintenance, false)],
        ARRAY[
            'no agent is active',
            format('%s of %s executions of the last day failed', bad, ended),
            format('%s of %s executions of the last day failed', bad, ended),
            format('%s tasks are parked and need a person', parked),
            format('%s tasks are ready and no runtime is alive', stranded),
            format('%s executions lost their runtime and nobody took them over', lost),
            'maintenance mode is on']);
    RETURN jsonb_build_object(
        'status', health_grade(reasons),
        'reasons', reasons,
        'timestamp', now(),
        'active_codebases', (SELECT count(*) FROM codebases WHERE status = 'active'),
        'pending_tasks', (SELECT count(*) FROM tasks WHERE status IN ('pending', 'ready')),
        'active_agents', active_agents,
        'recent_executions', recent,
        'database_size_mb', round(pg_database_size(current_database()) / 1048576.0, 2));
END
$$;

CREATE FUNCTION get_learning_system_health() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    evaluated jsonb;
    errors jsonb;
    patterns jsonb;
    knowledge jsonb;
    critical bigint := (SELECT count(*) FROM error_reports
        WHERE severity = 'critical' AND resolution_status IN ('open', 'investigating'));
    failed bigint;
    finished bigint;
    weak bigint := (SELECT count(*) FROM learning_patterns
        WHERE is_active AND usage_count >= 10 AND success_rate < 50);
    reasons jsonb;
BEGIN
    SELECT jsonb_build_object(
        'total_evaluations', count(*),
        'active_evaluations', count(*) FILTER (WHERE status IN ('pending', 'in_progress')),
        'completed_evaluations', count(*) FILTER (WHERE status = 'completed'),
        'failed_evaluations', count(*) FILTER (WHERE status = 'failed'),
        'average_effectiveness', round(avg(effectiveness_score), 2),
        'evaluations_last_24h', count(*) FILTER (WHERE created_at > now() - interval '24 hours')),
        count(*) FILTER (WHERE status IN ('failed', 'timeout') AND completed_at > now() - interval '24 hours'),
        count(*) FILTER (WHERE completed_at > now() - interval '24 hours')
    INTO evaluated, failed, finished FROM evaluations;
    SELECT jsonb_build_object(
        'total_errors', count(*),
        'open_errors', count(*) FILTER (WHERE resolution_status = 'open'),
        'resolved_errors', count(*) FILTER (WHERE resolution_status = 'resolved'),
        'critical_errors', count(*) FILTER (WHERE severity = 'critical'),
        'errors_last_24h', count(*) FILTER (WHERE occurred_at > now() - interval '24 hours'),
        'avg_resolution_time_hours', round(avg(extract(epoch FROM resolved_at - occurred_at) / 3600)
            FILTER (WHERE resolved_at IS NOT NULL), 2))
    INTO errors FROM error_reports;
    SELECT jsonb_build_object(
        'total_patterns', count(*),
        'active_patterns', count(*) FILTER (WHERE is_active),
        'validated_patterns', count(*) FILTER (WHERE is_validated),
        'average_effectiveness', round(avg(effectiveness_score), 2),
        'average_success_rate', round(avg(success_rate) FILTER (WHERE usage_count > 0), 2),
        'patterns_applied_last_24h', (SELECT count(*) FROM pattern_applications
            WHERE applied_at > now() - interval '24 hours'))
    INTO patterns FROM learning_patterns;
    SELECT jsonb_build_object(
        'total_articles', count(*),
        'active_articles', count(*) FILTER (WHERE is_active),
        'average_confidence', round(avg(confidence_score), 2),
        'total_usage', coalesce(sum(usage_count), 0),
        'articles_accessed_last_24h', count(*) FILTER (WHERE last_accessed_at > now() - interval '24 hours'))
    INTO knowledge FROM knowledge_base;
    reasons := health_reasons(
        ARRAY['unhealthy', 'degraded', 'degraded', 'degraded'],
        ARRAY[critical >= 5, critical BETWEEN 1 AND 4, finished >= 5 AND failed * 2 > finished, weak > 0],
        ARRAY[
            format('%s critical errors are open', critical),
            format('%s critical errors are open', critical),
            format('%s of %s evaluations of the last day failed', failed, finished),
            format('%s patterns in use fail more often than they help', weak)]);
    RETURN jsonb_build_object(
        'status', health_grade(reasons), 'reasons', reasons, 'timestamp', now(),
        'evaluations', evaluated, 'errors', errors, 'learning_patterns', patterns,
        'knowledge_base', knowledge,
        'system_version', (SELECT config_value FROM system_configuration WHERE config_key = 'system.version'));
END
$$;

CREATE FUNCTION get_integration_health() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    integrations jsonb;
    events jsonb;
    workflows jsonb;
    notes jsonb;
    broken bigint;
    working bigint;
    late bigint;
    undelivered bigint;
    reasons jsonb;
BEGIN
    SELECT jsonb_build_object(
        'total_integrations', count(*),
        'active_integrations', count(*) FILTER (WHERE i.status = 'active'),
        'error_integrations', count(*) FILTER (WHERE i.status = 'error'),
        'github_integrations', count(*) FILTER (WHERE i.integration_type = 'github'),
        'linear_integrations', count(*) FILTER (WHERE i.integration_type = 'linear'),
        'slack_integrations', count(*) FILTER (WHERE i.integration_type = 'slack')),
        count(*) FILTER (WHERE i.status = 'error'),
        count(*) FILTER (WHERE i.status IN ('active', 'syncing'))
    INTO integrations, broken, working FROM integrations i;
    SELECT jsonb_build_object(
        'total_events', count(*),
        'processed_events', count(*) FILTER (WHERE e.processed),
        'pending_events', count(*) FILTER (WHERE NOT e.processed),
        'events_last_24h', count(*) FILTER (WHERE e.created_at > now() - interval '24 hours'),
        'avg_processing_time_ms', round(avg(e.processing_duration_ms), 2)),
        count(*) FILTER (WHERE NOT e.processed AND e.scheduled_for < now() - interval '15 minutes')
    INTO events, late FROM integration_events e;
    SELECT jsonb_build_object(
        'total_workflows', count(*),
        'active_workflows', count(*) FILTER (WHERE w.is_active),
        'executions_last_24h', (SELECT count(*) FROM workflow_executions
            WHERE created_at > now() - interval '24 hours'),
        'avg_success_rate', round(avg(100.0 * w.success_count / w.execution_count)
            FILTER (WHERE w.execution_count > 0), 2))
    INTO workflows FROM workflows w;
    SELECT jsonb_build_object(
        'total_notifications', count(*),
        'delivered_notifications', count(*) FILTER (WHERE n.delivery_status = 'delivered'),
        'failed_notifications', count(*) FILTER (WHERE n.delivery_status = 'failed'),
        'notifications_last_24h', count(*) FILTER (WHERE n.created_at > now() - interval '24 hours')),
        count(*) FILTER (WHERE n.delivery_status = 'failed' AND n.created_at > now() - interval '24 hours')
    INTO notes, undelivered FROM notifications n;
    reasons := health_reasons(
        ARRAY['unhealthy', 'degraded', 'unhealthy', 'degraded', 'degraded'],
        ARRAY[
            broken > 0 AND working = 0, broken > 0 AND working > 0,
            late > 100, late BETWEEN 1 AND 100, -- due for 15 minutes
            undelivered > 0],
        ARRAY[
            format('all %s integrations are in error', broken),
            format('%s integrations are in error', broken),
            format('%s events wait since over 15 minutes', late),
            format('%s events wait since over 15 minutes', late),
            format('%s notifications of the last day were not delivered', undelivered)]);
    RETURN jsonb_build_object(
        'status', health_grade(reasons), 'reasons', reasons, 'timestamp', now(),
        'integrations', integrations, 'events', events, 'workflows', workflows,
        'notifications', notes);
END
$$;
