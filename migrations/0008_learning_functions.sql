-- Figures of the learning system.

-- Ten parts of an analysis; the score is the share of those that are filled, in percent.
CREATE FUNCTION calculate_context_completeness(analysis_id uuid) RETURNS numeric(5,2)
LANGUAGE sql STABLE AS $$
    SELECT coalesce((
        SELECT 10.0 * (
            SELECT count(*) FROM unnest(ARRAY[
                code_structure, dependencies, patterns, complexity_metrics, semantic_graph,
                function_relationships, quality_indicators, performance_profile,
                security_vulnerabilities, optimization_suggestions
            ]) part
            WHERE part NOT IN ('{}', '[]', 'null')
        )
        FROM context_analysis WHERE id = analysis_id
    ), 0)::numeric(5,2)
$$;

-- Counts one application of a pattern. With n applications before it:
--   success_rate = (n * old + 100 * w) / (n + 1), w = 1 for success, 0.5 for partial_success, else 0;
--   effectiveness_score = 0.7 * old + 0.3 * feedback, the feedback itself where there was none yet;
--   avg_execution_time_ms = the mean over those applications that gave a time;
--   confidence_level = 1 - 1 / (1 + applications): 0.50 after one, 0.67 after two, 0.91 after ten.
CREATE FUNCTION update_pattern_effectiveness(
    pattern_id uuid,
    application_result varchar,
    feedback_score numeric,
    execution_time_ms integer DEFAULT NULL
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    weight numeric := CASE application_result
        WHEN 'success' THEN 1 WHEN 'partial_success' THEN 0.5
        WHEN 'failure' THEN 0 WHEN 'needs_refinement' THEN 0 END;
BEGIN
    IF weight IS NULL THEN
        RAISE EXCEPTION 'unknown result of an application: %', application_result
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE learning_patterns p SET
        usage_count = p.usage_count + 1,
        last_applied_at = now(),
        success_rate = (p.success_rate * p.usage_count + 100 * weight) / (p.usage_count + 1),
        effectiveness_score = coalesce(
            0.7 * p.effectiveness_score + 0.3 * feedback_score, feedback_score, p.effectiveness_score),
        confidence_level = 1 - 1.0 / (p.usage_count + 2),
        timed_count = p.timed_count + (execution_time_ms IS NOT NULL)::integer,
        avg_execution_time_ms = CASE WHEN execution_time_ms IS NULL THEN p.avg_execution_time_ms
            ELSE round((coalesce(p.avg_execution_time_ms, 0)::numeric * p.timed_count + execution_time_ms)
                / (p.timed_count + 1)) END
    WHERE p.id = pattern_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no pattern %', pattern_id USING ERRCODE = 'no_data_found';
    END IF;
END
$$;
