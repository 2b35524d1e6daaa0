//! What happens around daemons that are not killed themselves, or not all of them.

mod disk;
mod wire;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use tokio::time::sleep;

use crate::judge;
use crate::life::daemon::{answers, at_work, died, signal, start, stop};
use crate::life::{Lived, Progress};
use crate::paid::Paid;
use crate::stage::Stage;

pub use disk::Disk;
pub use wire::Wire;

/// Between two looks at what is paid.
const WATCH: Duration = Duration::from_millis(50);

/// How long a node may clear away after its start.
const CLEARING: Duration = Duration::from_secs(10);

/// A kind of trouble.
#[expect(
    clippy::unsafe_derive_deserialize,
    reason = "the unsafe code is in what `async` makes of it"
)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// PostgreSQL is shut down at once (`pg_ctl stop -m immediate`), and started again.
    Database,
    /// The connection to PostgreSQL is slow, silent, cut.
    Wire,
    /// Programs of agents and checks are killed.
    Agent,
    /// One of two nodes is stopped for longer than its lease, and goes on.
    Sleep,
    /// Two of three nodes are killed.
    Nodes,
    /// The disk of the data folder is full for a while.
    Disk,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Database, Self::Wire, Self::Agent, Self::Sleep, Self::Nodes, Self::Disk];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Wire => "wire",
            Self::Agent => "agent",
            Self::Sleep => "sleep",
            Self::Nodes => "nodes",
            Self::Disk => "disk",
        }
    }

    /// Whether a play has something that it could strike.
    pub fn suits(self, play: &str) -> bool {
        match self {
            Self::Database | Self::Wire => ["graph", "command", "model"].contains(&play),
            Self::Agent | Self::Sleep | Self::Nodes | Self::Disk => play == "steady",
        }
    }

    /// Whether it hits work itself, whose failure is then a result.
    pub const fn hits_work(self) -> bool {
        matches!(self, Self::Agent | Self::Disk)
    }

    /// Plays a life under it; how it went, and how often the trouble struck.
    pub fn live(
        self,
        stage: &Stage<'_>,
        progress: &mut Progress,
        paid: &mut Paid,
        seed: u64,
    ) -> Result<(Lived, u32)> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let mut random = fastrand::Rng::with_seed(seed);
        runtime.block_on(async {
            match self {
                Self::Sleep | Self::Nodes => self.among_nodes(stage, progress, &mut random).await,
                Self::Database | Self::Wire | Self::Agent | Self::Disk => {
                    self.around_one(stage, progress, paid, &mut random).await
                }
            }
        })
    }

    /// One daemon, and what happens to what it needs.
    async fn around_one(
        self,
        stage: &Stage<'_>,
        progress: &mut Progress,
        paid: &mut Paid,
        random: &mut fastrand::Rng,
    ) -> Result<(Lived, u32)> {
        let data = stage.world.data();
        let mut daemon = start(stage, &data, None)?;
        let mut strikes = 0;
        let lived = {
            let strike = async {
                loop {
                    sleep(Duration::from_millis(random.u64(50..900))).await;
                    strikes += self.strike(stage, random).await?;
                    if strikes >= 3 {
                        return std::future::pending::<Result<Lived>>().await;
                    }
                }
            };
            let watch = async {
                loop {
                    // The database may be away just now.
                    let _ = paid.look(stage).await;
                    sleep(WATCH).await;
                }
            };
            tokio::select! {
                exited = daemon.wait() => died(stage, exited?, None),
                lived = in_trouble(stage, &data, progress) => lived?,
                failed = strike => failed?,
                never = watch => never,
            }
        };
        Ok((stop(stage, &mut daemon, None, lived).await?, strikes))
    }

    async fn strike(self, stage: &Stage<'_>, random: &mut fastrand::Rng) -> Result<u32> {
        match self {
            Self::Database => {
                // It may be starting again just now.
                let Some(pid) = stage.world.postmaster() else { return Ok(0) };
                // What `pg_ctl stop -m immediate` sends.
                let killed = kill_process(pid, Signal::QUIT);
                Ok(u32::from(killed.is_ok()))
            }
            Self::Wire => {
                let wire = stage.world.wire().context("there is no wire")?;
                wire.disturb(random).await;
                Ok(1)
            }
            Self::Agent => {
                let mut database = PgConnection::connect(&stage.world.url()).await?;
                let runs: Vec<String> = sqlx::query_scalar(
                    "SELECT r.id::text FROM agent_tasks r JOIN tasks t ON t.id = r.task_id WHERE t.title LIKE $1",
                )
                .bind(format!("{}%", stage.prefix))
                .fetch_all(&mut database)
                .await?;
                let alive = judge::processes(&runs);
                let Some(pid) = random.choice(alive) else { return Ok(0) };
                // It may be over by now.
                let killed = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
                Ok(u32::from(killed.is_some_and(|killed| killed.is_ok())))
            }
            Self::Disk => {
                let disk = stage.world.disk().context("there is no disk")?;
                disk.fill()?;
                sleep(Duration::from_millis(random.u64(100..1_500))).await;
                disk.free()?;
                Ok(1)
            }
            Self::Sleep | Self::Nodes => Ok(0),
        }
    }

    /// Several daemons on one database.
    async fn among_nodes(
        self,
        stage: &Stage<'_>,
        progress: &mut Progress,
        random: &mut fastrand::Rng,
    ) -> Result<(Lived, u32)> {
        let count = if self == Self::Nodes { 3 } else { 2 };
        let folders: Vec<_> = (0..count).map(|node| stage.world.data_of(node)).collect();
        let mut nodes = Vec::new();
        for folder in &folders {
            nodes.push(start(stage, folder, None)?);
        }
        // The user is at the one that is left alone.
        let mut last = nodes.pop().context("no node")?;
        let at = folders.last().context("no node")?;
        let mut strikes = 0;
        let lived = {
            let trouble = async {
                for node in &mut nodes {
                    sleep(Duration::from_millis(random.u64(100..1_200))).await;
                    if let Some(status) = node.try_wait()? {
                        return Ok(died(stage, status, None));
                    }
                    strikes += 1;
                    if self == Self::Nodes {
                        node.kill().await?;
                    } else {
                        signal(node, Signal::STOP);
                        let lease_s = u64::from(stage.world.options().lease_s);
                        sleep(Duration::from_secs(lease_s + 1)).await;
                        signal(node, Signal::CONT);
                    }
                }
                std::future::pending::<Result<Lived>>().await
            };
            tokio::select! {
                exited = last.wait() => died(stage, exited?, None),
                lived = in_trouble(stage, at, progress) => lived?,
                failed = trouble => failed?,
            }
        };
        // Those that were killed are the first ones.
        let killed = if self == Self::Nodes { usize::try_from(strikes)? } else { 0 };
        let mut lived = lived;
        for node in nodes.iter_mut().skip(killed).chain([&mut last]) {
            signal(node, Signal::CONT);
            lived = stop(stage, node, None, lived).await?;
        }
        for folder in &folders {
            lived = settle(stage, folder, lived).await?;
        }
        Ok((lived, strikes))
    }
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
    let mut left = judge::litter(stage).await?;
    left.retain(|folder| folder.starts_with(data));
    let began = Instant::now();
    while began.elapsed() < CLEARING && left.iter().any(|folder| folder.exists()) {
        sleep(WATCH).await;
    }
    stop(stage, &mut node, None, lived).await
}

/// The user, whose own look at the database may be cut off, too.
async fn in_trouble(stage: &Stage<'_>, data: &Path, progress: &mut Progress) -> Result<Lived> {
    let began = Instant::now();
    loop {
        match at_work(stage, data, progress).await {
            Err(_) if began.elapsed() < stage.world.options().patience => {
                sleep(Duration::from_millis(50)).await;
            }
            lived => return lived,
        }
    }
}
