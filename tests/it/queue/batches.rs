//! Tasks without a run, the limits of codebases and agents, and the small tables beside `tasks`.

use std::collections::BTreeSet;

use journeyman_domain::ids::{CodebaseId, TaskId};
use journeyman_domain::status::{AfterFailure, Priority, Status, WaitingFor};
use journeyman_store::{
    ClaimRequest, Finish, NewCodebase, NewTask, NodeKind, Store, StoreError, TaskFilter,
};
use serde_json::json;
use sqlx::Executor as _;
use uuid::Uuid;

use super::{
    ACTING, EXPIRED, LEASE, add, after, claim, database, ended, finish, node, request, status,
    take_over,
};

pub(super) fn runless(title: &str) -> NewTask {
    NewTask { driver: Some("none".to_owned()), ..NewTask::new(title) }
}

#[tokio::test]
async fn what_has_no_run_ends_in_batches_and_lets_others_go_on() {
    let database = database().await;
    let store = database.store();
    let batch: Vec<_> = (0..950).map(|n| (runless(&n.to_string()), vec![])).collect();
    let ids: Vec<TaskId> = batch.iter().map(|(task, _)| task.id).collect();
    store.tasks().insert_many(&ACTING, &batch).await.unwrap();
    let last = add(store, "after", &[ids[0], ids[949]]).await;
    store.tasks().request_cancel(&ACTING, ids[7]).await.unwrap();
    let mine = node(store, NodeKind::Daemon).await;
    assert_eq!(claim(store, mine).await, [], "no agent works on them");
    let mut seen = BTreeSet::new();
    while let Some(batch) = store.queue().claim_batch(&ACTING, mine, LEASE).await.unwrap() {
        assert!(batch.tasks.iter().all(|task| seen.insert(*task)), "claimed twice");
        store.queue().complete_batch(&ACTING, mine, &batch).await.unwrap();
        let again = store.queue().complete_batch(&ACTING, mine, &batch).await;
        assert!(matches!(again, Err(StoreError::Fenced)), "{again:?}");
    }
    assert_eq!(seen.len(), 949);
    assert_eq!(status(store, ids[7]).await, (Status::Cancelled, None));
    assert_eq!(status(store, ids[3]).await, (Status::Completed, None));
    assert_eq!(status(store, last).await, (Status::Ready, None));
    let mut connection = database.connection().await.unwrap();
    let told: i64 = sqlx::query_scalar(
        "SELECT sum(cardinality(record_ids)) FROM audit_events \
         WHERE kind IN ('tasks_added', 'tasks_claimed', 'tasks_completed')",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(told, 951 + 949 + 949, "each step of each task is in the audit");
}

#[tokio::test]
async fn a_batch_of_a_node_that_is_gone_is_ready_again_and_its_late_end_changes_nothing() {
    let database = database().await;
    let store = database.store();
    let ids = [add_one(store, runless("a")).await, add_one(store, runless("b")).await];
    let (old, new) = (node(store, NodeKind::Daemon).await, node(store, NodeKind::Daemon).await);
    let lost = store.queue().claim_batch(&ACTING, old, EXPIRED).await.unwrap().unwrap();
    assert_eq!(store.queue().claim_batch(&ACTING, new, LEASE).await.unwrap(), None);
    take_over(store, new, LEASE).await;
    let late = store.queue().complete_batch(&ACTING, old, &lost).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    assert_eq!(status(store, ids[0]).await, (Status::Ready, None));
    let again = store.queue().claim_batch(&ACTING, new, LEASE).await.unwrap().unwrap();
    store.queue().complete_batch(&ACTING, new, &again).await.unwrap();
    for id in ids {
        assert_eq!(status(store, id).await, (Status::Completed, None));
    }
}

#[tokio::test]
async fn a_batch_of_before_a_restore_is_ready_again_and_its_late_end_changes_nothing() {
    let database = database().await;
    let store = database.store();
    let id = add_one(store, runless("a")).await;
    let mine = node(store, NodeKind::Daemon).await;
    let before = store.queue().claim_batch(&ACTING, mine, LEASE).await.unwrap().unwrap();
    let mut restored = database.connection().await.unwrap();
    restored.execute(journeyman_store::backup::FENCE).await.unwrap();
    let late = store.queue().complete_batch(&ACTING, mine, &before).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    take_over(store, mine, LEASE).await;
    let again = store.queue().claim_batch(&ACTING, mine, LEASE).await.unwrap().unwrap();
    store.queue().complete_batch(&ACTING, mine, &again).await.unwrap();
    assert_eq!(status(store, id).await, (Status::Completed, None));
}

async fn add_one(store: &Store, task: NewTask) -> TaskId {
    store.tasks().insert(&ACTING, &task, &[]).await.unwrap().id
}

pub(super) async fn codebase(store: &Store, name: &str) -> CodebaseId {
    let new = NewCodebase { name, local_path: name, default_branch: None, language: None };
    store.codebases().register(&ACTING, &new).await.unwrap().id
}

#[tokio::test]
async fn codebases_and_agents_have_limits_and_the_least_busy_agent_is_taken() {
    let database = database().await;
    let store = database.store();
    let mut connection = database.connection().await.unwrap();
    let (narrow, wide) = (codebase(store, "/narrow").await, codebase(store, "/wide").await);
    connection
        .execute("UPDATE codebases SET settings = '{\"max_concurrent\": 2}' WHERE name = '/narrow'")
        .await
        .unwrap();
    connection
        .execute(
            "INSERT INTO codegen_agents (name, agent_type, capabilities, configuration) VALUES \
             ('Second', 'general', '[\"code_generation\"]', '{\"max_concurrent\": 1}')",
        )
        .await
        .unwrap();
    for _ in 0..5 {
        for codebase in [narrow, wide] {
            add_one(store, NewTask { codebase_id: Some(codebase), ..NewTask::new("t") }).await;
        }
    }
    let mine = node(store, NodeKind::Daemon).await;
    // Where two kinds of work want the same agent, the next look gives one of them another.
    let mut claims = claim(store, mine).await;
    claims.extend(claim(store, mine).await);
    let of =
        |codebase| claims.iter().filter(|claim| claim.task.codebase_id == Some(codebase)).count();
    assert_eq!((of(narrow), of(wide)), (2, 5));
    let second = claims.iter().filter(|claim| claim.agent.name == "Second").count();
    assert_eq!(second, 1, "its limit is one");
    assert_eq!(claim(store, mine).await, []);
    // One of the narrow one ends, and the next one of it goes.
    let one = claims.iter().find(|claim| claim.task.codebase_id == Some(narrow)).unwrap();
    finish(store, one, Status::Completed).await;
    let next = claim(store, mine).await;
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].task.codebase_id, Some(narrow));
}

