//! The queue: one owner for a task, fenced writes, take-over, dependencies, the user's wishes.

#![expect(clippy::unwrap_used, reason = "the functions here are parts of tests")]

mod batches;
mod clock;
mod files;
mod graphs;
mod handoff;
pub(crate) mod invariants;
mod journal;
mod kills;
mod lists;
mod nodes;
mod parts;
mod stuck;
mod terminated;
mod upgrade;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::Utc;
use journeyman_domain::ids::{NodeId, TaskId};
use journeyman_domain::schedule::TaskAfter;
use journeyman_domain::status::{Priority, Status, WaitingFor};
use journeyman_store::{
    Claim, ClaimRequest, Finish, Here, NewNode, NewTask, NodeKind, Store, StoreError, TakeOver,
    TakeOverRequest, TaskFilter,
};
use sqlx::Executor as _;
use uuid::Uuid;

use crate::schema::{ACTING, database};

const LEASE: Duration = Duration::from_secs(30);
const EXPIRED: Duration = Duration::ZERO;

async fn node(store: &Store, kind: NodeKind) -> NodeId {
    let id = NodeId::from_uuid(Uuid::now_v7());
    let new = NewNode {
        id,
        kind,
        pid: 1,
        here: Here { boot_id: "boot", data_id: Uuid::nil() },
        host: "host",
        data_dir: "/d",
        only_task: None,
    };
    store.nodes().register(&ACTING, &new).await.unwrap();
    id
}

async fn add(store: &Store, title: &str, after: &[TaskId]) -> TaskId {
    store.tasks().insert(&ACTING, &NewTask::new(title), after).await.unwrap().id
}

fn request(node_id: NodeId) -> ClaimRequest {
    ClaimRequest {
        node_id,
        limit: 100,
        max_concurrent: 100,
        only_task: None,
        agents: None,
        lease: LEASE,
    }
}

async fn claim(store: &Store, node: NodeId) -> Vec<Claim> {
    store.queue().claim(&ACTING, &request(node)).await.unwrap()
}

fn titles(claims: &[Claim]) -> Vec<&str> {
    claims.iter().map(|claim| claim.task.title.as_str()).collect()
}

fn after(status: Status) -> TaskAfter {
    TaskAfter { status, waiting_for: None, wake_in_ms: None, error: None }
}

fn ended(status: Status) -> Finish {
    Finish::new(status, after(status))
}

async fn finish(store: &Store, claim: &Claim, status: Status) {
    let fence = claim.fence().unwrap();
    store.queue().finish(&ACTING, fence, &ended(status)).await.unwrap();
}

async fn status(store: &Store, task: TaskId) -> (Status, Option<WaitingFor>) {
    let task = store.tasks().get(task).await.unwrap();
    (task.status, task.waiting_for)
}

#[tokio::test]
async fn claims_come_by_priority_then_due_date_then_age_and_within_the_limits() {
    let database = database().await;
    let store = database.store();
    let mut batch = Vec::new();
    let soon = Utc::now() + chrono::TimeDelta::hours(1);
    for (title, priority, due) in [
        ("old", Priority::Normal, None),
        ("later", Priority::Normal, Some(soon + chrono::TimeDelta::hours(1))),
        ("sooner", Priority::Normal, Some(soon)),
        ("critical", Priority::Critical, None),
        ("low", Priority::Low, Some(soon)),
    ] {
        batch.push((NewTask { priority, due_date: due, ..NewTask::new(title) }, vec![]));
    }
    store.tasks().insert_many(&ACTING, &batch).await.unwrap();
    let mine = node(store, NodeKind::Daemon).await;
    let two = ClaimRequest { limit: 2, ..request(mine) };
    let first = store.queue().claim(&ACTING, &two).await.unwrap();
    assert_eq!(titles(&first), ["critical", "sooner"]);
    let three_at_once = ClaimRequest { max_concurrent: 3, ..request(mine) };
    let next = store.queue().claim(&ACTING, &three_at_once).await.unwrap();
    assert_eq!(titles(&next), ["later"]);
    assert_eq!(store.queue().claim(&ACTING, &three_at_once).await.unwrap(), []);
    let other = node(store, NodeKind::Daemon).await;
    assert_eq!(titles(&claim(store, other).await), ["old", "low"]);

    let claim = &first[0];
    assert_eq!((claim.task.status, claim.task.attempts), (Status::Running, 1));
    let execution = &claim.execution;
    assert_eq!((execution.attempt, execution.lease_epoch, execution.node_id), (1, 1, Some(mine)));
    assert_eq!((claim.run.execution_id, &*claim.run.prompt), (Some(execution.id), "critical"));
}

