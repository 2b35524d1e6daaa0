-- Partitions by month, aggregation and retention. A job calls the three functions; each of them may
-- be called at any time and any number of times.

CREATE TABLE audit_rows_default PARTITION OF audit_rows DEFAULT;
CREATE TABLE audit_events_default PARTITION OF audit_events DEFAULT;
CREATE TABLE performance_metrics_default PARTITION OF performance_metrics DEFAULT;

-- TRUNCATE of a partition fires the partition's own triggers only.
CREATE FUNCTION protect_partition(partition regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM PUBLIC', partition);
    EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON %s
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', partition);
END
$$;
SELECT protect_partition('audit_rows_default'), protect_partition('audit_events_default');

-- Makes the partitions of this month and the next two. A month whose rows are in the default
-- partition already (nobody called this for months) stays there: nothing is moved, nothing is lost.
CREATE FUNCTION ensure_partitions(at timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    month timestamptz;
    partition text;
    made integer := 0;
BEGIN
    FOREACH parent IN ARRAY ARRAY['audit_rows', 'audit_events', 'performance_metrics'] LOOP
        FOR month IN SELECT generate_series(
            date_trunc('month', at, 'UTC'), date_trunc('month', at, 'UTC') + interval '62 days',
            interval '31 days') LOOP
            month := date_trunc('month', month, 'UTC');
            partition := parent || '_' || to_char(month AT TIME ZONE 'UTC', 'YYYY_MM');
            CONTINUE WHEN to_regclass(partition) IS NOT NULL;
            BEGIN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                    partition, parent, month,
                    (month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC');
                IF parent <> 'performance_metrics' THEN
                    PERFORM protect_partition(partition::regclass);
                END IF;
                made := made + 1;
            EXCEPTION WHEN check_violation THEN
                RAISE NOTICE 'rows of % are in the default partition', partition;
            END;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;

-- Sums the metrics of every whole interval that has ended, by analytics.aggregation_interval_hours.
CREATE FUNCTION aggregate_metrics(at timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    hours integer := (SELECT (config_value #>> '{}')::integer FROM system_configuration
        WHERE config_key = 'analytics.aggregation_interval_hours');
    width interval := make_interval(hours => hours);
    upper_bound timestamptz := date_bin(width, at, 'epoch');
    written integer;
BEGIN
    INSERT INTO metric_aggregates AS a
    SELECT metric_name, metric_type, date_bin(width, measured_at, 'epoch') AS bucket, hours,
        count(*), sum(value), min(value), max(value)
    FROM performance_metrics
    WHERE measured_at < upper_bound
        AND measured_at >= coalesce((SELECT max(bucket_start) FROM metric_aggregates
            WHERE bucket_hours = hours), '-infinity')
    GROUP BY metric_name, metric_type, bucket
    ON CONFLICT (metric_name, metric_type, bucket_hours, bucket_start) DO UPDATE
    SET samples = excluded.samples, value_sum = excluded.value_sum,
        value_min = excluded.value_min, value_max = excluded.value_max;
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END
$$;

-- Drops what is older than analytics.retention_days; aggregates of metrics stay. The chain of
-- hashes keeps its blocks: verification then checks their links, their rows being gone.
CREATE FUNCTION apply_retention(at timestamptz) RETURNS TABLE (dropped text) LANGUAGE plpgsql AS $$
DECLARE
    cutoff timestamptz := at - make_interval(days => (
        SELECT (config_value #>> '{}')::integer FROM system_configuration
        WHERE config_key = 'analytics.retention_days'));
    part record;
BEGIN
    PERFORM aggregate_metrics(at);
    -- Verification of the chain has to know how far rows are missing by right.
    INSERT INTO audit_events (kind, table_name, record_ids, attributes, actor, occurred_at)
    SELECT 'audit_pruned', 'audit_' || chain, '{}',
        jsonb_build_object('chain', chain, 'through', max(position)),
        coalesce(nullif(current_setting('journeyman.actor', true), ''), session_user), at
    FROM (
        SELECT 'rows' AS chain, position, occurred_at, tableoid::regclass::text AS held_in FROM audit_rows
        UNION ALL
        SELECT 'events', position, occurred_at, tableoid::regclass::text FROM audit_events
    ) gone
    WHERE occurred_at < date_trunc('month', cutoff, 'UTC')
        OR occurred_at < cutoff AND held_in LIKE '%_default'
    GROUP BY chain;
    PERFORM set_config('journeyman.retention', 'on', true);
    DELETE FROM audit_rows_default WHERE occurred_at < cutoff;
    DELETE FROM audit_events_default WHERE occurred_at < cutoff;
    DELETE FROM performance_metrics_default WHERE measured_at < cutoff;
    PERFORM set_config('journeyman.retention', 'off', true);
    FOR part IN
        SELECT c.oid::regclass::text AS name, right(c.relname, 7) AS month
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent IN ('audit_rows'::regclass, 'audit_events'::regclass,
            'performance_metrics'::regclass) AND c.relname ~ '_\d{4}_\d{2}$'
        ORDER BY c.relname
    LOOP
        IF (to_timestamp(part.month, 'YYYY_MM')::timestamp + interval '1 month')
            AT TIME ZONE 'UTC' <= cutoff THEN
            EXECUTE format('DROP TABLE %s', part.name);
            dropped := part.name;
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;

SELECT ensure_partitions(now());
