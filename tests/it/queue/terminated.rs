//! A random graph is worked off while the server ends the node's connections in the middle of its
//! transactions: whatever was cut off is done as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use journeyman_domain::ids::{NodeId, TaskId};
use journeyman_domain::status::{AfterFailure, Status, WaitingFor};
use journeyman_store::{
    Claim, ClaimRequest, NewTask, NodeKind, PoolOptions, Store, StoreError, TakeOverRequest,
};
use journeyman_testkit::database::TestDatabase;
use sqlx::postgres::PgConnection;

use super::graphs::{Model, Random};
use super::invariants::assert_holds;
use super::{ACTING, EXPIRED, database, ended, node};

/// What ends them: those that are in the middle of something.
const KILL: &str = "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE datname = current_database() AND application_name = 'victim' AND state <> 'idle') k";

/// Ends the victim's connections again and again, until it is told to stop.
struct Killer {
    stop: Arc<AtomicBool>,
    kills: Arc<AtomicI64>,
    task: tokio::task::JoinHandle<()>,
}

impl Killer {
    async fn start(database: &TestDatabase, seed: u64) -> Self {
        let (stop, kills) = (Arc::<AtomicBool>::default(), Arc::<AtomicI64>::default());
        let mut connection = database.connection().await.unwrap();
        let (told, count) = (Arc::clone(&stop), Arc::clone(&kills));
        let task = tokio::spawn(async move {
            let mut random = Random(seed);
            while !told.load(Ordering::Relaxed) {
                let pause = u64::try_from(random.below(80_000)).unwrap();
                // Where the kill falls is what is drawn; nothing is awaited by it.
                tokio::time::sleep(Duration::from_micros(pause)).await;
                let ended: i64 = sqlx::query_scalar(KILL).fetch_one(&mut connection).await.unwrap();
                count.fetch_add(ended, Ordering::Relaxed);
            }
        });
        Self { stop, kills, task }
    }

    async fn stop(self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.kills.load(Ordering::Relaxed)
    }
}

/// Whether a call was cut off; any other refusal is none that may be.
fn cut<T>(done: Result<T, StoreError>) -> Option<T> {
    match done {
        Ok(done) => Some(done),
        Err(error) if journeyman_store::is_transient(&error) => None,
        Err(error) => panic!("{error:?}"),
    }
}

struct Scene {
    /// Nobody ends its connections.
    safe: Store,
    victim: Store,
    looker: PgConnection,
    /// Each takes over what the other one lost.
    nodes: [NodeId; 2],
    model: Model,
    random: Random,
    /// Calls that were cut off: before they took effect, and after.
    cut_off: [u32; 2],
}

