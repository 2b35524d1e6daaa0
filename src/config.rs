//! The user's settings: typed, validated, each value with its origin.
//!
//! A value comes from the environment, the user's file, the table `system_configuration` or the
//! built-in default, in this order; a command's flags are above all of them. An error names the
//! key, the file and the line.

mod analytics;
mod database;
mod error;
mod git;
mod github;
mod layers;
mod log;
mod model;
pub mod paths;
mod run;
mod sandbox;
mod scheduler;
mod secret;
mod system;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use analytics::Analytics;
pub use database::Database;
pub use error::ConfigError;
pub use git::Git;
pub use github::GitHub;
pub use layers::{Layers, Origin, edit_file};
pub use log::{Format, Log};
pub use model::{Model, Provider};
pub use run::Run;
pub use sandbox::{Namespaces, Sandbox};
pub use scheduler::Scheduler;
pub use secret::{files as secret_files, resolve as resolve_secret};
pub use system::System;

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The runtime as a whole.
    pub system: System,
    /// Which PostgreSQL.
    pub database: Database,
    /// Leases, polling and attempts.
    pub scheduler: Scheduler,
    /// What one run may use.
    pub run: Run,
    /// Which model agents use.
    pub model: Model,
    /// Who serves models, by name.
    pub providers: BTreeMap<String, Provider>,
    /// Who delivered commits are by.
    pub git: Git,
    /// Where pull requests are opened.
    pub github: GitHub,
    /// How children are confined.
    pub sandbox: Sandbox,
    /// What goes to standard error.
    pub log: Log,
    /// How long figures are kept.
    pub analytics: Analytics,
}

#[cfg(test)]
mod tests;