#[tokio::test]
async fn priority_grows_with_the_days_that_a_task_waits() {
    let database = database().await;
    let store = database.store();
    let mut connection = database.connection().await.unwrap();
    let old = add_one(store, NewTask { priority: Priority::Low, ..NewTask::new("old") }).await;
    connection
        .execute("UPDATE tasks SET created_at = now() - interval '3 days', status = 'paused'")
        .await
        .unwrap();
    store.tasks().resume(&ACTING, old, None, None).await.unwrap();
    let high = add_one(store, NewTask { priority: Priority::High, ..NewTask::new("high") }).await;
    let critical =
        add_one(store, NewTask { priority: Priority::Critical, ..NewTask::new("critical") }).await;
    let mine = node(store, NodeKind::Daemon).await;
    let mut order = Vec::new();
    for _ in 0..3 {
        let one = ClaimRequest { limit: 1, ..request(mine) };
        let claims = store.queue().claim(&ACTING, &one).await.unwrap();
        order.extend(claims.iter().map(|claim| claim.task.id));
    }
    assert_eq!(order, [critical, old, high]);
}

#[tokio::test]
async fn lists_by_state_follow_every_change() {
    let database = database().await;
    let store = database.store();
    let mine = node(store, NodeKind::Daemon).await;
    let first = add(store, "first", &[]).await;
    let second = add(store, "second", &[first]).await;
    let third = add(store, "third", &[]).await;
    let list = async |status| {
        let filter = TaskFilter { status: Some(status), ..TaskFilter::default() };
        let (tasks, _) = store.tasks().list(&filter).await.unwrap();
        tasks.into_iter().map(|task| task.id).collect::<Vec<_>>()
    };
    assert_eq!(list(Status::Waiting).await, [second]);
    assert_eq!(list(Status::Ready).await, [third, first]);
    store.tasks().pause(&ACTING, third).await.unwrap();
    assert_eq!(list(Status::Paused).await, [third]);
    let claims = claim(store, mine).await;
    assert_eq!(list(Status::Running).await, [first]);
    store
        .queue()
        .finish(&ACTING, claims[0].fence().unwrap(), &ended(Status::Failed))
        .await
        .unwrap();
    assert_eq!(list(Status::Failed).await, [first]);
    assert_eq!(status(store, second).await, (Status::Waiting, Some(WaitingFor::Dependency)));
    store.tasks().retry(&ACTING, first).await.unwrap();
    assert_eq!((list(Status::Failed).await, list(Status::Ready).await), (vec![], vec![first]));
    let mut connection = database.connection().await.unwrap();
    let marks: serde_json::Value =
        sqlx::query_scalar("SELECT jsonb_object_agg(task_id, status) FROM task_marks")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(marks, json!({ second.to_string(): "waiting", third.to_string(): "paused" }));
}

