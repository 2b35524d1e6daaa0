//! Ours: tasks are rows of `tasks` with everything that the product has, added, claimed and ended by the
//! product's own code; they are tasks without a run (driver `none`), since the peers' are no-ops, too. A durable
//! step is one acknowledged append to the journal of a run that was claimed before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use journeyman_domain::ids::{NodeId, RunId};
use journeyman_store::{
    Here, Acting, Batch, Claim, ClaimRequest, Fence, NewNode, NewStep, NewTask, NodeKind, PoolOptions,
    Store,
};
use runner::{
    Context as _, Mode, Peer, Purpose, Result, anyhow, connections, handler_ran, payload,
};
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

const ACTING: Acting<'static> = Acting { actor: "benchmark", trace: None };
const LEASE: Duration = Duration::from_secs(300);
/// Workers of a drain: while one waits for the disk, the other works.
const WORKERS: usize = 2;
/// The poll beneath the hints.
const POLL: Duration = Duration::from_secs(2);

struct Ours {
    store: Store,
    node: NodeId,
    added: Arc<Notify>,
    /// What is handed to the worker of this process once there is one.
    handed_off: (mpsc::UnboundedSender<Batch>, Mutex<Option<mpsc::UnboundedReceiver<Batch>>>),
    works: AtomicBool,
    /// Whether the worker is told by the database alone, as one on another node is.
    is_elsewhere: bool,
    runs: Vec<Claim>,
}

impl Peer for Ours {
    const UNFINISHED: &'static str =
        "SELECT EXISTS (SELECT FROM ready_tasks) OR EXISTS (SELECT FROM task_leases)";
    const FINISHED: Option<&'static str> =
        Some("SELECT count(*) FROM tasks WHERE status = 'completed'");

    async fn install(url: &str, mode: &Mode) -> Result<Self> {
        let options = PoolOptions { max: connections(mode, 8), ..PoolOptions::default() };
        let store = Store::connect(url, options).await?;
        store.migrate().await?;
        let node = NodeId::from_uuid(Uuid::now_v7());
        let new = NewNode {
            id: node,
            kind: NodeKind::Daemon,
            pid: std::process::id(),
            here: Here { boot_id: "benchmark", data_id: Uuid::nil() },
            host: "benchmark",
            data_dir: "/benchmark",
            only_task: None,
        };
        store.nodes().register(&ACTING, &new).await?;
        let runs = match mode {
            Mode::Steps { workflows, .. } => claimed(&store, node, *workflows).await?,
            _ => Vec::new(),
        };
        let is_elsewhere = std::env::var_os("OURS_ELSEWHERE").is_some();
        let (sender, receiver) = mpsc::unbounded_channel();
        let handed_off = (sender, Mutex::new(Some(receiver)));
        let works = AtomicBool::new(false);
        Ok(Self { store, node, added: Arc::default(), handed_off, works, is_elsewhere, runs })
    }

    async fn enqueue(&self, number: usize) -> Result<()> {
        if self.works.load(Ordering::Acquire) {
            let claimed =
                self.store.queue().add_and_claim(&ACTING, self.node, task(number), LEASE).await?;
            match claimed {
                Some(batch) => self.handed_off.0.send(batch)?,
                None => self.added.notify_one(),
            }
            return Ok(());
        }
        self.store.tasks().insert_many(&ACTING, &[(task(number), vec![])]).await?;
        if !self.is_elsewhere {
            self.added.notify_one();
        }
        Ok(())
    }

    async fn enqueue_batch(&self, size: usize) -> Result<bool> {
        let batch: Vec<_> = (0..size).map(|number| (task(number), vec![])).collect();
        self.store.tasks().insert_many(&ACTING, &batch).await?;
        Ok(true)
    }

