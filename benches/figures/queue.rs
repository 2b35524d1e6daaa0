//! What a claim costs by how much is ready and how much is finished, on a private cluster with durable
//! settings, by the store's own code; and what the pages of a list cost over the same rows, through the
//! API of a daemon that takes no work.
//!
//! A claim of runs takes one task, as a node with one free place does; it is ended before the next one.
//! A batch takes the next tasks without a run, and ends them; as many are added after it.

mod pages;
mod rows;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use journeyman_domain::ids::NodeId;
use journeyman_domain::schedule::TaskAfter;
use journeyman_domain::status::Status;
use journeyman_store::{Acting, ClaimRequest, Finish, Here, NewNode, NodeKind, PoolOptions, Store};
use sqlx::PgPool;

use self::rows::Rows;
use crate::machine::Home;
use crate::{Figure, milliseconds, quantile};

const ACTING: Acting<'_> = Acting { actor: "bench", trace: None };
const CLAIMS: usize = 200;
const LEASE: Duration = Duration::from_hours(1);

/// How many rows there are at each look.
pub(crate) struct Sizes {
    /// Ready tasks with a run, and as many without one; growing.
    pub(crate) ready: Vec<u32>,
    /// Finished tasks beside the last of them; growing.
    pub(crate) finished: Vec<u32>,
    /// Tasks in all states that lists go over.
    pub(crate) listed: u32,
}

impl Default for Sizes {
    /// Small: the large ones take minutes.
    fn default() -> Self {
        Self { ready: vec![1_000, 10_000], finished: vec![100_000], listed: 100_000 }
    }
}

/// What a claim costs.
pub(crate) async fn claims(sizes: &Sizes) -> Result<Vec<Figure>> {
    let home = Home::new()?;
    let cluster = home.cluster()?;
    let store = Store::connect(&cluster.url, PoolOptions::default()).await?;
    store.migrate().await?;
    let pool = PgPool::connect(&cluster.url).await?;
    let rows = Rows::new(&store, &pool).await?;
    let node = register(&store).await?;
    let mut figures = Vec::new();
    let (mut ready, mut finished) = (0, 0);
    let last = sizes.ready.last().copied().unwrap_or_default();
    let looks = sizes.ready.iter().map(|ready| (*ready, 0));
    for (wanted_ready, wanted_finished) in
        looks.chain(sizes.finished.iter().map(|finished| (last, *finished)))
    {
        let began = Instant::now();
        rows.add_ready(wanted_ready.saturating_sub(ready)).await?;
        rows.add_finished(wanted_finished.saturating_sub(finished)).await?;
        (ready, finished) = (wanted_ready.max(ready), wanted_finished.max(finished));
        rows.analyze().await?;
        let added = began.elapsed();
        let about = format!("{ready} ready of each kind, {finished} finished");
        figures.push(Figure::new(format!("{about}: made in"), seconds(added), ""));
        let mut runs = runs(&store, &rows, node).await?;
        let (mut claimed, mut ended) = batches(&store, &rows, node).await?;
        for (what, times) in [
            ("claim of a run", &mut runs),
            ("claim of a batch", &mut claimed),
            ("end of a batch", &mut ended),
        ] {
            let p99 = milliseconds(quantile(times, 0.99));
            let value = milliseconds(quantile(times, 0.5));
            figures.push(Figure::new(format!("  {what}, p50 (p99 {p99})"), value, ""));
        }
    }
    store.close().await;
    pool.close().await;
    Ok(figures)
}

/// What pages of lists cost.
pub(crate) async fn lists(sizes: &Sizes) -> Result<Vec<Figure>> {
    let home = Home::new()?;
    home.settings("[system]\nmaintenance_mode = true\n")?;
    let daemon = home.daemon().await?;
    let store = home.store().await?;
    let pool = PgPool::connect(&home.url()?).await?;
    let rows = Rows::new(&store, &pool).await?;
    let began = Instant::now();
    rows.add_listed(sizes.listed).await?;
    rows.analyze().await?;
    let made =
        Figure::new(format!("{} tasks: made in", sizes.listed), seconds(began.elapsed()), "");
    let mut figures = vec![made];
    figures.extend(pages::figures(&daemon.client, &pool).await?);
    store.close().await;
    pool.close().await;
    Ok(figures)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// A node of the benchmark's own.
pub(crate) async fn register(store: &Store) -> Result<NodeId> {
    let id = NodeId::from_uuid(uuid::Uuid::now_v7());
    let node = NewNode {
        id,
        kind: NodeKind::Daemon,
        pid: std::process::id(),
        here: Here { boot_id: "bench", data_id: uuid::Uuid::nil() },
        host: "bench",
        data_dir: "/bench",
        only_task: None,
    };
    store.nodes().register(&ACTING, &node).await?;
    Ok(id)
}

async fn runs(store: &Store, rows: &Rows<'_>, node_id: NodeId) -> Result<Vec<Duration>> {
    let request = ClaimRequest {
        node_id,
        limit: 1,
        max_concurrent: 10,
        only_task: None,
        agents: None,
        lease: LEASE,
    };
    let after =
        TaskAfter { status: Status::Completed, waiting_for: None, wake_in_ms: None, error: None };
    let end = Finish::new(Status::Completed, after);
    let mut times = Vec::new();
    for _ in 0..CLAIMS {
        let began = Instant::now();
        let claim = store.queue().claim(&ACTING, &request).await?.pop();
        times.push(began.elapsed());
        let fence = claim.and_then(|claim| claim.fence()).context("nothing was claimed")?;
        store.queue().finish(&ACTING, fence, &end).await?;
    }
    rows.add_runs(u32::try_from(CLAIMS)?).await?;
    Ok(times)
}

async fn batches(
    store: &Store,
    rows: &Rows<'_>,
    node: NodeId,
) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let (mut claimed, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..CLAIMS {
        let began = Instant::now();
        let batch = store.queue().claim_batch(&ACTING, node, LEASE).await?;
        claimed.push(began.elapsed());
        let batch = batch.context("no batch was claimed")?;
        let began = Instant::now();
        store.queue().complete_batch(&ACTING, node, &batch).await?;
        ended.push(began.elapsed());
        rows.add_runless(u32::try_from(batch.tasks.len())?).await?;
    }
    Ok((claimed, ended))
}
