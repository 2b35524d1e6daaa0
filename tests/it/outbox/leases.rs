//! The table itself: written with what decides it, claimed by one, recorded by the one that holds the lease.

use std::time::Duration;

use journeyman_domain::ids::{NodeId, TaskId};
use journeyman_domain::outbox::{EffectKind, EffectState, LONGEST_WAIT_MS};
use journeyman_store::{
    Claim, ClaimRequest, EffectClaim, EffectFence, Here, NewEffect, NewNode, NewStep, NewTask,
    NodeKind, Outgoing, Store, StoreError,
};
use journeyman_testkit::database::TestDatabase;
use serde_json::json;
use uuid::Uuid;

use crate::schema::{ACTING, database};

const LEASE: Duration = Duration::from_secs(30);

async fn node(store: &Store) -> NodeId {
    let id = NodeId::from_uuid(Uuid::now_v7());
    let (kind, host) = (NodeKind::Daemon, "here");
    let new = NewNode {
        id,
        kind,
        pid: 1,
        here: Here { boot_id: "boot", data_id: Uuid::nil() },
        host,
        data_dir: "/d",
        only_task: None,
    };
    store.nodes().register(&ACTING, &new).await.unwrap();
    id
}

fn effect(key: &str, task: Option<TaskId>) -> NewEffect {
    NewEffect {
        id: Uuid::now_v7().into(),
        kind: "push".into(),
        target: "acme/notes".into(),
        idempotency_key: key.into(),
        payload: json!({ "kind": "push" }),
        task_id: task,
        host: Some("here".into()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    }
}

/// A run that a node holds.
async fn run(store: &Store, node: NodeId) -> Claim {
    store.tasks().insert(&ACTING, &NewTask::new("t"), &[]).await.unwrap();
    let request = ClaimRequest {
        node_id: node,
        limit: 1,
        max_concurrent: 10,
        only_task: None,
        agents: None,
        lease: LEASE,
    };
    store.queue().claim(&ACTING, &request).await.unwrap().remove(0)
}

/// Appends the step that decides this effect.
async fn decide(store: &Store, claim: &Claim, effect: &NewEffect) -> Result<i32, StoreError> {
    let payload = json!({ "kind": "delivered", "of": effect.idempotency_key });
    let step = NewStep { kind: "delivered", payload, effect: Some(effect), ..NewStep::default() };
    store.journal().append(claim.fence().unwrap(), claim.run.id, &step).await
}

fn by(node_id: NodeId, lease: Duration) -> EffectClaim<'static> {
    EffectClaim { node_id, host: "here", only_task: None, except: None, limit: 10, lease }
}

async fn claim(store: &Store, node: NodeId, lease: Duration) -> Vec<Outgoing> {
    store.outbox().claim(&ACTING, &by(node, lease)).await.unwrap()
}

async fn audit(database: &TestDatabase, of: &NewEffect) -> Vec<(String, String, String)> {
    let mut connection = database.connection().await.unwrap();
    sqlx::query_as(
        "SELECT operation, actor, coalesce(new_values ->> 'state', '') FROM audit_rows \
         WHERE table_name = 'outbox' AND record_id = $1 ORDER BY position",
    )
    .bind(of.id.as_uuid())
    .fetch_all(&mut connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn an_effect_is_written_with_the_step_that_decides_it_or_not_at_all() {
    let database = database().await;
    let store = database.store();
    let mine = node(store).await;
    let mut held = run(store, mine).await;
    let task = held.task.id;
    let first = effect("first", Some(task));
    assert_eq!(decide(store, &held, &first).await.unwrap(), 1);
    let rows = store.outbox().of_task(task).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].id, rows[0].state, rows[0].attempts), (first.id, EffectState::Pending, 0));
    // The same one, decided again after a crash, is the same row.
    decide(store, &held, &effect("first", Some(task))).await.unwrap();
    assert_eq!(store.outbox().of_task(task).await.unwrap().len(), 1);
    let expected = [("INSERT".to_owned(), "run".to_owned(), "pending".to_owned())];
    assert_eq!(audit(&database, &first).await, expected);
    // What the database does not take, takes its step along.
    let broken = NewEffect { target: "\0".into(), ..effect("broken", Some(task)) };
    decide(store, &held, &broken).await.unwrap_err();
    // Who has lost the lease of the run decides nothing.
    held.execution.lease_epoch += 1;
    let late = decide(store, &held, &effect("late", Some(task))).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    assert_eq!(store.outbox().of_task(task).await.unwrap().len(), 1);
    assert_eq!(store.journal().load(held.run.id).await.unwrap().len(), 2);
}