#[tokio::test]
async fn agents_are_chosen_by_what_the_task_needs() {
    let database = database().await;
    let store = database.store();
    let reviewer = store.agents().find("Code Reviewer").await.unwrap().id;
    let off = store.agents().find("Performance Optimizer").await.unwrap().id;
    let change = journeyman_store::AgentChange { is_active: Some(false), ..Default::default() };
    store.agents().set(&ACTING, off, &change).await.unwrap();
    let task = |kind: &str, agent| NewTask {
        task_type: kind.to_owned(),
        agent_id: agent,
        ..NewTask::new(kind)
    };
    let batch = [
        task("bug", None),
        task("test", None),
        task("analysis", None),
        task("unheard-of", None),
        task("optimization", None),
        task("docs", Some(reviewer)),
        NewTask { title: "for one who is off".into(), ..task("bug", Some(off)) },
    ];
    let batch: Vec<_> = batch.into_iter().map(|task| (task, vec![])).collect();
    store.tasks().insert_many(&ACTING, &batch).await.unwrap();
    let mine = node(store, NodeKind::Daemon).await;
    let only = ClaimRequest { agents: Some(vec![reviewer]), ..request(mine) };
    assert_eq!(titles(&store.queue().claim(&ACTING, &only).await.unwrap()), ["docs"]);
    let claims = claim(store, mine).await;
    let chosen: BTreeMap<&str, &str> =
        claims.iter().map(|claim| (claim.task.title.as_str(), claim.agent.name.as_str())).collect();
    assert_eq!(
        chosen,
        BTreeMap::from([
            ("bug", "General Assistant"),
            ("test", "Test Generator"),
            ("analysis", "Code Analyzer"),
            ("unheard-of", "General Assistant"),
            ("optimization", "General Assistant"),
        ])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_claimers_never_get_the_same_task() {
    let database = database().await;
    let store = database.store();
    let batch: Vec<_> = (0..200).map(|n| (NewTask::new(n.to_string()), vec![])).collect();
    store.tasks().insert_many(&ACTING, &batch).await.unwrap();
    let total = Arc::new(AtomicUsize::new(0));
    let mut claimers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, total) = (store.clone(), Arc::clone(&total));
        claimers.spawn(async move {
            let mine = node(&store, NodeKind::Daemon).await;
            let mut got = Vec::new();
            let few = ClaimRequest { limit: 3, ..request(mine) };
            // A row of the queue that another one holds just now is passed over.
            while total.load(Ordering::Relaxed) < 200 {
                let claims = store.queue().claim(&ACTING, &few).await.unwrap();
                total.fetch_add(claims.len(), Ordering::Relaxed);
                got.extend(claims.into_iter().map(|claim| claim.task.id));
            }
            got
        });
    }
    let got: Vec<TaskId> = claimers.join_all().await.into_iter().flatten().collect();
    assert_eq!(got.len(), 200);
    assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), 200);
}