    async fn start(&self, purpose: Purpose) -> Result<()> {
        let workers = match purpose {
            Purpose::Throughput => WORKERS,
            Purpose::Latency => 1,
        };
        if self.is_elsewhere {
            tokio::spawn(listen(self.store.clone(), Arc::clone(&self.added)));
        }
        let taken = self.handed_off.1.lock().map_err(|_| anyhow!("a start failed"))?.take();
        if let (Purpose::Latency, false, Some(batches)) = (purpose, self.is_elsewhere, taken) {
            tokio::spawn(end(self.store.clone(), self.node, batches));
            self.works.store(true, Ordering::Release);
        }
        for _ in 0..workers {
            tokio::spawn(work(self.store.clone(), self.node, Arc::clone(&self.added)));
        }
        Ok(())
    }

    async fn run_workflows(&self, workflows: usize, steps: usize) -> Result<bool> {
        let mut runs = tokio::task::JoinSet::new();
        for claim in self.runs.iter().take(workflows) {
            let (store, run) = (self.store.clone(), claim.run.id);
            let fence = claim.fence().context("the claim has no lease")?;
            runs.spawn(async move {
                for step in 0..steps {
                    append(&store, fence, run, step).await?;
                }
                Ok::<_, journeyman_store::StoreError>(())
            });
        }
        while let Some(ended) = runs.join_next().await {
            ended??;
        }
        Ok(true)
    }
}

fn task(number: usize) -> NewTask {
    NewTask { driver: Some("none".to_owned()), context: payload(number), ..NewTask::new("no-op") }
}

/// Ends what is ready, and waits for more.
async fn work(store: Store, node: NodeId, added: Arc<Notify>) {
    loop {
        match store.queue().claim_batch(&ACTING, node, LEASE).await {
            Ok(Some(batch)) => handle(&store, node, &batch).await,
            Ok(None) => {
                // A hint that is lost costs a poll.
                tokio::time::timeout(POLL, added.notified()).await.ok();
            }
            Err(error) => eprintln!("{error}"),
        }
    }
}

/// Ends what is handed off.
async fn end(store: Store, node: NodeId, mut batches: mpsc::UnboundedReceiver<Batch>) {
    while let Some(batch) = batches.recv().await {
        handle(&store, node, &batch).await;
    }
}

async fn handle(store: &Store, node: NodeId, batch: &Batch) {
    for _ in &batch.tasks {
        handler_ran();
    }
    if let Err(error) = store.queue().complete_batch(&ACTING, node, batch).await {
        eprintln!("{error}");
    }
}

async fn listen(store: Store, added: Arc<Notify>) {
    let Ok(hints) = store.listen(journeyman_store::TASKS_CHANNEL).await else { return };
    let mut hints = std::pin::pin!(hints);
    while hints.next().await.is_some() {
        added.notify_one();
    }
}

/// Runs whose journals are written.
async fn claimed(store: &Store, node: NodeId, runs: usize) -> Result<Vec<Claim>> {
    let batch: Vec<_> = (0..runs).map(|run| (NewTask::new(format!("run {run}")), vec![])).collect();
    store.tasks().insert_many(&ACTING, &batch).await?;
    let most = u32::try_from(runs)?;
    let request = ClaimRequest {
        node_id: node,
        limit: most,
        max_concurrent: most,
        only_task: None,
        agents: None,
        lease: LEASE,
    };
    let claims = store.queue().claim(&ACTING, &request).await?;
    // Two flushes may be under way at once: both have their connection before anything is timed.
    let mut first = tokio::task::JoinSet::new();
    for claim in claims.iter().take(2) {
        let (store, run) = (store.clone(), claim.run.id);
        let fence = claim.fence().context("the claim has no lease")?;
        first.spawn(async move {
            for step in 0..100 {
                append(&store, fence, run, step).await?;
            }
            Ok::<_, journeyman_store::StoreError>(())
        });
    }
    while let Some(ended) = first.join_next().await {
        ended??;
    }
    Ok(claims)
}

async fn append(
    store: &Store,
    fence: Fence,
    run: RunId,
    step: usize,
) -> std::result::Result<(), journeyman_store::StoreError> {
    let new = NewStep { kind: "tool_result", payload: payload(step), ..NewStep::default() };
    store.journal().append(fence, run, &new).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    runner::run::<Ours>().await
}
