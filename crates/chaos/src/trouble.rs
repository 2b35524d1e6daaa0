//! What happens around daemons that are not killed themselves, or not all of them.

mod disk;
mod nodes;
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
use crate::life::daemon::{at_work, died, is_killed, kill, start, stop};
use crate::life::{End, Lived, Progress, moment};
use crate::stage::Stage;
use crate::world::Options;

pub use disk::Disk;
pub use wire::Wire;

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
            Self::Database | Self::Wire => ["graph", "command", "model", "forge"].contains(&play),
            Self::Sleep | Self::Nodes => ["steady", "model", "forge"].contains(&play),
            Self::Agent | Self::Disk => play == "steady",
        }
    }

    /// Whether it can be played by who plays here.
    pub fn is_possible(self) -> bool {
        // It mounts a disk.
        self != Self::Disk || rustix::process::geteuid().is_root()
    }

    /// Whether there is one daemon, and the trouble is around it.
    pub const fn is_around_one(self) -> bool {
        !matches!(self, Self::Sleep | Self::Nodes)
    }

    /// Executions that a node works on at once: few enough, where there are several, that each has some.
    pub fn concurrent(self) -> u32 {
        if self.is_around_one() { Options::default().concurrent } else { 2 }
    }

    /// Whether it hits work itself, whose failure is then a result.
    pub const fn hits_work(self) -> bool {
        matches!(self, Self::Agent | Self::Disk)
    }

    /// Plays a life under it, which may have an end of its own; how it went, and how often the trouble struck.
    pub fn live(
        self,
        stage: &Stage<'_>,
        progress: &mut Progress,
        end: Option<&End>,
        seed: u64,
    ) -> Result<(Lived, u32)> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let mut random = fastrand::Rng::with_seed(seed);
        runtime.block_on(async {
            if self.is_around_one() {
                self.around_one(stage, progress, end, &mut random).await
            } else {
                nodes::among(self, stage, progress, &mut random).await
            }
        })
    }

    /// One daemon, and what happens to what it needs.
    async fn around_one(
        self,
        stage: &Stage<'_>,
        progress: &mut Progress,
        end: Option<&End>,
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
            tokio::select! {
                exited = daemon.wait() => died(stage, exited?, None),
                lived = in_trouble(stage, &data, progress) => lived?,
                failed = strike => failed?,
                () = moment(end) => Lived::Ended,
            }
        };
        let lived = if lived == Lived::Ended {
            let killed = kill(&mut daemon).await?;
            if is_killed(killed) { lived } else { died(stage, killed, None) }
        } else {
            stop(stage, &mut daemon, None, lived).await?
        };
        // The life was over in the middle of a strike; the next one has its own.
        if let Some(wire) = stage.world.wire() {
            wire.mend();
        }
        if let Some(disk) = stage.world.disk() {
            disk.free()?;
        }
        Ok((lived, strikes))
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
                let alive = judge::processes_of(&runs);
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