#[tokio::test]
async fn a_task_reserved_for_a_living_foreground_node_is_left_to_it() {
    let database = database().await;
    let store = database.store();
    let foreground = node(store, NodeKind::Foreground).await;
    let daemon = node(store, NodeKind::Daemon).await;
    let task = NewTask { reserved_for: Some(foreground), ..NewTask::new("mine") };
    store.tasks().insert(&ACTING, &task, &[]).await.unwrap();
    add(store, "anybody's", &[]).await;
    assert_eq!(titles(&claim(store, daemon).await), ["anybody's"]);
    let own = ClaimRequest { only_task: Some(task.id), ..request(foreground) };
    let claims = store.queue().claim(&ACTING, &own).await.unwrap();
    assert_eq!(titles(&claims), ["mine"]);

    let task = NewTask { reserved_for: Some(foreground), ..NewTask::new("orphan") };
    store.tasks().insert(&ACTING, &task, &[]).await.unwrap();
    assert_eq!(claim(store, daemon).await, []);
    store.nodes().stop(&ACTING, foreground).await.unwrap();
    assert_eq!(titles(&claim(store, daemon).await), ["orphan"]);
}

async fn take_over(store: &Store, node_id: NodeId, lease: Duration) -> TakeOver {
    let request = TakeOverRequest { node_id, limit: 10, only_task: None, lease, max_reclaims: 3 };
    store.queue().take_over(&ACTING, &request).await.unwrap()
}

#[tokio::test]
async fn an_expired_lease_is_taken_over_and_its_old_owner_fenced() {
    let database = database().await;
    let store = database.store();
    add(store, "t", &[]).await;
    let (old, new) = (node(store, NodeKind::Daemon).await, node(store, NodeKind::Daemon).await);
    let before = claim(store, old).await.remove(0);
    assert_eq!(take_over(store, new, LEASE).await, TakeOver::default(), "not expired");
    store.queue().renew(old, EXPIRED).await.unwrap();
    assert_eq!(take_over(store, old, LEASE).await, TakeOver::default(), "its own");
    let taken = take_over(store, new, LEASE).await.taken.remove(0);
    assert_eq!(taken.previous_node, Some(old));
    assert_eq!(taken.claim.execution.id, before.execution.id);
    assert_eq!(taken.claim.run.id, before.run.id);
    assert_eq!(taken.claim.execution.lease_epoch, 2);
    assert_eq!(taken.claim.task.attempts, 1);

    let stale = before.fence().unwrap();
    assert_eq!(store.queue().renew(old, LEASE).await.unwrap(), []);
    assert!(!store.queue().holds(stale).await.unwrap());
    let refused = store.queue().finish(&ACTING, stale, &ended(Status::Completed)).await;
    assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    for refused in [
        store.queue().release(&ACTING, stale).await,
        store.queue().abandon(&ACTING, stale).await,
        store.queue().park(&ACTING, stale, "evidence").await,
        store.executions().set_trace(&ACTING, stale, trace).await,
    ] {
        assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    }
    assert_eq!(status(store, before.task.id).await, (Status::Running, None));
    finish(store, &taken.claim, Status::Completed).await;
    assert_eq!(status(store, before.task.id).await, (Status::Completed, None));
    let fence = taken.claim.fence().unwrap();
    let again = store.queue().finish(&ACTING, fence, &ended(Status::Failed)).await;
    assert!(matches!(again, Err(StoreError::Fenced)), "an execution ends once");
    // The answer to the first time may have been lost.
    finish(store, &taken.claim, Status::Completed).await;
    let mut connection = database.connection().await.unwrap();
    let said: i64 =
        sqlx::query_scalar("SELECT count(*) FROM audit_events WHERE kind = 'execution_finished'")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(said, 1);
}