/// They would share a statement, at whose end the audit is written.
#[tokio::test]
async fn effects_that_are_decided_at_once_are_each_in_their_own_trace() {
    let database = database().await;
    let store = database.store();
    let mine = node(store).await;
    let mut of = Vec::new();
    for number in 0..4_u8 {
        let held = run(store, mine).await;
        let trace = format!("{number:032x}");
        let traceparent = Some(format!("00-{trace}-b7ad6b7169203331-01"));
        let key = number.to_string();
        of.push((NewEffect { traceparent, ..effect(&key, Some(held.task.id)) }, held, trace));
    }
    let [one, two, three, four] = &of[..] else { unreachable!() };
    let (one, two, three, four) = tokio::join!(
        decide(store, &one.1, &one.0),
        decide(store, &two.1, &two.0),
        decide(store, &three.1, &three.0),
        decide(store, &four.1, &four.0),
    );
    for done in [one, two, three, four] {
        assert_eq!(done.unwrap(), 1);
    }
    let mut connection = database.connection().await.unwrap();
    for (effect, _, trace) in &of {
        let told: Vec<String> = sqlx::query_scalar(
            "SELECT trace_id FROM audit_rows WHERE table_name = 'outbox' AND record_id = $1",
        )
        .bind(effect.id.as_uuid())
        .fetch_all(&mut connection)
        .await
        .unwrap();
        assert_eq!(told, std::slice::from_ref(trace));
    }
}

#[tokio::test]
async fn a_sender_of_before_a_restore_writes_nothing() {
    let database = database().await;
    let store = database.store();
    let (old, new) = (node(store).await, node(store).await);
    let held = run(store, old).await;
    decide(store, &held, &effect("one", Some(held.task.id))).await.unwrap();
    let stale = claim(store, old, LEASE).await.remove(0).fence().unwrap();
    let mut restored = database.connection().await.unwrap();
    sqlx::Executor::execute(&mut restored, journeyman_store::backup::FENCE).await.unwrap();
    let late = store.outbox().done(&ACTING, stale, "x", None).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    // It may have arrived: whoever goes on with it looks for it first.
    let taken = claim(store, new, LEASE).await.remove(0);
    assert_eq!((taken.id, taken.attempts), (stale.id, 2));
}

#[tokio::test]
async fn a_sender_whose_lease_was_taken_over_writes_nothing() {
    let database = database().await;
    let store = database.store();
    let (old, new) = (node(store).await, node(store).await);
    let held = run(store, old).await;
    let decided = effect("one", Some(held.task.id));
    decide(store, &held, &decided).await.unwrap();
    let stale = claim(store, old, Duration::ZERO).await.remove(0).fence().unwrap();
    let taken = claim(store, new, LEASE).await.remove(0);
    assert_eq!((taken.lease_epoch, taken.attempts), (stale.lease_epoch + 1, 2));
    assert_eq!(claim(store, old, LEASE).await, []);
    let outbox = store.outbox();
    let follow_up = effect("follows", Some(held.task.id));
    for refused in [
        outbox.done(&ACTING, stale, "x", Some(&follow_up)).await,
        outbox.failed(&ACTING, stale, "x").await,
        outbox.retry(&ACTING, stale, Some("x"), Duration::ZERO).await,
        outbox.renew(stale, LEASE).await,
    ] {
        assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    }
    let rows = outbox.of_task(held.task.id).await.unwrap();
    assert_eq!(rows, std::slice::from_ref(&taken));
    let fence = taken.fence().unwrap();
    outbox.renew(fence, LEASE).await.unwrap();
    // Its own epoch on another node's name is not its own.
    let other = EffectFence { node_id: old, ..fence };
    assert!(matches!(outbox.failed(&ACTING, other, "x").await, Err(StoreError::Fenced)));
    let row = async || outbox.get(decided.id).await.unwrap().unwrap();
    assert!(!row().await.is_ended_by(fence));
    outbox.done(&ACTING, fence, "there", Some(&follow_up)).await.unwrap();
    // Who wrote that, and did not hear of it, finds it.
    let ended = row().await;
    assert!(ended.is_ended_by(fence) && !ended.is_ended_by(stale) && !ended.is_ended_by(other));
    let again = outbox.done(&ACTING, fence, "elsewhere", None).await;
    assert!(matches!(again, Err(StoreError::Fenced)), "{again:?}");
    let rows = outbox.of_task(held.task.id).await.unwrap();
    let states: Vec<_> = rows.iter().map(|row| (row.state, row.remote_id.as_deref())).collect();
    assert_eq!(states, [(EffectState::Done, Some("there")), (EffectState::Pending, None)]);
    // Each change of its state is in the audit, and nothing else.
    let operations: Vec<_> =
        audit(&database, &decided).await.into_iter().map(|row| row.2).collect();
    assert_eq!(operations.len(), 4, "{operations:?}");
}

