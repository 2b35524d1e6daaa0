//! What an actor is given: the store, the node it works for, typed settings. No environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use journeyman_domain::ids::{NodeId, TaskId};
use journeyman_domain::limits::Limits;
use journeyman_domain::schedule;
use journeyman_integrations::github::GitHub;
use journeyman_store::Store;
use journeyman_workspace::process::Runner;
use tokio::sync::{broadcast, watch};

use crate::agent::Fetched;
use crate::leases::Leases;
use crate::models::Models;

/// Everything that the actors of one runtime share. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    /// PostgreSQL.
    pub store: Store,
    /// This life of this process.
    pub node: NodeId,
    /// Which tasks it may work on.
    pub mode: Mode,
    /// Settings.
    pub settings: Arc<Settings>,
    /// How long this node's leases are good for.
    pub leases: Leases,
    /// Leases, polling, attempts, limits: as they are now.
    pub schedule: watch::Receiver<schedule::Settings>,
    /// The models that agents can use.
    pub models: Arc<Models>,
    /// Starts child processes.
    pub runner: Runner,
    /// What checks need, as far as it was fetched already.
    pub fetched: Fetched,
    /// Says that something about a task changed; a hint for those that watch.
    pub changes: broadcast::Sender<Change>,
}

impl Runtime {
    /// How long a lease is good for, of executions and of deliveries.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.schedule.borrow().lease_ms)
    }
}

/// Something about a task changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The task.
    pub task: TaskId,
    /// What its run does now, where that is what changed.
    pub now: Option<String>,
}

/// Which tasks a node works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of them.
    Daemon,
    /// One, and it alone.
    Foreground(TaskId),
    /// None: it serves a command that only reads or adds.
    Observer,
}

/// Typed settings of the actors.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What one run may use.
    pub limits: Limits,
    /// Whether work that nothing can check is completed unverified.
    pub allow_unverified: bool,
    /// Author and committer of delivered commits, where the user set one: name and address.
    pub author: Option<(String, String)>,
    /// Where pull requests are opened.
    pub forge: Forge,
    /// How children are confined.
    pub sandbox: Sandbox,
    /// This machine, as rows of nodes and children name it.
    pub host: String,
    /// Its present boot.
    pub boot_id: String,
    /// The parent of the runs' folders.
    pub runs: PathBuf,
    /// The parent of prepared dependencies, shared by runs.
    pub prepared: PathBuf,
    /// Where patches go.
    pub patches: PathBuf,
    /// The system prompts that the user has put in the place of shipped ones, by role.
    pub prompts: BTreeMap<String, String>,
    /// The environment that children get, already an allow-list.
    pub environment: BTreeMap<String, String>,
}

/// Where pull requests are opened.
#[derive(Clone, Debug)]
pub struct Forge {
    /// The host of its repositories, as the addresses of remotes have it.
    pub host: String,
    /// Its client, with a token; or one sentence on why there is none.
    pub client: Result<GitHub, String>,
}

/// How children are confined.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Whether namespaces are used: the writes of a child are then confined to its workspace.
    pub namespaces: bool,
    /// Files and folders that no child may see.
    pub hidden: Vec<PathBuf>,
    /// Folders outside the workspace that commands which fetch dependencies may write.
    pub caches: Vec<PathBuf>,
}