#[tokio::test]
async fn a_task_without_progress_is_parked_and_one_with_progress_is_not() {
    let database = database().await;
    let store = database.store();
    let task = add(store, "poison", &[]).await;
    let nodes = [node(store, NodeKind::Daemon).await, node(store, NodeKind::Daemon).await];
    let first = claim(store, nodes[0]).await.remove(0);
    store.queue().renew(nodes[0], EXPIRED).await.unwrap();
    // A step between take-overs starts the count anew; an ordered release does not count.
    let taken = take_over(store, nodes[1], EXPIRED).await.taken.remove(0).claim;
    assert_eq!(taken.execution.reclaims, 1);
    journal::append(store, &taken, "started").await.unwrap();
    let taken = take_over(store, nodes[0], LEASE).await.taken.remove(0).claim;
    assert_eq!((taken.execution.reclaims, taken.execution.last_step_seq), (0, 1));
    store.queue().release(&ACTING, taken.fence().unwrap()).await.unwrap();
    let taken = take_over(store, nodes[1], EXPIRED).await.taken.remove(0);
    assert_eq!((taken.previous_node, taken.claim.execution.reclaims), (None, 0));

    for (turn, reclaims) in [(0, 1), (1, 2)] {
        let taken = take_over(store, nodes[turn], EXPIRED).await.taken.remove(0).claim;
        assert_eq!(taken.execution.reclaims, reclaims);
    }
    let last = take_over(store, nodes[0], LEASE).await;
    assert_eq!((last.taken.len(), last.parked), (0, vec![task]));
    let parked = store.tasks().get(task).await.unwrap();
    assert_eq!(parked.status, Status::Parked);
    assert!(parked.error.unwrap().contains("3 times in a row without a new step"));
    let execution = store.executions().get(first.execution.id).await.unwrap();
    assert_eq!(execution.status, Status::Failed);
    assert_eq!(store.runs().get(first.run.id).await.unwrap().status, Status::Failed);

    store.tasks().retry(&ACTING, task).await.unwrap();
    let again = claim(store, nodes[0]).await.remove(0);
    assert_eq!((again.execution.attempt, again.task.error), (2, None));
}

#[tokio::test]
async fn a_run_that_its_nodes_abandon_is_parked_too() {
    let database = database().await;
    let store = database.store();
    let task = add(store, "t", &[]).await;
    let mine = node(store, NodeKind::Daemon).await;
    let mut held = claim(store, mine).await.remove(0);
    for _ in 0..2 {
        store.queue().abandon(&ACTING, held.fence().unwrap()).await.unwrap();
        held = take_over(store, mine, LEASE).await.taken.remove(0).claim;
    }
    store.queue().abandon(&ACTING, held.fence().unwrap()).await.unwrap();
    assert_eq!(take_over(store, mine, LEASE).await.parked, [task]);
}

/// The database's clock was put back: what it wrote before looks good for a day.
#[tokio::test]
async fn a_lease_from_before_the_clock_went_back_is_over() {
    let database = database().await;
    let store = database.store();
    let task = add(store, "t", &[]).await;
    let (dead, alive) = (node(store, NodeKind::Daemon).await, node(store, NodeKind::Daemon).await);
    claim(store, dead).await;
    let mut connection = database.connection().await.unwrap();
    let ahead = "UPDATE task_executions SET lease_expires_at = now() + interval '1 day'";
    connection.execute(ahead).await.unwrap();
    let taken = take_over(store, alive, LEASE).await.taken;
    assert_eq!(taken.iter().map(|over| over.claim.task.id).collect::<Vec<_>>(), [task]);
    assert!(take_over(store, dead, LEASE).await.taken.is_empty(), "a good one stays");
}