#[tokio::test]
async fn an_effect_is_claimed_when_it_is_due_and_by_whom_it_may() {
    let database = database().await;
    let store = database.store();
    let (mine, other) = (node(store).await, node(store).await);
    let held = run(store, mine).await;
    decide(store, &held, &effect("one", Some(held.task.id))).await.unwrap();
    let outbox = store.outbox();
    let elsewhere = EffectClaim { host: "elsewhere", ..by(other, LEASE) };
    let foreign =
        EffectClaim { only_task: Some(TaskId::from_uuid(Uuid::now_v7())), ..by(other, LEASE) };
    for nothing in [elsewhere, foreign] {
        assert_eq!(outbox.next(&nothing).await.unwrap(), None);
        assert_eq!(outbox.claim(&ACTING, &nothing).await.unwrap(), []);
    }
    assert_eq!(outbox.next(&by(mine, LEASE)).await.unwrap(), Some(Duration::ZERO));
    let claimed = claim(store, mine, LEASE).await.remove(0);
    let left = outbox.next(&by(other, LEASE)).await.unwrap().unwrap();
    assert!(left > LEASE / 2 && left <= LEASE, "{left:?}");
    outbox.retry(&ACTING, claimed.fence().unwrap(), Some("away"), LEASE * 4).await.unwrap();
    let left = outbox.next(&by(other, LEASE)).await.unwrap().unwrap();
    assert!(left > LEASE * 3 && left <= LEASE * 4, "{left:?}");
    assert_eq!(claim(store, other, LEASE).await, []);
    // The user does not wait; and asks on another machine.
    outbox.resend(&ACTING, held.task.id, "elsewhere").await.unwrap();
    assert_eq!(claim(store, other, LEASE).await, []);
    outbox.resend(&ACTING, held.task.id, "here").await.unwrap();
    let claimed = claim(store, mine, LEASE).await.remove(0);
    assert_eq!((claimed.attempts, claimed.last_error.as_deref()), (1, Some("away")));
    // Of a node that has stopped nobody renews a lease.
    store.nodes().stop(&ACTING, mine).await.unwrap();
    assert_eq!(outbox.next(&by(other, LEASE)).await.unwrap(), Some(Duration::ZERO));
    let claimed = claim(store, other, LEASE).await.remove(0);
    outbox.failed(&ACTING, claimed.fence().unwrap(), "never").await.unwrap();
    assert_eq!(outbox.next(&by(other, LEASE)).await.unwrap(), None);
    let nothing = outbox.resend(&ACTING, TaskId::from_uuid(Uuid::now_v7()), "here").await;
    assert!(matches!(nothing, Err(StoreError::Conflict(_))), "{nothing:?}");
}

