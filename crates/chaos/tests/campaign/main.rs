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

use journeyman_chaos::scenario::Outcome;

const CHAOS: &str = env!("CARGO_BIN_EXE_chaos");

/// The daemon's program, which is built beside this one.
fn program() -> PathBuf {
    let program = PathBuf::from(CHAOS).with_file_name("journeyman");
    assert!(program.is_file(), "build it first: cargo build, or test the whole workspace");
    program
}

/// Runs `chaos play`, and gives the outcomes.
#[track_caller]
fn play(arguments: &[&str]) -> Vec<Outcome> {
    let output =
        Command::new(CHAOS).arg("play").arg("--program").arg(program()).args(arguments).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
