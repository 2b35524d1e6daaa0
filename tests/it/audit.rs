//! The audit: a row for every change, none for nothing, no secrets, and a chain that shows any
//! tampering.

#![expect(clippy::unwrap_used, reason = "the functions here are parts of tests")]

use journeyman_store::audit::AuditFilter;
use journeyman_store::{Acting, NewTask};
use journeyman_telemetry::TraceContext;
use journeyman_testkit::database::TestDatabase;
use serde_json::{Value, json};
use sqlx::Executor as _;
use sqlx::postgres::PgConnection;

use crate::schema::{ACTING, database};

/// Those that the migrations' README lists with their reasons, and the migrator's own.
const WITHOUT_TRIGGER: [&str; 16] = [
    "_sqlx_migrations",
    "audit_blocks",
    "audit_events",
    "audit_rows",
    "blobs",
    "completed_spans",
    "metric_aggregates",
    "model_calls",
    "performance_metrics",
    "queue_lanes",
    "ready_tasks",
    "run_steps",
    "task_chains",
    "task_keys",
    "task_leases",
    "task_marks",
];

/// Two changes of rows.
async fn two_rows(database: &TestDatabase, name: &str) {
    let mut connection = database.connection().await.unwrap();
    for statement in [
        "INSERT INTO codebases (name) VALUES ($1)",
        "UPDATE codebases SET description = 'changed' WHERE name = $1",
    ] {
        sqlx::query(statement).bind(name).execute(&mut connection).await.unwrap();
    }
}