impl Scene {
    async fn new(database: &TestDatabase) -> Self {
        let safe = database.store().clone();
        let url = database.url();
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}application_name=victim");
        let victim = Store::connect(&url, PoolOptions::default()).await.unwrap();
        let nodes = [node(&safe, NodeKind::Daemon).await, node(&safe, NodeKind::Daemon).await];
        let looker = database.connection().await.unwrap();
        let model = Model { edges: BTreeMap::new(), states: BTreeMap::new() };
        Self { safe, victim, looker, nodes, model, random: Random(0), cut_off: [0; 2] }
    }

    /// A graph of tasks with and without a run; all of it is added, or nothing.
    async fn add_graph(&mut self, seed: u64) {
        self.random = Random(seed);
        let mut batch: Vec<(NewTask, Vec<TaskId>)> = Vec::new();
        for n in 0..24 {
            let mut awaited = BTreeSet::new();
            for _ in 0..self.random.below(4).min(n) {
                awaited.insert(batch[self.random.below(n)].0.id);
            }
            let task = NewTask {
                after_failure: AfterFailure::ALL[self.random.below(4)],
                driver: (self.random.below(3) == 0).then(|| "none".to_owned()),
                ..NewTask::new(format!("{seed}-{n}"))
            };
            batch.push((task, awaited.into_iter().collect()));
        }
        for (task, awaited) in &batch {
            self.model.edges.insert(task.id, (task.after_failure, awaited.clone()));
            self.model.states.insert(task.id, Status::Waiting);
        }
        self.model.settle();
        let ids: Vec<TaskId> = batch.iter().map(|(task, _)| task.id).collect();
        batch.reverse();
        loop {
            let added = cut(self.victim.tasks().insert_many(&ACTING, &batch).await).is_some();
            let found = self.safe.tasks().get_many(&ids).await.unwrap().len();
            assert!(found == 0 && !added || found == ids.len(), "{found} of a batch");
            self.cut_off[usize::from(found > 0)] += u32::from(!added);
            if found > 0 {
                break;
            }
        }
        self.compare(&self.model.clone()).await;
    }

    async fn rows(&self) -> BTreeMap<TaskId, (Status, Option<WaitingFor>)> {
        let ids: Vec<TaskId> = self.model.states.keys().copied().collect();
        let rows = self.safe.tasks().get_many(&ids).await.unwrap();
        rows.into_iter().map(|row| (row.id, (row.status, row.waiting_for))).collect()
    }

    /// The rows say what the model said before, or after: nothing in between. Goes on with that.
    async fn settle(&mut self, change: &[(TaskId, Status)], is_done: Option<()>) {
        let mut after = self.model.clone();
        after.states.extend(change.iter().copied());
        after.settle();
        if is_done.is_none() {
            let is_after = self.rows().await == rows_of(&after);
            self.cut_off[usize::from(is_after)] += 1;
            if !is_after {
                after = self.model.clone();
            }
        }
        self.compare(&after).await;
        self.model = after;
    }

    async fn compare(&mut self, model: &Model) {
        assert_eq!(self.rows().await, rows_of(model));
        assert_holds(&mut self.looker).await;
    }

    async fn step(&mut self) {
        let of = |wanted: &[Status], states: &BTreeMap<TaskId, Status>| -> Vec<TaskId> {
            let found = states.iter().filter(|(_, state)| wanted.contains(state));
            found.map(|(id, _)| *id).collect()
        };
        let lost = of(&[Status::Failed, Status::Cancelled], &self.model.states);
        let open = of(&[Status::Ready, Status::Waiting], &self.model.states);
        match self.random.below(8) {
            0 if !lost.is_empty() => {
                let task = lost[self.random.below(lost.len())];
                let done = cut(self.victim.tasks().retry(&ACTING, task).await);
                self.settle(&[(task, Status::Waiting)], done.map(drop)).await;
            }
            1 if !open.is_empty() => {
                let task = open[self.random.below(open.len())];
                let done = cut(self.victim.tasks().request_cancel(&ACTING, task).await);
                self.settle(&[(task, Status::Cancelled)], done.map(drop)).await;
            }
            2 => self.end_a_batch().await,
            _ => {
                let end = [Status::Completed, Status::Completed, Status::Failed];
                let end = end[self.random.below(3)];
                self.run_one(end).await;
            }
        }
    }

    /// Tasks without a run; the lease is over at once, so that what is cut off is taken back.
    async fn end_a_batch(&mut self) {
        let claimed = self.victim.queue().claim_batch(&ACTING, self.nodes[0], EXPIRED).await;
        let claimed = cut(claimed).flatten();
        if let Some(batch) = claimed {
            let done = self.victim.queue().complete_batch(&ACTING, self.nodes[0], &batch).await;
            let done = cut(done);
            let tasks = batch.tasks.into_iter().map(TaskId::from_uuid);
            let ready = tasks.filter(|task| self.model.states[task] == Status::Ready);
            let change: Vec<_> = ready.map(|task| (task, Status::Completed)).collect();
            self.settle(&change, done).await;
        }
        while cut(self.take_over(0).await).is_none() {}
        let leases: i64 = sqlx::query_scalar("SELECT count(*) FROM task_leases")
            .fetch_one(&mut self.looker)
            .await
            .unwrap();
        assert_eq!(leases, 0, "none is left behind");
        self.compare(&self.model.clone()).await;
    }

    /// Claims a task and ends it, over as many cuts as there are: the other node goes on each time.
    async fn run_one(&mut self, end: Status) {
        let one = ClaimRequest { limit: 1, lease: EXPIRED, ..super::request(self.nodes[0]) };
        let mut claims = cut(self.victim.queue().claim(&ACTING, &one).await).unwrap_or_default();
        let (mut seen, mut turn) = (None, 0);
        loop {
            if let Some(claim) = claims.pop() {
                let task = claim.task.id;
                assert_eq!(self.model.states[&task], Status::Ready);
                assert!(seen.is_none_or(|seen| seen == task), "one was claimed, two run");
                seen = Some(task);
                let fence = claim.fence().unwrap();
                let done = self.victim.queue().finish(&ACTING, fence, &ended(end)).await;
                // Whether it arrived or not is in the rows.
                cut(done);
            }
            let running: i64 =
                sqlx::query_scalar("SELECT count(*) FROM tasks WHERE status = 'running'")
                    .fetch_one(&mut self.looker)
                    .await
                    .unwrap();
            if running == 0 {
                break;
            }
            turn = 1 - turn;
            claims = cut(self.take_over(turn).await).unwrap_or_default();
        }
        let change: Vec<_> = seen.into_iter().map(|task| (task, end)).collect();
        self.settle(&change, Some(())).await;
    }

    /// What is left is worked off in peace. An id whose task is not ready any more may take a claim for
    /// nothing, so that none is the last word while the queue has a row.
    async fn drain(&mut self, seed: u64) {
        for _ in 0..1000 {
            self.run_one(Status::Completed).await;
            self.end_a_batch().await;
            let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM ready_tasks")
                .fetch_one(&mut self.looker)
                .await
                .unwrap();
            if rows == 0 {
                break;
            }
        }
        let states = &self.model.states;
        assert!(states.values().all(|state| *state != Status::Ready), "seed {seed}: {states:?}");
    }

    async fn take_over(&self, turn: usize) -> Result<Vec<Claim>, StoreError> {
        let request = TakeOverRequest {
            node_id: self.nodes[turn],
            limit: 10,
            only_task: None,
            lease: EXPIRED,
            max_reclaims: u32::MAX,
        };
        let over = self.victim.queue().take_over(&ACTING, &request).await?;
        Ok(over.taken.into_iter().map(|taken| taken.claim).collect())
    }
}

