//! Sub-tasks, and the critical path through a graph.

use journeyman_domain::ids::TaskId;
use journeyman_domain::status::{Status, WaitingFor};
use journeyman_store::{NewTask, NodeKind, StoreError, TaskFilter};

use super::{ACTING, add, claim, database, finish, node, status, titles};

fn part(of: TaskId, title: &str) -> NewTask {
    NewTask { parent_task_id: Some(of), ..NewTask::new(title) }
}

#[tokio::test]
async fn a_parent_waits_for_its_parts_and_takes_none_after_its_end() {
    let database = database().await;
    let store = database.store();
    let parent = add(store, "parent", &[]).await;
    let parts = [part(parent, "one"), part(parent, "two")];
    for part in &parts {
        store.tasks().insert(&ACTING, part, &[]).await.unwrap();
    }
    assert_eq!(status(store, parent).await, (Status::Waiting, Some(WaitingFor::Dependency)));
    let filter = TaskFilter { parent: Some(parent), ..TaskFilter::default() };
    let (listed, _) = store.tasks().list(&filter).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|task| task.title.as_str()).collect();
    assert_eq!(listed, ["two", "one"]);
    let mine = node(store, NodeKind::Daemon).await;
    let claims = claim(store, mine).await;
    assert_eq!(titles(&claims), ["one", "two"]);
    // A part of a part that is being worked on: nobody waits for it, and it is a part all the same.
    store.tasks().insert(&ACTING, &part(parts[0].id, "deeper"), &[]).await.unwrap();
    for claim in &claims {
        finish(store, claim, Status::Completed).await;
    }
    let claims = claim(store, mine).await;
    assert_eq!(titles(&claims), ["parent", "deeper"]);
    finish(store, &claims[0], Status::Completed).await;
    let late = store.tasks().insert(&ACTING, &part(parent, "late"), &[]).await;
    let Err(StoreError::Conflict(said)) = late else { panic!("{late:?}") };
    assert_eq!(said, format!("task {} is completed and takes no sub-tasks", parent.short()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_add_parts_to_one_parent_at_once() {
    let database = database().await;
    let store = database.store();
    let parent = add(store, "parent", &[]).await;
    let mut adders = tokio::task::JoinSet::new();
    for n in 0..24 {
        let store = store.clone();
        adders.spawn(async move {
            let part = part(parent, &n.to_string());
            store.tasks().insert(&ACTING, &part, &[]).await.unwrap().id
        });
    }
    let parts = adders.join_all().await;
    let awaited = store.tasks().awaited(parent).await.unwrap();
    assert_eq!(awaited.len(), parts.len());
    assert_eq!(status(store, parent).await, (Status::Waiting, Some(WaitingFor::Dependency)));
}

#[tokio::test]
async fn a_cancelled_parent_takes_its_parts_along() {
    let database = database().await;
    let store = database.store();
    let parent = NewTask { driver: Some("none".into()), ..NewTask::new("milestone") };
    let parts = [part(parent.id, "runs"), part(parent.id, "is ready")];
    let deeper = part(parts[1].id, "deeper");
    let batch: Vec<_> = [parent.clone(), parts[0].clone(), parts[1].clone(), deeper.clone()]
        .map(|task| (task, vec![]))
        .to_vec();
    store.tasks().insert_many(&ACTING, &batch).await.unwrap();
    let mine = node(store, NodeKind::Daemon).await;
    let one = journeyman_store::ClaimRequest { limit: 1, ..super::request(mine) };
    let claims = store.queue().claim(&ACTING, &one).await.unwrap();
    assert_eq!(titles(&claims), ["runs"]);
    store.tasks().request_cancel(&ACTING, parent.id).await.unwrap();
    for task in [parent.id, parts[1].id, deeper.id] {
        assert_eq!(status(store, task).await, (Status::Cancelled, None));
    }
    let running = store.tasks().get(parts[0].id).await.unwrap();
    assert_eq!(running.status, Status::Running);
    assert!(running.cancel_requested_at.is_some());
    assert_eq!(claim(store, mine).await, []);
}

#[tokio::test]
async fn among_equals_the_head_of_the_longest_chain_goes_first() {
    let database = database().await;
    let store = database.store();
    let before = add(store, "was there before", &[]).await;
    let alone = add(store, "alone", &[]).await;
    let task = |title: &str| NewTask::new(title);
    let (short, long, middle, last) = (task("short"), task("long"), task("middle"), task("last"));
    let batch = [
        (task("after short"), vec![short.id]),
        (short, vec![]),
        (long.clone(), vec![]),
        (middle.clone(), vec![long.id]),
        (last.clone(), vec![middle.id]),
    ];
    store.tasks().insert_many(&ACTING, &batch).await.unwrap();
    // What is ready already learns of the chain that begins at it now, and those above a task, too.
    let longest = task("longest");
    store.tasks().insert(&ACTING, &longest, &[last.id]).await.unwrap();
    store.tasks().insert(&ACTING, &task("another"), &[before]).await.unwrap();
    let mine = node(store, NodeKind::Daemon).await;
    let mut order = Vec::new();
    for _ in 0..4 {
        let one = journeyman_store::ClaimRequest { limit: 1, ..super::request(mine) };
        let claims = store.queue().claim(&ACTING, &one).await.unwrap();
        order.push(claims[0].task.title.clone());
    }
    assert_eq!(order, ["long", "was there before", "short", "alone"]);
    assert_eq!(status(store, alone).await.0, Status::Running);
}
