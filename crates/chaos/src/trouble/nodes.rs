//! Several daemons on one database, of which some are stopped past their leases while they hold work, or killed, where
//! they do in time while they hold work.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection};
use tokio::process::Child;
use tokio::time::sleep;

use super::{Trouble, in_trouble};
use crate::judge;
use crate::life::daemon::{answers, died, start, stop};
use crate::life::{Lived, Progress};
use crate::stage::Stage;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// How long a strike waits for a node that holds something.
const HOLDS: Duration = Duration::from_secs(2);
/// How long a node may clear away after its start.
const CLEARING: Duration = Duration::from_secs(10);
/// How often it strikes.
const STRIKES: usize = 2;

/// Plays a life of them; how it went, and how often the trouble struck.
pub(super) async fn among(
    trouble: Trouble,
    stage: &Stage<'_>,
    progress: &mut Progress,
    random: &mut fastrand::Rng,
) -> Result<(Lived, u32)> {
    let count = if trouble == Trouble::Nodes { 3 } else { 2 };
    let folders: Vec<_> = (0..count).map(|node| stage.world.data_of(node)).collect();
    let mut nodes = Vec::new();
    for folder in &folders {
        nodes.push(start(stage, folder, None)?);
    }
    let pids: Vec<Pid> = nodes.iter().filter_map(pid_of).collect();
    // The user is at the last one: that is not killed.
    let mut last = nodes.pop().context("no node")?;
    let at = folders.last().context("no node")?;
    let (mut strikes, mut killed) = (0, BTreeSet::new());
    let lived = {
        let strikes_on = async {
            for _ in 0..STRIKES {
                sleep(Duration::from_millis(random.u64(100..1_200))).await;
                let all = if trouble == Trouble::Nodes { count - 1 } else { count };
                let whole: Vec<usize> = (0..all).filter(|node| !killed.contains(node)).collect();
                // Two are killed, whether they hold anything or not; one that holds nothing is not put to sleep.
                let any = whole.first().copied().filter(|_| trouble == Trouble::Nodes);
                let Some(node) = holder(stage, &pids, &whole).await?.or(any) else { continue };
                let pid = *pids.get(node).context("no node")?;
                strikes += 1;
                if trouble == Trouble::Nodes {
                    killed.insert(node);
                    kill_process(pid, Signal::KILL)?;
                } else {
                    kill_process(pid, Signal::STOP)?;
                    let lease_s = u64::from(stage.world.options().lease_s);
                    sleep(Duration::from_secs(lease_s + 1)).await;
                    kill_process(pid, Signal::CONT)?;
                }
            }
            std::future::pending::<Result<Lived>>().await
        };
        tokio::select! {
            exited = last.wait() => died(stage, exited?, None),
            lived = in_trouble(stage, at, progress) => lived?,
            failed = strikes_on => failed?,
        }
    };
    let mut lived = lived;
    for (number, node) in nodes.iter_mut().chain([&mut last]).enumerate() {
        if killed.contains(&number) {
            node.wait().await?;
            continue;
        }
        // The life may be over while it is stopped.
        let _ = pid_of(node).map(|pid| kill_process(pid, Signal::CONT));
        lived = stop(stage, node, None, lived).await?;
    }
    for folder in &folders {
        lived = settle(stage, folder, lived).await?;
    }
    Ok((lived, strikes))
}

fn pid_of(node: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(node.id()?).ok()?)
}

/// One of these nodes that works on something of the scenario, or sends something of it; none where none does in time.
async fn holder(stage: &Stage<'_>, pids: &[Pid], among: &[usize]) -> Result<Option<usize>> {
    let mut database = PgConnection::connect(&stage.world.url()).await?;
    let began = Instant::now();
    while began.elapsed() < HOLDS {
        let holding: Vec<i32> = sqlx::query_scalar(
            "SELECT DISTINCT n.pid FROM runtime_nodes n WHERE n.stopped_at IS NULL AND (EXISTS (SELECT FROM task_executions e \
                 JOIN tasks t ON t.id = e.task_id WHERE e.node_id = n.id AND e.status = 'running' AND t.title LIKE $1) \
             OR EXISTS (SELECT FROM outbox o JOIN tasks t ON t.id = o.task_id WHERE o.node_id = n.id \
                 AND o.state = 'sending' AND t.title LIKE $1))",
        )
        .bind(format!("{}%", stage.prefix))
        .fetch_all(&mut database)
        .await?;
        let holds = |node: &&usize| {
            pids.get(**node).is_some_and(|pid| holding.contains(&pid.as_raw_nonzero().get()))
        };
        if let Some(node) = among.iter().find(holds) {
            return Ok(Some(*node));
        }
        sleep(LOOK).await;
    }
    Ok(None)
}

/// A node's next start and its stop: what it could not clear away when it was killed or lost a lease, it clears then.
async fn settle(stage: &Stage<'_>, data: &Path, lived: Lived) -> Result<Lived> {
    if matches!(lived, Lived::Stuck(_)) {
        return Ok(lived);
    }
    let mut node = start(stage, data, None)?;
    let lived = match answers(stage, data).await {
        Some(_) => lived,
        None => Lived::Stuck("a node does not answer when it is started again".to_owned()),
    };
    // It clears away while it does other things, and a stop would cut it off. What stays is the judge's.
    let mut database = PgConnection::connect(&stage.world.url()).await?;
    let mut left = judge::litter(stage, &mut database).await?;
    left.retain(|folder| folder.starts_with(data));
    let began = Instant::now();
    while began.elapsed() < CLEARING && left.iter().any(|folder| folder.exists()) {
        sleep(LOOK).await;
    }
    stop(stage, &mut node, None, lived).await
}
