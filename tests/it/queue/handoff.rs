//! Tasks that their adder works on at once, and the ways to add tasks: they must not differ in what is kept.

use chrono::{DateTime, Utc};
use journeyman_domain::ids::{NodeId, TaskId};
use journeyman_domain::status::{AfterFailure, Priority, Status};
use journeyman_store::{Batch, NewTask, NodeKind, Store, StoreError};
use serde_json::json;

use super::batches::{codebase, runless};
use super::{ACTING, EXPIRED, LEASE, add, database, node, status, take_over};

async fn add_and_claim(store: &Store, node: NodeId, task: NewTask) -> Option<Batch> {
    store.queue().add_and_claim(&ACTING, node, task, LEASE).await.unwrap()
}

async fn claim_batch(store: &Store, node: NodeId) -> Option<Batch> {
    store.queue().claim_batch(&ACTING, node, LEASE).await.unwrap()
}

#[tokio::test]
async fn where_nothing_is_ahead_a_task_is_claimed_as_it_is_added_and_each_step_is_in_the_audit() {
    let database = database().await;
    let store = database.store();
    let mine = node(store, NodeKind::Daemon).await;
    add(store, "one with a run is not ahead", &[]).await;
    let task = runless("first");
    let id = task.id;
    let batch = add_and_claim(store, mine, task).await.unwrap();
    assert_eq!(batch.tasks, [id.as_uuid()]);
    assert_eq!(status(store, id).await, (Status::Ready, None));
    let last = add(store, "last", &[id]).await;
    assert_eq!(claim_batch(store, mine).await, None, "nobody else gets it");
    store.queue().complete_batch(&ACTING, mine, &batch).await.unwrap();
    assert_eq!(status(store, id).await, (Status::Completed, None));
    assert_eq!(status(store, last).await, (Status::Ready, None));
    let again = store.queue().complete_batch(&ACTING, mine, &batch).await;
    assert!(matches!(again, Err(StoreError::Fenced)), "{again:?}");
    let mut connection = database.connection().await.unwrap();
    let told: Vec<(String, String)> = sqlx::query_as(
        "SELECT kind, attributes::text FROM audit_events WHERE $1 = ANY (record_ids) ORDER BY position",
    )
    .bind(id.as_uuid())
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let lease = format!("{{\"lease\": \"{}\"}}", batch.id);
    let step = |kind: &str, attributes: &str| (kind.to_owned(), attributes.to_owned());
    let expected =
        [step("tasks_added", "{}"), step("tasks_claimed", &lease), step("tasks_completed", &lease)];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_is_ready_already_what_has_a_run_and_what_is_for_another_node_is_not_jumped() {
    let database = database().await;
    let store = database.store();
    let (mine, other) = (node(store, NodeKind::Daemon).await, node(store, NodeKind::Daemon).await);
    let old = store.tasks().insert(&ACTING, &runless("old"), &[]).await.unwrap().id;
    let (new, urgent) =
        (runless("new"), NewTask { priority: Priority::Urgent, ..runless("urgent") });
    let expected = [urgent.id, old, new.id].map(TaskId::as_uuid);
    for task in [new, urgent] {
        assert_eq!(add_and_claim(store, mine, task).await, None);
    }
    let first = claim_batch(store, mine).await.unwrap();
    let second = claim_batch(store, mine).await;
    let order = [first.tasks, second.map(|batch| batch.tasks).unwrap_or_default()].concat();
    assert_eq!(order, expected);
    assert_eq!(add_and_claim(store, mine, NewTask::new("with a run")).await, None);
    let reserved = NewTask { reserved_for: Some(other), ..runless("for the other one") };
    assert_eq!(add_and_claim(store, mine, reserved).await, None);
}

#[tokio::test]
async fn what_a_node_was_handed_that_is_gone_is_ready_again() {
    let database = database().await;
    let store = database.store();
    let (old, new) = (node(store, NodeKind::Daemon).await, node(store, NodeKind::Daemon).await);
    let task = NewTask { unique_key: Some("key".into()), ..runless("t") };
    let id = task.id;
    let twin = NewTask { id: runless("twin").id, ..task.clone() };
    let lost = store.queue().add_and_claim(&ACTING, old, task, EXPIRED).await.unwrap().unwrap();
    let twice = store.queue().add_and_claim(&ACTING, old, twin, LEASE).await;
    assert!(matches!(twice, Err(StoreError::Conflict(_))), "{twice:?}");
    take_over(store, new, LEASE).await;
    let late = store.queue().complete_batch(&ACTING, old, &lost).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    let again = claim_batch(store, new).await.unwrap();
    assert_eq!(again.tasks, [id.as_uuid()]);
    store.queue().complete_batch(&ACTING, new, &again).await.unwrap();
    assert_eq!(status(store, id).await, (Status::Completed, None));
}

/// A task with a value in each column, and with all that a format could take for its own.
async fn full(store: &Store, mine: NodeId) -> NewTask {
    let due: DateTime<Utc> = "2031-02-03T04:05:06.789012Z".parse().unwrap();
    NewTask {
        codebase_id: Some(codebase(store, "/full").await),
        parent_task_id: Some(add(store, "parent", &[]).await),
        title: "tab\tline\nreturn\rback\\slash \\N \\. ß 🦀".into(),
        description: Some(String::new()),
        task_type: "bug".into(),
        priority: Priority::High,
        driver: Some("none".into()),
        model: Some("\\N".into()),
        agent_id: Some(store.agents().find("Code Reviewer").await.unwrap().id),
        check_commands: vec!["say \"a\\tb\"\n".into(), "{},NULL".into()],
        command: vec!["x".into()],
        base_ref: Some("main".into()),
        deliver: "patch".into(),
        allow_unverified: true,
        budget_usd: Some(12.345),
        time_limit_s: Some(7),
        max_rounds: Some(8),
        unique_key: None,
        reserved_for: Some(mine),
        traceparent: Some("00-1-2-3".into()),
        context: json!({ "a\\b": ["\t", "\n", null, 1.5] }),
        metadata: json!({ "quote": "\"" }),
        due_date: Some(due),
        after_failure: AfterFailure::Run,
        ..NewTask::new("")
    }
}

#[tokio::test]
async fn a_task_is_kept_the_same_however_many_are_added_with_it() {
    let database = database().await;
    let store = database.store();
    let mine = node(store, NodeKind::Daemon).await;
    let (full, plain) = (full(store, mine).await, runless("plain"));
    // What has no parent is copied where it is one of many.
    let own = NewTask { parent_task_id: None, ..full.clone() };
    for (task, other) in [(&full, &plain), (&own, &own), (&own, &plain), (&plain, &own)] {
        let mut ids = Vec::new();
        // By itself, by a statement for some, by a copy of many.
        for count in [1, 2, 1000] {
            let is_end = |number| number == 0 || number == count - 1;
            let like = |number| if is_end(number) { task } else { other };
            let new = |n| (NewTask { id: NewTask::new("").id, ..like(n).clone() }, vec![]);
            let batch: Vec<_> = (0..count).map(new).collect();
            store.tasks().insert_many(&ACTING, &batch).await.unwrap();
            ids.extend([batch[0].0.id, batch[count - 1].0.id]);
        }
        let alone = NewTask { id: NewTask::new("").id, ..task.clone() };
        ids.push(alone.id);
        add_and_claim(store, mine, alone).await;
        let mut connection = database.connection().await.unwrap();
        let kept: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT (to_jsonb(t) - ARRAY['id', 'created_at', 'updated_at'])::text \
             FROM tasks t WHERE id = ANY ($1)",
        )
        .bind(ids.iter().map(|id| id.as_uuid()).collect::<Vec<_>>())
        .fetch_all(&mut connection)
        .await
        .unwrap();
        assert_eq!(kept.len(), 1, "{kept:#?}");
        let places: i64 = sqlx::query_scalar(
            "SELECT count(DISTINCT (lane_id, bucket, due, reserved_for)) FROM ready_tasks q \
             WHERE q.ids && $1",
        )
        .bind(ids.iter().map(|id| id.as_uuid()).collect::<Vec<_>>())
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!(places, 1);
        let read = store.tasks().get(ids[0]).await.unwrap();
        assert_eq!((&read.title, &read.context), (&task.title, &task.context));
        assert_eq!(read.check_commands, task.check_commands);
        assert_eq!(read.due_date, task.due_date);
    }
}

#[tokio::test]
async fn of_many_that_are_copied_all_or_none_are_added_and_the_line_goes_on() {
    let database = database().await;
    let store = database.store();
    let mut batch: Vec<_> = (0..100).map(|n| (runless(&n.to_string()), vec![])).collect();
    batch[40].0.unique_key = Some("same".into());
    batch[60].0.unique_key = Some("same".into());
    let refused = store.tasks().insert_many(&ACTING, &batch).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    batch[60].0.unique_key = None;
    batch[60].0.title = "a title that is too long ".repeat(100);
    let refused = store.tasks().insert_many(&ACTING, &batch).await.unwrap_err();
    assert_eq!(refused.sqlstate().as_deref(), Some("22001"));
    let mut connection = database.connection().await.unwrap();
    let left: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM tasks), (SELECT count(*) FROM ready_tasks), \
         (SELECT count(*) FROM audit_events WHERE kind = 'tasks_added')",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(left, (0, 0, 0));
    batch[60].0.title = "short".into();
    store.tasks().insert_many(&ACTING, &batch).await.unwrap();
    assert_eq!(status(store, batch[99].0.id).await, (Status::Ready, None));
}
