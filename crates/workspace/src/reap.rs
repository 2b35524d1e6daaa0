//! Finding and ending processes of a run, also those of an earlier life of the runtime.
//!
//! A process is known by its number and its start time together, since numbers are used again.
//! What started others and hid behind them is found by the variables in its environment, which also say in which
//! epoch of the run's lease it was started: who reaps late, its lease lost meanwhile, leaves a new owner's alone.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use journeyman_domain::ids::{NodeId, RunId};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::error::WorkspaceError;

/// In the environment of every process of a run: its id.
pub const RUN_VARIABLE: &str = "JOURNEYMAN_RUN_ID";
/// The same: the epoch of the lease in which it was started.
pub const EPOCH_VARIABLE: &str = "JOURNEYMAN_LEASE_EPOCH";
/// In the environment of what a node started for no run, as a push: the node's id.
pub const NODE_VARIABLE: &str = "JOURNEYMAN_NODE_ID";

const GONE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Whose a process is: a run, in one epoch of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// The run.
    pub run: RunId,
    /// The epoch of the lease.
    pub epoch: i64,
}

impl Owner {
    /// Whoever ever had the run.
    pub const fn any(run: RunId) -> Self {
        Self { run, epoch: i64::MAX }
    }

    /// Who had the run before.
    #[must_use]
    pub const fn earlier(self) -> Self {
        Self { run: self.run, epoch: self.epoch - 1 }
    }

    /// What the environment of each of its processes says.
    pub(crate) fn variables(self) -> [(&'static str, String); 2] {
        [(RUN_VARIABLE, self.run.to_string()), (EPOCH_VARIABLE, self.epoch.to_string())]
    }
}

/// A process that was started for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildIdentity {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did (`man 5 proc_pid_stat`, field 22).
    pub start_time: u64,
    /// Whose it is.
    pub owner: Owner,
}

/// Kills what is still alive of `children`, everything that they started, and everything else that was
/// started for their runs in the same epoch or an earlier one, and waits until it is gone; the numbers of the
/// processes that were killed. The same for `owners` of whom no child was written down: a clone of the repository
/// may have been under way.
///
/// # Errors
/// [`WorkspaceError::StillAlive`].
pub async fn reap(
    children: &[ChildIdentity],
    owners: &[Owner],
) -> Result<Vec<i32>, WorkspaceError> {
    let owners: BTreeSet<_> =
        children.iter().map(|child| child.owner).chain(owners.iter().copied()).collect();
    let owners = owners.into_iter().collect();
    end(children, &Wanted { owners, ..Wanted::default() }).await
}

/// Kills what a node that is gone has started for no run, and waits until it is gone; the numbers.
///
/// # Errors
/// [`WorkspaceError::StillAlive`].
pub async fn reap_node(node: NodeId) -> Result<Vec<i32>, WorkspaceError> {
    let marker = Some(format!("{NODE_VARIABLE}={node}"));
    end(&[], &Wanted { marker, ..Wanted::default() }).await
}

/// How processes that hid are recognised.
#[derive(Clone, Default)]
pub(crate) struct Wanted {
    /// It is of one of these, or of an earlier owner of the same run.
    pub(crate) owners: Vec<Owner>,
    /// This variable (`NAME=value`) is in its environment.
    pub(crate) marker: Option<String>,
    /// Its session.
    pub(crate) session: Option<i32>,
}

/// Kills the children and whatever is wanted, until none is left: a process may start another
/// one while we look.
pub(crate) async fn end(
    children: &[ChildIdentity],
    wanted: &Wanted,
) -> Result<Vec<i32>, WorkspaceError> {
    let deadline = Instant::now() + GONE_WITHIN;
    let mut killed = Vec::new();
    loop {
        let (children, wanted) = (children.to_vec(), wanted.clone());
        let alive = blocking(move || kill_all(&children, &wanted)).await;
        if alive.is_empty() {
            killed.sort_unstable();
            killed.dedup();
            return Ok(killed);
        }
        if Instant::now() > deadline {
            return Err(WorkspaceError::StillAlive(alive));
        }
        killed.extend(alive);
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
}

/// Kills the children and whatever is wanted; the numbers. Blocks.
fn kill_all(children: &[ChildIdentity], wanted: &Wanted) -> Vec<i32> {
    let mut alive = kill_wanted(wanted);
    for child in children {
        if start_time(child.pid) == Some(child.start_time) {
            kill(child.pid);
            alive.push(child.pid);
        }
    }
    alive
}

/// Looks through all processes where it holds up nobody else.
pub(crate) async fn blocking(look: impl FnOnce() -> Vec<i32> + Send + 'static) -> Vec<i32> {
    // It fails only while the runtime ends; the next life reaps again.
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

/// Kills everything that is wanted; the numbers. Blocks.
pub(crate) fn kill_wanted(wanted: &Wanted) -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = std::process::id().cast_signed();
    let mut killed = Vec::new();
    for process in processes.flatten() {
        let number = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = number.filter(|pid| *pid != own) else {
            continue;
        };
        let Some(stat) = Stat::of(pid).filter(Stat::is_alive) else {
            continue;
        };
        if wanted.session == Some(stat.session) || is_marked(pid, wanted) {
            kill(pid);
            killed.push(pid);
        }
    }
    killed
}

fn is_marked(pid: i32, wanted: &Wanted) -> bool {
    // What cannot be read belongs to someone else, or is gone.
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let variables = || environment.split(|byte| *byte == 0);
    if let Some(marker) = &wanted.marker
        && variables().any(|variable| variable == marker.as_bytes())
    {
        return true;
    }
    let value = |name: &str| {
        variables().find_map(|variable| {
            std::str::from_utf8(variable).ok()?.strip_prefix(name)?.strip_prefix('=')
        })
    };
    let Some(run) = value(RUN_VARIABLE).filter(|_| !wanted.owners.is_empty()) else { return false };
    let Ok(run) = run.parse::<RunId>() else { return false };
    // Without one that can be read it is nobody's that is known to go on.
    let epoch = value(EPOCH_VARIABLE).and_then(|epoch| epoch.parse().ok()).unwrap_or(i64::MIN);
    wanted.owners.iter().any(|owner| owner.run == run && epoch <= owner.epoch)
}

fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may be gone by now; the next look tells.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// When the process started, in clock ticks since the machine did; `None` when there is no such
/// process any more, or only its exit status waits to be read.
pub fn start_time(pid: i32) -> Option<u64> {
    Stat::of(pid).filter(Stat::is_alive).map(|stat| stat.start_time)
}

/// As [`start_time`], also for a child of ours that has ended and was not waited for.
pub(crate) fn start_time_of_child(pid: i32) -> Option<u64> {
    Stat::of(pid).map(|stat| stat.start_time)
}

/// Of `/proc/<pid>/stat`, what is needed here.
struct Stat {
    state: char,
    session: i32,
    start_time: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, also parentheses and no UTF-8.
        let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
        let fields = std::str::from_utf8(&stat[after_name..]).ok()?;
        let fields: Vec<_> = fields.split_ascii_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            session: fields.get(3)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }

    fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}