#[tokio::test]
async fn every_ready_task_has_its_place_whatever_made_it_so() {
    let database = database().await;
    let store = database.store();
    let first = add(store, "first", &[]).await;
    let waits = add(store, "waits", &[first]).await;
    let paused = add(store, "paused", &[]).await;
    store.tasks().pause(&ACTING, paused).await.unwrap();
    store.tasks().resume(&ACTING, paused, None, None).await.unwrap();
    let mine = node(store, NodeKind::Daemon).await;
    let claims = claim(store, mine).await;
    assert_eq!(claims.len(), 2);
    // Another agent shall try it.
    let again = Finish::new(Status::Retrying, after(Status::Ready));
    store.queue().finish(&ACTING, claims[0].fence().unwrap(), &again).await.unwrap();
    finish(store, &claims[1], Status::Cancelled).await;
    let claims = claim(store, mine).await;
    assert_eq!((claims.len(), claims[0].execution.attempt), (1, 2));
    finish(store, &claims[0], Status::Completed).await;
    let mut connection = database.connection().await.unwrap();
    let places: Vec<Uuid> = sqlx::query_scalar("SELECT unnest(ids) FROM ready_tasks")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(places, [waits.as_uuid()]);
    store.tasks().request_cancel(&ACTING, waits).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM ready_tasks")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_task_that_was_ready_twice_can_be_cancelled_and_is_claimed_once() {
    let database = database().await;
    let store = database.store();
    let mine = node(store, NodeKind::Daemon).await;
    let first = add(store, "first", &[]).await;
    let all_the_same = NewTask { after_failure: AfterFailure::Run, ..NewTask::new("all the same") };
    let second = store.tasks().insert(&ACTING, &all_the_same, &[first]).await.unwrap().id;
    for _ in 0..2 {
        let one = ClaimRequest { limit: 1, ..request(mine) };
        let claim = store.queue().claim(&ACTING, &one).await.unwrap().remove(0);
        assert_eq!(claim.task.id, first);
        finish(store, &claim, Status::Failed).await;
        assert_eq!(status(store, second).await, (Status::Ready, None));
        store.tasks().retry(&ACTING, first).await.unwrap();
        assert_eq!(status(store, second).await, (Status::Waiting, Some(WaitingFor::Dependency)));
    }
    store.tasks().request_cancel(&ACTING, first).await.unwrap();
    assert_eq!(status(store, second).await, (Status::Ready, None));
    store.tasks().pause(&ACTING, second).await.unwrap();
    store.tasks().resume(&ACTING, second, None, None).await.unwrap();
    let claims = claim(store, mine).await;
    assert_eq!(claims.iter().map(|claim| claim.task.id).collect::<Vec<_>>(), [second]);
    assert_eq!(claim(store, mine).await, []);
}

#[tokio::test]
async fn a_graph_that_was_refused_leaves_nothing_that_later_tasks_stumble_over() {
    let database = database().await;
    let store = database.store();
    let codebase_id = Some(codebase(store, "/new").await);
    let of = |title: &str| NewTask { codebase_id, ..NewTask::new(title) };
    let (root, behind) = (of("root"), of("behind"));
    let missing = TaskId::from_uuid(Uuid::now_v7());
    let batch = [(root.clone(), vec![]), (behind, vec![root.id, missing])];
    let refused = store.tasks().insert_many(&ACTING, &batch).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    let added = add_one(store, of("later")).await;
    let mine = node(store, NodeKind::Daemon).await;
    let claims = claim(store, mine).await;
    assert_eq!(claims.iter().map(|claim| claim.task.id).collect::<Vec<_>>(), [added]);
}
