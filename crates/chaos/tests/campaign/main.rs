//! The short campaign, and the durability contract with and without its mechanisms. Scenarios are played by the program
//! `chaos`, since what is armed is a process's.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod contract;
mod dead;
mod outage;
mod readme;
mod short;
mod start;

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use journeyman_chaos::World;
use journeyman_chaos::scenario::Outcome;
use journeyman_testkit::overdue::{Watch, watch};

const CHAOS: &str = env!("CARGO_BIN_EXE_chaos");

/// Several times what the longest test takes on a machine under load.
const LIMIT: Duration = Duration::from_mins(20);
/// Names, in the environment of what a test plays, the test.
const PLAYED_BY: &str = "JOURNEYMAN_PLAYED_BY";

/// Nothing that works in this world outlives the limit of a test.
fn watched(world: &World) -> Watch {
    watch(world.folder().to_str().unwrap(), LIMIT)
}

/// The same of what this command starts.
fn watched_command(command: &mut Command) -> Watch {
    static NTH: AtomicU32 = AtomicU32::new(0);
    let nth = NTH.fetch_add(1, Ordering::Relaxed);
    let played_by = format!("{}-{nth};", std::process::id());
    command.env(PLAYED_BY, &played_by);
    watch(format!("{PLAYED_BY}={played_by}"), LIMIT)
}

/// The daemon's program, which is built beside this one.
fn program() -> PathBuf {
    let program = PathBuf::from(CHAOS).with_file_name("journeyman");
    assert!(program.is_file(), "build it first: cargo build, or test the whole workspace");
    program
}

/// Runs `chaos play`, and gives the outcomes.
#[track_caller]
fn play(arguments: &[&str]) -> Vec<Outcome> {
    let mut command = Command::new(CHAOS);
    command.arg("play").arg("--program").arg(program()).args(arguments);
    let _watch = watched_command(&mut command);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
