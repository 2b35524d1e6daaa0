//! Checks: the commands by which the runtime itself judges a change, and how they are found.

pub mod discover;
pub mod output;
pub mod report;

use serde::{Deserialize, Serialize};

use crate::status::vocabulary;
use crate::tool::Ended;

vocabulary! {
    /// What a check is about.
    CheckKind, "kind of check" {
        /// It compiles.
        Build = "build",
        /// Its tests pass.
        Test = "test",
        /// Linters are content.
        Lint = "lint",
        /// The user gave it; only its exit code counts, unless its output is of a known runner.
        Custom = "custom",
    }
}

/// A command that must succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Unique within the codebase; what evidence and spans show: "cargo test".
    pub name: String,
    /// What it is about.
    pub kind: CheckKind,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Whether it may use the network; the codebase says so, never a guess.
    #[serde(default)]
    pub network: bool,
    /// Milliseconds until it counts as hanging; `None` takes the configured limit.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// A command that fetches what checks need, with network, before they run without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Files whose content decides whether it must run again, relative to the repository.
    pub lock_files: Vec<String>,
    /// Folders inside the workspace that it fills and that checks need ("node_modules").
    pub provides: Vec<String>,
}

/// Everything by which a codebase is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckPlan {
    /// Run first, once for a set of lock files.
    pub prepare: Vec<Prepare>,
    /// In the order in which they run: cheap and telling ones first.
    pub checks: Vec<Check>,
    /// Ignored folders that may outlive a restore of a snapshot ("target", "node_modules").
    pub caches: Vec<String>,
    /// What was seen and left out, with its reason ("package.json: no script named test").
    pub notes: Vec<String>,
}

/// How one check ended on one tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckOutcome {
    /// The check's name.
    pub check: String,
    /// What it is about.
    pub kind: CheckKind,
    /// How its program ended.
    pub ended: Ended,
    /// Milliseconds of wall time.
    pub duration_ms: u64,
    /// What its output says of single tests, where the runner is known.
    pub tests: Option<TestReport>,
    /// The first part of its output.
    pub head: String,
    /// The last part, where it was cut.
    pub tail: Option<String>,
}

impl CheckOutcome {
    /// Whether it succeeded.
    pub const fn passed(&self) -> bool {
        self.ended.is_success()
    }
}

/// What a test runner's output says. Names are the runner's own, prefixed with the binary or file
/// where the runner prints one, so that equal names in two files stay apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestReport {
    /// Passed tests, sorted; empty where the runner prints only counts.
    pub passed: Vec<String>,
    /// Failed tests, sorted.
    pub failed: Vec<String>,
    /// Skipped or ignored tests, sorted.
    pub skipped: Vec<String>,
    /// How many ran and passed, by the runner's closing lines.
    pub passed_count: u64,
    /// How many failed.
    pub failed_count: u64,
    /// How many were skipped.
    pub skipped_count: u64,
}

impl TestReport {
    /// Whether every passed test is known by its name. Where a runner prints only counts, two
    /// reports can be compared by their counts alone.
    pub fn is_named(&self) -> bool {
        self.passed.len() as u64 >= self.passed_count
    }
}