async fn values(connection: &mut PgConnection, sql: &'static str) -> Value {
    sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn every_table_has_the_trigger_but_those_with_a_reason() {
    let database = database().await;
    let mut connection = database.connection().await.unwrap();
    let without = values(
        &mut connection,
        "SELECT jsonb_agg(c.relname ORDER BY c.relname) FROM pg_class c \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') \
         AND NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_trigger t \
         WHERE t.tgrelid = c.oid AND t.tgfoid = 'audit_change'::regproc)",
    )
    .await;
    assert_eq!(without, json!(WITHOUT_TRIGGER));
    let readme = include_str!("../../migrations/README.md");
    for table in &WITHOUT_TRIGGER[1..] {
        assert!(readme.contains(&format!("`{table}`")), "{table} has no reason");
    }
}

#[tokio::test]
async fn changes_bear_actor_and_trace_and_an_empty_update_leaves_nothing() {
    let database = database().await;
    let store = database.store();
    let trace = TraceContext::fresh();
    let acting = Acting { actor: "agent:General Assistant", trace: Some(trace) };
    let task = NewTask::new("first");
    store.tasks().insert(&acting, &task, &[]).await.unwrap();
    let filter = AuditFilter { record: Some(task.id.as_uuid()), ..AuditFilter::default() };
    let (entries, next) = store.audit().list(&filter).await.unwrap();
    assert_eq!(next, None);
    let [added] = entries.as_slice() else { panic!("{entries:#?}") };
    assert_eq!(
        (added.operation.as_str(), &added.context["event"]),
        ("EVENT", &json!("tasks_added"))
    );
    store.tasks().pause(&acting, task.id).await.unwrap();
    let (entries, _) = store.audit().list(&filter).await.unwrap();
    let paused = &entries[0];
    assert_eq!(paused.changed_fields, ["status"]);
    assert_eq!(paused.old_values, Some(json!({"status": "ready"})));
    assert_eq!(paused.new_values, Some(json!({"status": "paused"})));
    for entry in &entries {
        assert_eq!(entry.actor, acting.actor);
        assert_eq!(entry.trace_id, Some(trace.trace_id_hex()));
        assert_eq!(entry.span_id, Some(trace.span_id_hex()));
    }

    let mut connection = database.connection().await.unwrap();
    connection.execute("UPDATE tasks SET title = title").await.unwrap();
    connection
        .execute("INSERT INTO runtime_nodes (kind, pid, boot_id, host, data_dir) VALUES ('daemon', 1, 'b', 'h', 'd')")
        .await
        .unwrap();
    connection.execute("UPDATE runtime_nodes SET heartbeat_at = now()").await.unwrap();
    let counts = values(
        &mut connection,
        "SELECT jsonb_object_agg(t, n) FROM (SELECT table_name || ' ' || operation AS t, count(*) n \
         FROM audit_rows WHERE table_name IN ('tasks', 'runtime_nodes') GROUP BY 1) c",
    )
    .await;
    assert_eq!(counts, json!({"tasks UPDATE": 1, "runtime_nodes INSERT": 1}));

    connection.execute("DELETE FROM tasks").await.unwrap();
    let (entries, _) = store.audit().list(&filter).await.unwrap();
    assert_eq!(entries[0].operation, "DELETE");
    let user = values(&mut connection, "SELECT to_jsonb(session_user::text)").await;
    assert_eq!(json!(entries[0].actor), user, "where nobody said who acts");
}

#[tokio::test]
async fn secrets_are_masked_in_inserts_updates_and_deletes() {
    let database = database().await;
    let store = database.store();
    let token = json!("hunter2-token");
    store.configuration().set(&ACTING, "codegen.token", &token).await.unwrap();
    let mut connection = database.connection().await.unwrap();
    connection
        .execute(
            "INSERT INTO integrations (id, name, integration_type, credentials) VALUES \
                 (uuid_v7(), 'i', 'github', '{\"token\": \"hunter2-a\"}'); \
             UPDATE integrations SET credentials = '{\"token\": \"hunter2-b\"}', name = 'j'; \
             INSERT INTO codebases (name) VALUES ('c'); \
             INSERT INTO linear_integrations (integration_id, codebase_id, workspace_id, team_id, \
                 api_key_hash, webhook_secret) \
                 SELECT i.id, c.id, 'w', 't', 'hunter2-c', 'hunter2-d' FROM integrations i, codebases c; \
             UPDATE linear_integrations SET webhook_secret = 'hunter2-e'; \
             INSERT INTO integration_events (integration_id, event_type, event_source, event_data, \
                 headers) SELECT id, 'push', 'github', '{}', '{\"authorization\": \"hunter2-f\"}' \
                 FROM integrations; \
             DELETE FROM integrations",
        )
        .await
        .unwrap();
    let all = values(&mut connection, "SELECT jsonb_agg(to_jsonb(a)) FROM audit_rows a").await;
    assert!(!all.to_string().contains("hunter2"));
    let update = values(
        &mut connection,
        "SELECT jsonb_build_array(old_values, new_values) FROM audit_rows \
         WHERE table_name = 'integrations' AND operation = 'UPDATE'",
    )
    .await;
    assert_eq!(
        update,
        json!([{"credentials": "***", "name": "i"}, {"credentials": "***", "name": "j"}])
    );
}

#[tokio::test]
async fn nothing_of_the_audit_or_the_journal_can_be_changed() {
    let database = database().await;
    let mut connection = database.connection().await.unwrap();
    connection.execute("INSERT INTO blobs VALUES (sha256('x'), 1, 'x')").await.unwrap();
    database.store().audit().record(&ACTING, "k", "tasks", &[], &json!({})).await.unwrap();
    database.store().audit().seal().await.unwrap();
    for statement in [
        "UPDATE audit_rows SET actor = 'me'",
        "DELETE FROM audit_rows",
        "TRUNCATE audit_rows",
        "UPDATE audit_events SET actor = 'me'",
        "DELETE FROM audit_events",
        "UPDATE audit_blocks SET row_count = 0",
        "DELETE FROM audit_blocks",
        "TRUNCATE audit_blocks",
        "DELETE FROM blobs",
        "UPDATE blobs SET bytes = 'y'",
        "TRUNCATE run_steps",
        "TRUNCATE audit_rows_default",
    ] {
        let error = connection.execute(statement).await.unwrap_err();
        let code = error.as_database_error().unwrap().code().unwrap().into_owned();
        assert_eq!(code, "JM002", "{statement}: {error}");
    }
}

#[tokio::test]
async fn the_chain_shows_edit_removal_insertion_and_exchange() {
    let database = database().await;
    let store = database.store();
    for n in 0..5 {
        two_rows(&database, &n.to_string()).await;
    }
    let sealed = store.audit().seal().await.unwrap();
    assert_eq!(sealed, 21 + 10, "the seeds and two rows each time");
    assert_eq!(store.audit().seal().await.unwrap(), 0);
    two_rows(&database, "later").await;
    let report = store.audit().verify().await.unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!((report.blocks, report.sealed, report.unsealed), (1, 31, 2));
    store.audit().seal().await.unwrap();
    let (entries, _) = store.audit().list(&AuditFilter::default()).await.unwrap();
    assert_eq!(entries.first().unwrap().previous_hash, entries.last().unwrap().hash);

    let tampering = [
        ("UPDATE audit_rows SET actor = 'me' WHERE position = 30", "rows", 1),
        (
            "UPDATE audit_rows SET occurred_at = occurred_at + interval '1 microsecond' WHERE position = 30",
            "rows",
            1,
        ),
        ("DELETE FROM audit_rows WHERE position = 31", "rows", 1),
        ("DELETE FROM audit_rows WHERE position = 33", "rows", 2),
        (
            "INSERT INTO audit_rows (position, table_name, record_id, operation, actor) \
             OVERRIDING SYSTEM VALUE VALUES (30, 'tasks', uuid_v7(), 'DELETE', 'me')",
            "rows",
            1,
        ),
        (
            "UPDATE audit_rows SET position = CASE position WHEN 25 THEN 26 ELSE 25 END \
             WHERE position IN (25, 26)",
            "rows",
            1,
        ),
        ("UPDATE audit_blocks SET row_count = 30 WHERE seq = 1", "rows", 1),
        ("DELETE FROM audit_blocks WHERE seq = 1", "rows", 2),
        (
            "UPDATE audit_blocks SET hash = sha256('x') WHERE seq = 1; \
             UPDATE audit_blocks SET previous_hash = sha256('x') WHERE seq = 2",
            "rows",
            1,
        ),
    ];
    let mut connection = database.connection().await.unwrap();
    for (statement, chain, seq) in tampering {
        // As a superuser who switches the guards off; undone by the copy below.
        connection
            .execute(
                "CREATE TEMP TABLE kept_rows AS TABLE audit_rows; \
                 CREATE TEMP TABLE kept_blocks AS TABLE audit_blocks; \
                 SET session_replication_role = replica; \
                 ALTER TABLE audit_rows ALTER position SET GENERATED BY DEFAULT",
            )
            .await
            .unwrap();
        connection.execute(statement).await.unwrap();
        let broken = store.audit().verify().await.unwrap();
        let first = broken.first_broken.unwrap_or_else(|| panic!("not seen: {statement}"));
        assert_eq!(
            (first.chain.as_str(), first.seq, broken.ok),
            (chain, seq, false),
            "{statement}"
        );
        connection
            .execute(
                "DELETE FROM audit_rows; INSERT INTO audit_rows TABLE kept_rows; \
                 DELETE FROM audit_blocks; INSERT INTO audit_blocks TABLE kept_blocks; \
                 DROP TABLE kept_rows, kept_blocks; SET session_replication_role = origin",
            )
            .await
            .unwrap();
        assert!(store.audit().verify().await.unwrap().ok, "undone: {statement}");
    }
}

/// The database of a test is a copy; a copy that remembers numbers that nobody wrote down gives them twice after a crash.
#[tokio::test]
async fn a_copied_database_has_to_write_down_the_next_position() {
    let database = database().await;
    let mut connection = database.connection().await.unwrap();
    let unwritten = values(
        &mut connection,
        "SELECT to_jsonb(r.log_cnt + e.log_cnt) FROM audit_rows_position_seq r, audit_events_position_seq e",
    )
    .await;
    assert_eq!(unwritten, 0);
}

#[tokio::test]
async fn sealing_waits_for_writers_that_have_not_committed() {
    let database = database().await;
    let store = database.store();
    store.audit().seal().await.unwrap();
    let mut writer = database.connection().await.unwrap();
    writer.execute("BEGIN; INSERT INTO codebases (name) VALUES ('slow')").await.unwrap();
    two_rows(&database, "quick").await;
    // The slow one holds the smaller position: sealing past it would leave it out for ever.
    assert_eq!(store.audit().seal().await.unwrap(), 0);
    writer.execute("COMMIT").await.unwrap();
    assert_eq!(store.audit().seal().await.unwrap(), 3);
    assert!(store.audit().verify().await.unwrap().ok);
}

#[tokio::test]
async fn the_chain_outlives_retention() {
    let database = database().await;
    let store = database.store();
    store.audit().record(&ACTING, "k", "tasks", &[], &json!({})).await.unwrap();
    store.audit().seal().await.unwrap();
    let mut connection = database.connection().await.unwrap();
    connection.execute("SELECT apply_retention(now() + interval '3 years')").await.unwrap();
    two_rows(&database, "after").await;
    store.audit().seal().await.unwrap();
    let report = store.audit().verify().await.unwrap();
    assert!(report.ok, "{report:?}");
    let left = values(&mut connection, "SELECT to_jsonb(count(*)) FROM audit_rows").await;
    assert_eq!(left, json!(2));
}
