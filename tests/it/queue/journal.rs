//! The journal behind its fence, and the children of an execution.

use journeyman_domain::status::Status;
use journeyman_store::{BlobHash, Claim, NewChild, NewStep, NodeKind, Store, StoreError, Usage};
use serde_json::json;

use super::{ACTING, EXPIRED, LEASE, add, claim, database, finish, node, take_over};

pub(super) async fn append(store: &Store, claim: &Claim, kind: &str) -> Result<i32, StoreError> {
    let step = NewStep { kind, payload: json!({ "kind": kind }), ..NewStep::default() };
    store.journal().append(claim.fence().unwrap(), claim.run.id, &step).await
}

#[tokio::test]
async fn steps_are_numbered_blobs_kept_once_and_stale_owners_refused() {
    let database = database().await;
    let store = database.store();
    let task = add(store, "t", &[]).await;
    let (old, new) = (node(store, NodeKind::Daemon).await, node(store, NodeKind::Daemon).await);
    let first = claim(store, old).await.remove(0);
    let fence = first.fence().unwrap();
    let output = vec![7; 100_000];
    for seq in 1..=2 {
        let step = NewStep {
            kind: "tool_result",
            payload: json!({ "n": seq }),
            output: Some(&output),
            snapshot_tree: Some("tree"),
            pack: Some(b"pack"),
        };
        assert_eq!(store.journal().append(fence, first.run.id, &step).await.unwrap(), seq);
    }
    let hash = BlobHash::of(&output);
    assert_eq!(store.journal().blob(&hash).await.unwrap(), output);
    let mut connection = database.connection().await.unwrap();
    let blobs: i64 =
        sqlx::query_scalar("SELECT count(*) FROM blobs").fetch_one(&mut connection).await.unwrap();
    assert_eq!(blobs, 2);

    store.queue().renew(old, EXPIRED).await.unwrap();
    let taken = take_over(store, new, LEASE).await.taken.remove(0).claim;
    assert!(matches!(append(store, &first, "late").await, Err(StoreError::Fenced)));
    assert_eq!(append(store, &taken, "outcome").await.unwrap(), 3);
    let usage = Usage { output_tokens: 5, cost_usd: 0.25, ..Usage::default() };
    store.runs().add_usage(&ACTING, taken.fence().unwrap(), taken.run.id, &usage).await.unwrap();
    let late = store.runs().add_usage(&ACTING, fence, first.run.id, &usage).await;
    assert!(matches!(late, Err(StoreError::Fenced)));
    finish(store, &taken, Status::Completed).await;
    assert!(matches!(append(store, &taken, "after").await, Err(StoreError::Fenced)));
    assert_eq!(store.runs().used_by_task(task).await.unwrap(), usage);

    let steps = store.journal().load(first.run.id).await.unwrap();
    let told: Vec<_> =
        steps.iter().map(|step| (step.seq, step.epoch, step.kind.as_str())).collect();
    assert_eq!(told, [(1, 1, "tool_result"), (2, 1, "tool_result"), (3, 2, "outcome")]);
    assert_eq!(steps[0].output_blob, Some(hash));
    assert_eq!(steps[0].snapshot_tree.as_deref(), Some("tree"));
    let rest = store.journal().tail(task, Some(steps[1].position()), 10).await.unwrap();
    assert_eq!(rest, steps[2..]);
    assert_eq!(store.journal().tail(task, None, 2).await.unwrap(), steps[..2]);
}

/// An append that meets a take-over waits for it and is then refused, instead of writing under an
/// epoch that is over.
#[tokio::test]
async fn an_append_cannot_slip_past_a_take_over_that_is_under_way() {
    let database = database().await;
    let store = database.store();
    add(store, "t", &[]).await;
    let mine = node(store, NodeKind::Daemon).await;
    let claimed = claim(store, mine).await.remove(0);
    let mut other = database.connection().await.unwrap();
    sqlx::Executor::execute(&mut other, "BEGIN; UPDATE task_executions SET lease_epoch = 2")
        .await
        .unwrap();
    let late = tokio::spawn({
        let (store, claimed) = (store.clone(), claimed.clone());
        async move { append(&store, &claimed, "late").await }
    });
    // Until it waits for the lock.
    let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
         AND wait_event_type = 'Lock' AND query LIKE '%run_steps%')";
    let mut watcher = database.connection().await.unwrap();
    while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut watcher).await.unwrap() {
        tokio::task::yield_now().await;
    }
    sqlx::Executor::execute(&mut other, "COMMIT").await.unwrap();
    assert!(matches!(late.await.unwrap(), Err(StoreError::Fenced)));
    assert_eq!(store.journal().load(claimed.run.id).await.unwrap(), []);
}

#[tokio::test]
async fn children_of_earlier_epochs_are_known_until_they_end() {
    let database = database().await;
    let store = database.store();
    add(store, "t", &[]).await;
    let (old, new) = (node(store, NodeKind::Daemon).await, node(store, NodeKind::Daemon).await);
    let claimed = claim(store, old).await.remove(0);
    let fence = claimed.fence().unwrap();
    let child =
        |pid| NewChild { fence, run_id: claimed.run.id, pid, start_time: 99, argv_head: "sleep 1" };
    let children = store.children();
    let first = children.started(&ACTING, &child(10)).await.unwrap();
    let second = children.started(&ACTING, &child(11)).await.unwrap();
    children.ended(&ACTING, first).await.unwrap();
    assert_eq!(children.left_over("host").await.unwrap(), [], "its lease is good");
    store.queue().renew(old, EXPIRED).await.unwrap();
    let taken = take_over(store, new, LEASE).await.taken.remove(0).claim;
    let late = children.started(&ACTING, &child(12)).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    for found in [
        children.live_of(taken.execution.id, taken.execution.lease_epoch).await.unwrap(),
        children.live_of_node(old).await.unwrap(),
        children.left_over("host").await.unwrap(),
    ] {
        assert_eq!(found.iter().map(|c| (c.id, c.pid)).collect::<Vec<_>>(), [(second, 11)]);
        assert_eq!((found[0].boot_id.as_str(), found[0].start_time), ("boot", 99));
    }
    assert_eq!(children.left_over("elsewhere").await.unwrap(), []);
}
