//! The schema: complete, seeded, guarded, and its functions right in their numbers.

#![expect(clippy::unwrap_used, reason = "the functions here are parts of tests")]

use std::collections::BTreeSet;

use journeyman_store::{Acting, Store, StoreError};
use journeyman_testkit::database::{self, TestDatabase};
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};
use uuid::Uuid;

pub(crate) const ACTING: Acting<'static> = Acting { actor: "test", trace: None };

pub(crate) async fn database() -> TestDatabase {
    database::init(env!("CARGO_BIN_EXE_journeyman"));
    TestDatabase::new().await.unwrap()
}

async fn value(connection: &mut PgConnection, sql: &'static str) -> Value {
    sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn every_statement_prepares() {
    let database = database().await;
    let mut connection = database.connection().await.unwrap();
    let statements = journeyman_store::statements();
    assert!(statements.len() > 90, "{}", statements.len());
    // No trigger does it for them.
    for statement in statements.iter().filter(|text| text.contains("UPDATE tasks ")) {
        assert!(statement.contains("updated_at = now()"), "{statement}");
    }
    for statement in statements {
        connection.prepare(sqlx::SqlStr::from_static(statement)).await.unwrap_or_else(|error| {
            panic!("{error}\n{statement}");
        });
    }
}

#[tokio::test]
async fn every_column_of_the_mission_is_there() {
    let database = database().await;
    let mut connection = database.connection().await.unwrap();
    let found: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns \
         WHERE table_schema = 'public'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let found: BTreeSet<(String, String)> = found.into_iter().collect();
    let mut tables = 0;
    for line in include_str!("schema/mission_columns.txt").lines() {
        let (table, columns) = line.split_once(": ").unwrap();
        tables += 1;
        for column in columns.split(' ') {
            // Functions of the row, so that they cannot contradict task_dependencies.
            if table == "tasks" && matches!(column, "dependencies" | "blocks") {
                continue;
            }
            let key = (table.to_owned(), column.to_owned());
            assert!(found.contains(&key), "{table}.{column} is missing");
        }
    }
    assert_eq!(tables, 27);
    let computed = value(
        &mut connection,
        "WITH a AS (INSERT INTO tasks (title, task_type) VALUES ('a', 'bug') RETURNING *) \
         SELECT jsonb_build_array(a.dependencies, a.blocks) FROM a",
    )
    .await;
    assert_eq!(computed, json!([[], []]));
}

#[tokio::test]
async fn seeds_are_complete_and_leave_the_users_changes_alone() {
    let database = database().await;
    let store = database.store();
    let configuration = store.configuration();
    configuration.set(&ACTING, "system.max_concurrent_tasks", &json!(3)).await.unwrap();
    let tester = store.agents().find("test generator").await.unwrap();
    let change = journeyman_store::AgentChange {
        is_active: Some(false),
        configuration: Some(json!({"model": "other", "focus": null})),
        ..Default::default()
    };
    store.agents().set(&ACTING, tester.id, &change).await.unwrap();

    let mut connection = database.connection().await.unwrap();
    connection.execute(include_str!("../../migrations/0011_seed.sql")).await.unwrap();

    assert_eq!(configuration.get_all().await.unwrap().len(), 16);
    assert_eq!(store.agents().list().await.unwrap().len(), 5);
    let kept = configuration.get("system.max_concurrent_tasks").await.unwrap();
    assert_eq!(kept.config_value, json!(3));
    let tester = store.agents().get(tester.id).await.unwrap();
    assert!(!tester.is_active);
    assert_eq!(tester.configuration, json!({"model": "other", "temperature": 0.2}));
    assert!(configuration.get("codegen.token").await.unwrap().is_sensitive);

    let refused = configuration.set(&ACTING, "system.version", &json!("9")).await;
    assert!(matches!(refused, Err(StoreError::Conflict(why)) if why.contains("read-only")));
    let unknown = configuration.set(&ACTING, "system.nonsense", &json!(1)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn a_newer_database_is_refused_and_an_older_one_is_told() {
    let database = database().await;
    let store = database.store();
    let known = journeyman_store::newest_migration();
    store.check_version().await.unwrap();
    store.migrate().await.unwrap();
    let mut connection = database.connection().await.unwrap();
    connection
        .execute(
            "INSERT INTO _sqlx_migrations \
             (version, description, success, checksum, execution_time) \
             VALUES (9999, 'from the future', true, '\\x00', 0)",
        )
        .await
        .unwrap();
    for refused in [store.migrate().await, store.check_version().await] {
        let Err(StoreError::NewerDatabase { found: 9999, known: told }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(told, known);
    }
    let empty = TestDatabase::empty().await.unwrap();
    let older = empty.store().check_version().await;
    assert!(matches!(older, Err(StoreError::OlderDatabase { found: 0, .. })), "{older:?}");
}

#[tokio::test]
async fn a_database_migrates_once_when_several_start_at_once() {
    database::init(env!("CARGO_BIN_EXE_journeyman"));
    let empty = TestDatabase::empty().await.unwrap();
    let store = empty.store();
    let (a, b, c) = tokio::join!(store.migrate(), store.migrate(), store.migrate());
    a.and(b).and(c).unwrap();
    assert_eq!(store.agents().list().await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unavailable() {
    let nowhere = "postgres://nobody@localhost/none?host=/nonexistent/folder";
    let error =
        Store::connect(nowhere, journeyman_store::PoolOptions::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(journeyman_store::is_transient(&error));
}

#[tokio::test]
async fn identifiers_are_of_version_7_and_sort_by_time() {
    let database = database().await;
    let mut connection = database.connection().await.unwrap();
    let mut ids: Vec<Uuid> = Vec::new();
    for _ in 0..200 {
        let id: Uuid =
            sqlx::query_scalar("SELECT uuid_v7()").fetch_one(&mut connection).await.unwrap();
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        ids.push(id);
    }
    assert!(ids.is_sorted_by(|a, b| a < b));
    let now = Uuid::now_v7().get_timestamp().unwrap().to_unix().0;
    assert!(ids[0].get_timestamp().unwrap().to_unix().0.abs_diff(now) < 60);
}

#[tokio::test]
async fn context_completeness_counts_filled_parts() {
    let database = database().await;
    let mut connection = database.connection().await.unwrap();
    let score = value(
        &mut connection,
        "WITH c AS (INSERT INTO codebases (name) VALUES ('x') RETURNING id) \
         INSERT INTO context_analysis (codebase_id, analysis_type, code_structure, patterns, \
         security_vulnerabilities, semantic_graph) \
         SELECT id, 'targeted', '{\"a\": 1}', '{}', '[1]', NULL FROM c RETURNING to_jsonb(id)",
    )
    .await;
    let id: Uuid = serde_json::from_value(score).unwrap();
    let completeness = |id: Uuid| {
        sqlx::query_scalar::<_, f64>("SELECT calculate_context_completeness($1)::float8").bind(id)
    };
    let two_of_ten = completeness(id).fetch_one(&mut connection).await.unwrap();
    assert!((two_of_ten - 20.0).abs() < f64::EPSILON, "{two_of_ten}");
    let unknown = completeness(Uuid::now_v7()).fetch_one(&mut connection).await.unwrap();
    assert!(unknown.abs() < f64::EPSILON);
}

#[tokio::test]
async fn pattern_effectiveness_is_a_running_mean() {
    let database = database().await;
    let mut connection = database.connection().await.unwrap();
    let id: Uuid = sqlx::query_scalar(
        "INSERT INTO learning_patterns (pattern_type, pattern_name, pattern_signature) \
         VALUES ('error_resolution', 'p', '{}') RETURNING id",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    let steps = [
        ("success", Some(80.0), Some(100), (1, 100.0, 80.0, 0.5, 100)),
        ("failure", Some(20.0), None, (2, 50.0, 62.0, 0.67, 100)),
        ("partial_success", None, Some(300), (3, 50.0, 62.0, 0.75, 200)),
        ("success", None, None, (4, 62.5, 62.0, 0.8, 200)),
    ];
    for (result, feedback, time, expected) in steps {
        sqlx::query("SELECT update_pattern_effectiveness($1, $2, $3::float8::numeric, $4)")
            .bind(id)
            .bind(result)
            .bind(feedback)
            .bind(time)
            .execute(&mut connection)
            .await
            .unwrap();
        let figures: (i32, f64, f64, f64, i32) = sqlx::query_as(
            "SELECT usage_count, success_rate::float8, effectiveness_score::float8, \
             confidence_level::float8, avg_execution_time_ms FROM learning_patterns",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!(figures, expected, "{result}");
    }
    for wrong in [
        "SELECT update_pattern_effectiveness(uuid_v7(), 'success', 1)",
        "SELECT update_pattern_effectiveness(id, 'splendid', 1) FROM learning_patterns",
    ] {
        connection.execute(wrong).await.unwrap_err();
    }
}

#[tokio::test]
async fn an_event_is_planned_once_for_the_handlers_that_match() {
    let database = database().await;
    let mut connection = database.connection().await.unwrap();
    connection
        .execute(
            "INSERT INTO integrations (id, name, integration_type) VALUES \
                 ('00000000-0000-0000-0000-000000000001', 'mine', 'github'), \
                 ('00000000-0000-0000-0000-000000000002', 'other', 'github'); \
             INSERT INTO event_handlers (integration_id, name, event_type, event_source, \
                 handler_type, filter_conditions, execution_order, rate_limit_per_minute, is_active) \
             VALUES ('00000000-0000-0000-0000-000000000001', 'own', 'push', 'github', 'webhook', \
                     '{\"ref\": {\"branch\": \"main\"}}', 2, 60, true), \
                 (NULL, 'global', 'push', 'github', 'notification', '{}', 1, 1, true), \
                 ('00000000-0000-0000-0000-000000000002', 'foreign', 'push', 'github', 'webhook', \
                     '{}', 1, 60, true), \
                 (NULL, 'filtered', 'push', 'github', 'webhook', '{\"ref\": \"x\"}', 1, 60, true), \
                 (NULL, 'idle', 'push', 'github', 'webhook', '{}', 1, 60, false), \
                 (NULL, 'issues', 'issue', 'github', 'webhook', '{}', 1, 60, true); \
             INSERT INTO integration_events (integration_id, event_type, event_source, event_data, \
                 external_event_id, scheduled_for) \
             SELECT '00000000-0000-0000-0000-000000000001', 'push', 'github', \
                 '{\"ref\": {\"branch\": \"main\", \"sha\": 1}}', n, now() + (n = '3')::int * '1 h'::interval \
             FROM unnest(ARRAY['1', '2', '3']) n",
        )
        .await
        .unwrap();
    let events: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM integration_events ORDER BY external_event_id")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let mut told = Vec::new();
    for event in [events[0], events[0], events[1], events[2], Uuid::nil()] {
        let answer: Value = sqlx::query_scalar("SELECT process_integration_event($1)")
            .bind(event)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let figures = ["status", "handlers_planned", "handlers_deferred"];
        told.push(match answer.get("error") {
            Some(error) => error.clone(),
            None => figures.iter().map(|figure| answer[figure].clone()).collect(),
        });
    }
    assert_eq!(
        Value::from(told),
        json!([
            ["planned", 2, 0],
            ["already_processed", 0, 0],
            ["planned", 1, 1], // the global handler had its one of this minute
            ["scheduled", 0, 0],
            "Event not found"
        ])
    );
    let work = value(
        &mut connection,
        "SELECT jsonb_agg(jsonb_build_array(h.name, x.status, x.duration_ms, x.started_at, \
         x.execution_context ->> 'action') ORDER BY x.id) \
         FROM event_handler_executions x JOIN event_handlers h ON h.id = x.handler_id",
    )
    .await;
    assert_eq!(
        work,
        json!([
            ["global", "pending", null, null, "notification"],
            ["own", "pending", null, null, "webhook"],
            ["global", "waiting", null, null, "notification"],
            ["own", "pending", null, null, "webhook"]
        ])
    );
}

#[tokio::test]
async fn health_counts_and_judges() {
    let database = database().await;
    let healthy = database.store().health().await.unwrap();
    for part in [&healthy.system, &healthy.learning, &healthy.integration] {
        assert_eq!((&part["status"], &part["reasons"]), (&json!("healthy"), &json!([])));
    }
    assert_eq!(healthy.learning["system_version"], "1.0.0");

    let mut connection = database.connection().await.unwrap();
    connection
        .execute(
            "INSERT INTO codebases (name) VALUES ('a'), ('b'); \
             INSERT INTO tasks (title, task_type, status) VALUES ('t', 'bug', 'parked'), \
                 ('u', 'bug', 'ready'); \
             INSERT INTO task_executions (task_id, status, attempt) \
                 SELECT t.id, (CASE WHEN n <= 3 THEN 'failed' ELSE 'completed' END)::status_type, n \
                 FROM tasks t, generate_series(1, 10) n WHERE t.title = 't'; \
             INSERT INTO error_reports (error_type, error_message, severity, resolution_status, \
                 occurred_at, resolved_at) VALUES \
                 ('unknown', 'x', 'critical', 'open', now(), NULL), \
                 ('unknown', 'y', 'critical', 'resolved', now() - '3 h'::interval, now()), \
                 ('unknown', 'z', 'low', 'resolved', now() - '3 d'::interval, now() - '2 d 23 h'::interval); \
             INSERT INTO integrations (name, integration_type, status) VALUES \
                 ('g', 'github', 'error'); \
             INSERT INTO notifications (title, message, notification_type, delivery_status) \
                 VALUES ('n', 'm', 'info', 'failed')",
        )
        .await
        .unwrap();
    let health = database.store().health().await.unwrap();
    let reasons = |part: &Value| {
        part["reasons"].as_array().unwrap().iter().map(|r| r["text"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(health.system["status"], "degraded");
    assert_eq!(
        reasons(&health.system),
        ["3 of 10 executions of the last day failed", "1 tasks are parked and need a person"]
    );
    assert_eq!(health.system["active_codebases"], 2);
    assert_eq!(health.system["pending_tasks"], 1);
    assert_eq!(health.system["recent_executions"], 10);
    assert_eq!(health.learning["status"], "degraded");
    assert_eq!(reasons(&health.learning), ["1 critical errors are open"]);
    assert_eq!(
        health.learning["errors"],
        json!({"total_errors": 3, "open_errors": 1, "resolved_errors": 2, "critical_errors": 2,
            "errors_last_24h": 2, "avg_resolution_time_hours": 2.0})
    );
    assert_eq!(health.integration["status"], "unhealthy");
    assert_eq!(
        reasons(&health.integration),
        ["all 1 integrations are in error", "1 notifications of the last day were not delivered"]
    );

    connection.execute("UPDATE codegen_agents SET is_active = false").await.unwrap();
    let health = database.store().health().await.unwrap();
    assert_eq!(health.system["status"], "unhealthy");
}

#[tokio::test]
async fn metrics_are_summed_up_and_old_ones_dropped() {
    let database = database().await;
    let mut connection = database.connection().await.unwrap();
    connection
        .execute(
            "SELECT ensure_partitions('2024-01-31 12:00+00'); \
             INSERT INTO performance_metrics (metric_name, metric_type, value, measured_at) VALUES \
                 ('m', 'task', 1, '2024-01-15 01:00+00'), ('m', 'task', 3, '2024-01-15 02:00+00'), \
                 ('m', 'task', 5, '2024-02-01 00:00+00'), ('m', 'task', 9, '1999-01-01 00:00+00')",
        )
        .await
        .unwrap();
    let parts = "SELECT coalesce(jsonb_object_agg(part, n), '{}') FROM \
        (SELECT right(tableoid::regclass::text, 7) part, count(*) n FROM performance_metrics GROUP BY 1) p";
    assert_eq!(
        value(&mut connection, parts).await,
        json!({"2024_01": 2, "2024_02": 1, "default": 1})
    );
    connection.execute("SELECT apply_retention('2025-02-10 00:00+00')").await.unwrap();
    assert_eq!(value(&mut connection, parts).await, json!({"2024_02": 1}));
    connection.execute("SELECT apply_retention('2026-02-10 00:00+00')").await.unwrap();
    assert_eq!(value(&mut connection, parts).await, json!({}));
    let sums = value(
        &mut connection,
        "SELECT jsonb_agg(jsonb_build_array(bucket_start::date, samples, value_sum, value_max) \
         ORDER BY bucket_start) FROM metric_aggregates",
    )
    .await;
    assert_eq!(
        sums,
        json!([
            ["1999-01-01", 1, 9.0, 9.0],
            ["2024-01-15", 2, 4.0, 3.0],
            ["2024-02-01", 1, 5.0, 5.0]
        ])
    );
    connection.close().await.unwrap();
}