/// To a clock that jumped back a day, what is written down is of tomorrow.
#[tokio::test]
async fn what_is_of_tomorrow_does_not_wait_for_it() {
    let database = database().await;
    let store = database.store();
    let (mine, other) = (node(store).await, node(store).await);
    let held = run(store, mine).await;
    decide(store, &held, &effect("one", Some(held.task.id))).await.unwrap();
    let outbox = store.outbox();
    let jump = async || {
        let mut connection = database.connection().await.unwrap();
        sqlx::query(
            "UPDATE outbox SET created_at = created_at + interval '1 day', \
                 next_attempt_at = next_attempt_at + interval '1 day', \
                 lease_expires_at = lease_expires_at + interval '1 day'",
        )
        .execute(&mut connection)
        .await
        .unwrap();
    };
    let next = async || outbox.next(&by(other, LEASE)).await.unwrap();
    // Never begun.
    jump().await;
    assert_eq!(next().await, Some(Duration::ZERO));
    let first = claim(store, mine, LEASE).await.remove(0);
    // Its sender has stopped.
    jump().await;
    assert!(next().await.unwrap() > LEASE);
    assert_eq!(claim(store, other, LEASE).await, []);
    store.nodes().stop(&ACTING, mine).await.unwrap();
    assert_eq!(next().await, Some(Duration::ZERO));
    let second = claim(store, other, LEASE).await.remove(0);
    assert_eq!((second.lease_epoch, second.attempts), (first.lease_epoch + 1, 2));
    // Waits for its next attempt: the longest wait that there is, and longer.
    let longest = Duration::from_millis(LONGEST_WAIT_MS);
    outbox.retry(&ACTING, second.fence().unwrap(), Some("away"), longest).await.unwrap();
    let left = next().await.unwrap();
    assert!(left + LEASE > longest && left <= longest, "{left:?}");
    jump().await;
    assert_eq!(next().await, Some(Duration::ZERO));
    assert_eq!(claim(store, other, LEASE).await.len(), 1);
}

/// One that another transaction holds is due and not to be had.
#[tokio::test]
async fn a_row_that_is_held_is_passed_over() {
    let database = database().await;
    let store = database.store();
    let mine = node(store).await;
    let held = run(store, mine).await;
    let of_one_kind = effect("one", Some(held.task.id));
    decide(store, &held, &of_one_kind).await.unwrap();
    let mut connection = database.connection().await.unwrap();
    let mut transaction = sqlx::Connection::begin(&mut connection).await.unwrap();
    sqlx::query("SELECT FROM outbox FOR UPDATE").execute(&mut *transaction).await.unwrap();
    let outbox = store.outbox();
    assert_eq!(outbox.next(&by(mine, LEASE)).await.unwrap(), Some(Duration::ZERO));
    assert_eq!(claim(store, mine, LEASE).await, []);
    transaction.rollback().await.unwrap();
    // Whoever cannot send its kind takes it not.
    let unable = EffectClaim { except: Some(EffectKind::Push), ..by(mine, LEASE) };
    assert_eq!(outbox.next(&unable).await.unwrap(), None);
    assert_eq!(outbox.claim(&ACTING, &unable).await.unwrap(), []);
    let other_kind = EffectClaim { except: Some(EffectKind::PullRequest), ..by(mine, LEASE) };
    outbox.explain(&ACTING, &other_kind, "not said").await.unwrap();
    outbox.explain(&ACTING, &unable, "no key").await.unwrap();
    outbox.explain(&ACTING, &unable, "not said again").await.unwrap();
    let claimed = claim(store, mine, LEASE).await.remove(0);
    assert_eq!(claimed.last_error.as_deref(), Some("no key"));
}

#[tokio::test]
async fn an_idle_look_reads_what_is_open_and_no_more() {
    let database = database().await;
    let mut connection = database.connection().await.unwrap();
    sqlx::query(
        "INSERT INTO outbox (kind, target, idempotency_key, payload, state) \
         SELECT 'push', 't', n::text, '{}', CASE WHEN n = 1 THEN 'pending' ELSE 'done' END \
         FROM generate_series(1, 20000) n",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    sqlx::query("ANALYZE outbox").execute(&mut connection).await.unwrap();
    let plan = format!("EXPLAIN {}", journeyman_store::tables::outbox::idle_statement());
    let lines: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(plan))
        .bind("here")
        .bind(None::<Uuid>)
        .bind(None::<String>)
        .bind(7200.0)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let plan = lines.join("\n");
    assert!(plan.contains("idx_outbox_due") && !plan.contains("Seq Scan on outbox"), "{plan}");
}