fn rows_of(model: &Model) -> BTreeMap<TaskId, (Status, Option<WaitingFor>)> {
    let waits = |state| (state == Status::Waiting).then_some(WaitingFor::Dependency);
    model.states.iter().map(|(task, state)| (*task, (*state, waits(*state)))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_is_done_as_a_whole_or_not_at_all() {
    let database = database().await;
    let mut scene = Scene::new(&database).await;
    let mut kills = 0;
    for seed in 1..=6_u64 {
        let killer = Killer::start(&database, seed).await;
        scene.add_graph(seed).await;
        for _ in 0..40 {
            scene.step().await;
        }
        kills += killer.stop().await;
        scene.drain(seed).await;
    }
    assert!(kills > 30, "{kills}");
    assert!(scene.cut_off[0] > 0, "{:?}", scene.cut_off);
    scene.victim.close().await;
}

#[tokio::test]
async fn connections_that_a_restart_has_ended_are_found_out_before_their_next_use() {
    let database = database().await;
    let store = database.store();
    let task = || NewTask { driver: Some("none".into()), ..NewTask::new("t") };
    store.tasks().insert(&ACTING, &task(), &[]).await.unwrap();
    let mine = node(store, NodeKind::Daemon).await;
    store.queue().claim_batch(&ACTING, mine, EXPIRED).await.unwrap();
    let mut hand = database.connection().await.unwrap();
    let ended: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()) k",
    )
    .fetch_one(&mut hand)
    .await
    .unwrap();
    assert!(ended >= 3, "{ended}");
    // Only a connection that rested is asked: asking costs a round trip.
    tokio::time::sleep(Duration::from_secs(31)).await;
    store.tasks().insert(&ACTING, &task(), &[]).await.unwrap();
    store.queue().claim_batch(&ACTING, mine, EXPIRED).await.unwrap().unwrap();
}
