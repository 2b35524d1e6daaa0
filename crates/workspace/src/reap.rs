//! Finding and ending processes of a run, also those of an earlier life of the runtime.
//!
//! A process is known by its number and its start time together, since numbers are used again.
//! What started others and hid behind them is found by a variable in its environment.

use std::fs;
use std::time::{Duration, Instant};

use journeyman_domain::ids::RunId;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::error::WorkspaceError;

/// In the environment of every process of a run: its id.
pub const RUN_VARIABLE: &str = "JOURNEYMAN_RUN_ID";

const GONE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A process that was started for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildIdentity {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did (`man 5 proc_pid_stat`, field 22).
    pub start_time: u64,
    /// The run.
    pub run: RunId,
}

/// Kills what is still alive of `children`, everything that they started, and everything else of
/// their runs, and waits until it is gone; the numbers of the processes that were killed.
///
/// It must not be called while a process of these runs shall go on.
///
/// # Errors
/// [`WorkspaceError::StillAlive`].
pub async fn reap(children: &[ChildIdentity]) -> Result<Vec<i32>, WorkspaceError> {
    let mut markers: Vec<_> = children.iter().map(|child| marker(child.run)).collect();
    markers.sort();
    markers.dedup();
    end(children, &Wanted { markers, session: None }).await
}

/// As [`reap`], for a run of which no child was written down: a clone of its repository may have
/// been under way.
///
/// # Errors
/// [`WorkspaceError::StillAlive`].
pub async fn reap_run(run: RunId) -> Result<Vec<i32>, WorkspaceError> {
    end(&[], &Wanted { markers: vec![marker(run)], session: None }).await
}

fn marker(run: RunId) -> String {
    format!("{RUN_VARIABLE}={run}")
}

/// How processes that hid are recognised.
#[derive(Clone)]
pub(crate) struct Wanted {
    /// Any of these variables (`NAME=value`) in its environment.
    pub(crate) markers: Vec<String>,
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
        if wanted.session == Some(stat.session) || is_marked(pid, &wanted.markers) {
            kill(pid);
            killed.push(pid);
        }
    }
    killed
}

fn is_marked(pid: i32, markers: &[String]) -> bool {
    // What cannot be read belongs to someone else, or is gone.
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| markers.iter().any(|marker| marker.as_bytes() == variable))
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
