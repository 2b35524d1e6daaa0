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
    let mut markers: Vec<_> = children
        .iter()
        .map(|child| format!("{RUN_VARIABLE}={}", child.run))
        .collect();
    markers.sort();
    markers.dedup();
    end(children, &markers).await
}

/// Kills the children and whatever has one of the markers in its environment, until none is left:
/// a process may start another one while we look.
pub(crate) async fn end(
    children: &[ChildIdentity],
    markers: &[String],
) -> Result<Vec<i32>, WorkspaceError> {
    let deadline = Instant::now() + GONE_WITHIN;
    let mut killed = Vec::new();
    loop {
        let mut alive = kill_marked(markers);
        for child in children {
            if start_time(child.pid) == Some(child.start_time) {
                kill(child.pid);
                alive.push(child.pid);
            }
        }
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

/// Kills everything that has one of the markers (`NAME=value`) in its environment; the numbers.
pub(crate) fn kill_marked(markers: &[String]) -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = std::process::id().cast_signed();
    let mut killed = Vec::new();
    for process in processes.flatten() {
        let number = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = number.filter(|pid| *pid != own) else {
            continue;
        };
        // What cannot be read belongs to someone else, or is gone.
        let Ok(environment) = fs::read(process.path().join("environ")) else {
            continue;
        };
        let marked = environment
            .split(|byte| *byte == 0)
            .any(|variable| markers.iter().any(|marker| marker.as_bytes() == variable));
        if marked && start_time(pid).is_some() {
            kill(pid);
            killed.push(pid);
        }
    }
    killed
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
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also parentheses.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        None
    } else {
        fields.nth(18)?.parse().ok()
    }
}