#[tokio::test]
async fn a_cycle_is_refused_and_named() {
    let database = database().await;
    let store = database.store();
    let [mut a, b, c] = ["a", "b", "c"].map(NewTask::new);
    a.unique_key = Some("k".into());
    let batch = [(a.clone(), vec![b.id]), (b.clone(), vec![c.id]), (c.clone(), vec![a.id])];
    let refused = store.tasks().insert_many(&ACTING, &batch).await;
    let Err(StoreError::Cycle(cycle)) = refused else { panic!("{refused:?}") };
    assert_eq!(cycle, [a.id, b.id, c.id, a.id]);
    assert_eq!(store.tasks().list(&TaskFilter::default()).await.unwrap().0, [], "all or none");

    // The database itself refuses what comes later, also when it comes from elsewhere.
    let batch = [(a.clone(), vec![b.id]), (b.clone(), vec![c.id]), (c.clone(), vec![])];
    store.tasks().insert_many(&ACTING, &batch).await.unwrap();
    let mut connection = database.connection().await.unwrap();
    let insert = "INSERT INTO task_dependencies (task_id, depends_on) VALUES ($1, $2)";
    for (waiting, awaited, path) in [(&c, &a, vec![&c, &a, &b, &c]), (&b, &b, vec![&b, &b])] {
        let error = sqlx::query(insert)
            .bind(waiting.id.as_uuid())
            .bind(awaited.id.as_uuid())
            .execute(&mut connection)
            .await
            .unwrap_err();
        let error = StoreError::from(error);
        let expected: Vec<TaskId> = path.iter().map(|task| task.id).collect();
        assert!(matches!(&error, StoreError::Cycle(cycle) if *cycle == expected), "{error}");
    }
    let unknown = TaskId::from_uuid(Uuid::now_v7());
    let missing = store.tasks().insert(&ACTING, &NewTask::new("d"), &[unknown]).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_waits_for_many_that_end_at_once_becomes_ready() {
    let database = database().await;
    let store = database.store();
    for _ in 0..5 {
        let mut awaited = Vec::new();
        for n in 0..8 {
            awaited.push(add(store, &n.to_string(), &[]).await);
        }
        let last = add(store, "last", &awaited).await;
        let mine = node(store, NodeKind::Daemon).await;
        let mut ends = tokio::task::JoinSet::new();
        for claim in claim(store, mine).await {
            let store = store.clone();
            ends.spawn(async move { finish(&store, &claim, Status::Completed).await });
        }
        ends.join_all().await;
        assert_eq!(status(store, last).await, (Status::Ready, None));
        for claim in claim(store, mine).await {
            finish(store, &claim, Status::Completed).await;
        }
    }
}

#[tokio::test]
async fn the_claim_reads_by_its_index() {
    let database = database().await;
    let store = database.store();
    let batch: Vec<_> = (0..10_000)
        .map(|number| {
            let due_date = Some(Utc::now() + chrono::TimeDelta::seconds(number));
            (NewTask { due_date, ..NewTask::new(number.to_string()) }, vec![])
        })
        .collect();
    store.tasks().insert_many(&ACTING, &batch).await.unwrap();
    let mut connection = database.connection().await.unwrap();
    connection.execute("ANALYZE").await.unwrap();
    let plan = format!("EXPLAIN {}", journeyman_store::queue::claim_statement());
    let lines: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(plan))
        .bind(Uuid::now_v7())
        .bind(5_i64)
        .bind(10_i64)
        .bind(None::<Uuid>)
        .bind(None::<Vec<Uuid>>)
        .bind(30.0)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let plan = lines.join("\n");
    assert!(plan.contains("Index Scan using ready_tasks_pkey on ready_tasks q"), "{plan}");
    assert!(!plan.contains("Seq Scan on tasks"), "{plan}");
}

#[tokio::test]
async fn ids_are_found_by_either_end_and_lists_go_page_by_page() {
    let database = database().await;
    let store = database.store();
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(add(store, &n.to_string(), &[]).await);
    }
    let tasks = store.tasks();
    for text in [ids[2].to_string(), ids[2].short(), ids[2].short().to_uppercase()] {
        assert_eq!(tasks.find(&text).await.unwrap().id, ids[2]);
    }
    assert_eq!(tasks.find("latest").await.unwrap().id, ids[4]);
    let many = tasks.find(&ids[0].to_string()[..5]).await;
    assert!(matches!(many, Err(StoreError::Ambiguous { .. })), "{many:?}");
    for text in ["", "zzz", "%", "ffffffff-ffff"] {
        let none = tasks.find(text).await;
        assert!(matches!(none, Err(StoreError::NotFound { .. })), "{text}: {none:?}");
    }
    let mut filter = TaskFilter { limit: 2, ..Default::default() };
    let mut seen = Vec::new();
    loop {
        let (page, next) = tasks.list(&filter).await.unwrap();
        seen.extend(page.into_iter().map(|task| task.id));
        filter.cursor = next;
        if next.is_none() {
            break;
        }
    }
    ids.reverse();
    assert_eq!(seen, ids);
}
