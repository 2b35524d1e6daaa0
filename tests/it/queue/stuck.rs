//! The reconciler moves what nothing else would ever move.

use journeyman_domain::ids::TaskId;
use journeyman_domain::status::{Status, WaitingFor};
use journeyman_store::audit::AuditFilter;
use journeyman_store::{NewTask, NodeKind, Reconciled, Store, Stuck};
use sqlx::Executor as _;

use super::{ACTING, LEASE, add, claim, database, finish, node, status, titles};

async fn reconcile(store: &Store) -> Reconciled {
    let queue = store.queue();
    let mut all = queue.reconcile(&ACTING, Stuck::Waiting, None).await.unwrap();
    let unplaced = queue.reconcile(&ACTING, Stuck::Unplaced, None).await.unwrap();
    all.mended.extend(unplaced.mended);
    all
}

#[tokio::test]
async fn what_is_as_it_should_be_is_left_alone() {
    let database = database().await;
    let store = database.store();
    let ready = add(store, "ready", &[]).await;
    add(store, "waits", &[ready]).await;
    let milestone = NewTask { driver: Some("none".into()), ..NewTask::new("milestone") };
    store.tasks().insert(&ACTING, &milestone, &[]).await.unwrap();
    let mine = node(store, NodeKind::Daemon).await;
    assert_eq!(reconcile(store).await, Reconciled::default());
    let claims = claim(store, mine).await;
    let batch = store.queue().claim_batch(&ACTING, mine, LEASE).await.unwrap().unwrap();
    assert_eq!(reconcile(store).await, Reconciled::default());
    store.queue().complete_batch(&ACTING, mine, &batch).await.unwrap();
    finish(store, &claims[0], Status::Failed).await;
    // What waits for one that failed waits until that is tried again.
    assert_eq!(reconcile(store).await, Reconciled::default());
}

#[tokio::test]
async fn what_is_stuck_goes_on() {
    let database = database().await;
    let store = database.store();
    let lost_place = add(store, "lost its place", &[]).await;
    let awaited = add(store, "was awaited", &[]).await;
    let not_told = add(store, "was not told", &[awaited]).await;
    let not_judged = add(store, "was not judged", &[]).await;
    let nobodys = add(store, "is nobody's", &[]).await;
    let locked = add(store, "waits for nobody's files", &[]).await;
    let mut hand = database.connection().await.unwrap();
    // As no statement of ours would leave it.
    for (task, state) in [
        (lost_place, "status = 'ready'"),
        (awaited, "status = 'completed'"),
        (not_judged, "status = 'pending'"),
        (nobodys, "status = 'running'"),
        (locked, "status = 'waiting', waiting_for = 'lock'"),
    ] {
        let change = format!("UPDATE tasks SET {state} WHERE id = '{task}'");
        hand.execute(sqlx::AssertSqlSafe(change)).await.unwrap();
    }
    hand.execute("DELETE FROM ready_tasks").await.unwrap();
    assert_eq!(status(store, not_told).await, (Status::Waiting, Some(WaitingFor::Dependency)));

    let mine = node(store, NodeKind::Daemon).await;
    assert_eq!(claim(store, mine).await, []);
    let mut stuck = vec![lost_place, not_told, not_judged, nobodys, locked];
    stuck.sort();
    let Reconciled { next, mut mended } = reconcile(store).await;
    mended.sort();
    assert_eq!((next, &mended), (None, &stuck));
    assert_eq!(reconcile(store).await, Reconciled::default());
    let claims = claim(store, mine).await;
    let mut claimed: Vec<TaskId> = claims.iter().map(|claim| claim.task.id).collect();
    claimed.sort();
    assert_eq!(claimed, stuck, "{:?}", titles(&claims));
    let filter = AuditFilter { record: Some(nobodys.as_uuid()), ..AuditFilter::default() };
    let (entries, _) = store.audit().list(&filter).await.unwrap();
    assert!(
        entries.iter().any(|entry| entry.context["event"] == "tasks_reconciled"),
        "{entries:?}"
    );
}
