-- Plans the work that an event causes, once: a row of event_handler_executions for each handler
-- that matches, with the action to do. Whoever does the work then fills in its times and results.
--
-- A handler matches when it is active, of the event's integration or of none, of its type and
-- source, and the event's data contain its filter_conditions. Above its rate_limit_per_minute the
-- work is planned as waiting, with the time from which it may be done.
CREATE FUNCTION process_integration_event(event_id uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz := clock_timestamp();
    event integration_events;
    handler event_handlers;
    recent bigint;
    deferred boolean;
    actions jsonb := '[]';
    planned integer := 0;
    held integer := 0;
BEGIN
    -- The row lock makes a second, simultaneous call wait here and then find the event processed.
    SELECT * INTO event FROM integration_events e
    WHERE e.id = process_integration_event.event_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('error', 'Event not found');
    END IF;
    IF event.processed OR event.scheduled_for > now() THEN
        RETURN jsonb_build_object(
            'event_id', event.id, 'handlers_executed', 0, 'handlers_succeeded', 0,
            'handlers_planned', 0, 'handlers_deferred', 0,
            'status', CASE WHEN event.processed THEN 'already_processed' ELSE 'scheduled' END);
    END IF;

    FOR handler IN
        SELECT h.* FROM event_handlers h
        WHERE h.is_active
            AND (h.integration_id IS NULL OR h.integration_id = event.integration_id)
            AND h.event_type = event.event_type AND h.event_source = event.event_source
            AND event.event_data @> coalesce(h.filter_conditions, '{}')
        ORDER BY h.execution_order, h.id
        FOR UPDATE -- so that two events at once cannot both take the last place of a rate limit
    LOOP
        SELECT count(*) INTO recent FROM event_handler_executions x
        WHERE x.handler_id = handler.id AND x.created_at > began - interval '1 minute'
            AND x.status <> 'waiting';
        deferred := recent >= handler.rate_limit_per_minute;
        INSERT INTO event_handler_executions
            (event_id, handler_id, status, started_at, execution_context, created_at)
        VALUES (event.id, handler.id,
            (CASE WHEN deferred THEN 'waiting' ELSE 'pending' END)::status_type, NULL,
            jsonb_build_object(
                'action', handler.handler_type, 'config', handler.handler_config,
                'timeout_seconds', handler.timeout_seconds,
                'on_success', handler.on_success_actions, 'on_error', handler.on_error_actions,
                'not_before', CASE WHEN deferred THEN began + interval '1 minute' ELSE began END),
            began);
        UPDATE event_handlers SET execution_count = execution_count + 1, last_executed_at = began
        WHERE id = handler.id;
        actions := actions || jsonb_build_object(
            'handler_id', handler.id, 'action', handler.handler_type, 'deferred', deferred);
        planned := planned + (NOT deferred)::integer;
        held := held + deferred::integer;
    END LOOP;

    UPDATE integration_events SET
        processed = true, processing_started_at = began, processed_at = clock_timestamp(),
        processing_duration_ms = round(extract(epoch FROM clock_timestamp() - began) * 1000),
        actions_triggered = actions
    WHERE id = event.id;
    RETURN jsonb_build_object(
        'event_id', event.id,
        'handlers_executed', 0, 'handlers_succeeded', 0, -- the work is done later, by its executor
        'handlers_planned', planned, 'handlers_deferred', held,
        'status', CASE WHEN planned + held > 0 THEN 'planned' ELSE 'completed' END);
END
$$;
