//! Typed ways to the agents and to one run.

use std::convert::Infallible;
use std::time::Duration;

use journeyman_domain::ids::{AgentId, RunId};
use journeyman_supervision::{Directory, DynamicError};

use super::messages::{RunMessage, RunSnapshot, StopReason};
use crate::support::{AskError, Mailbox};

/// Where the supervisors of the agents are.
const AGENTS: &str = "root/agents";

/// Starts runs below their agents.
#[derive(Clone, Debug)]
pub struct AgentsHandle {
    directory: Directory,
}

impl AgentsHandle {
    /// A handle on the agents of this tree.
    pub const fn new(directory: Directory) -> Self {
        Self { directory }
    }

    /// Starts the actor of a claimed run, and its agent's supervisor where this is its first. An
    /// actor that is there already worked under an earlier claim and is about to go: its end is
    /// awaited.
    pub async fn start_run(&self, agent: AgentId, run: RunId) -> Result<(), DynamicError> {
        match self.directory.dynamic(AGENTS).start_child(agent.to_string()).await {
            Ok(_) | Err(DynamicError::Exists { .. }) => {}
            Err(error) => return Err(error),
        }
        let supervisor = self.directory.dynamic(format!("{AGENTS}/{agent}"));
        match supervisor.start_child(run.to_string()).await {
            Err(DynamicError::Exists { .. }) => {}
            started => return started.map(drop),
        }
        match supervisor.terminate_child(run.to_string()).await {
            Ok(()) | Err(DynamicError::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
        supervisor.start_child(run.to_string()).await.map(drop)
    }

    /// The runs that have an actor here.
    pub fn runs(&self) -> Vec<RunHandle> {
        let agents = self.directory.children(AGENTS).into_iter();
        agents
            .flat_map(|(agent, _)| {
                let supervisor = format!("{AGENTS}/{agent}");
                let runs = self.directory.children(&supervisor).into_iter();
                runs.map(move |(run, _)| format!("{supervisor}/{run}"))
            })
            .filter_map(|path| RunHandle::at(&self.directory, &path))
            .collect()
    }

    /// The handle of one run.
    pub fn run(&self, agent: AgentId, run: RunId) -> RunHandle {
        let path = format!("{AGENTS}/{agent}/{run}");
        RunHandle { run, mailbox: Mailbox::new(self.directory.clone(), path, "scheduler") }
    }
}

/// The way to one run's actor.
#[derive(Clone, Debug)]
pub struct RunHandle {
    /// The run.
    pub run: RunId,
    mailbox: Mailbox<RunMessage>,
}

impl RunHandle {
    fn at(directory: &Directory, path: &str) -> Option<Self> {
        let run = path.rsplit('/').next()?.parse().ok()?;
        Some(Self { run, mailbox: Mailbox::new(directory.clone(), path, "scheduler") })
    }

    /// Asks the run to stop where it is.
    pub fn stop(&self, reason: StopReason) -> bool {
        self.mailbox.tell(RunMessage::Stop { reason })
    }

    /// What it does now.
    pub async fn snapshot(&self) -> Result<RunSnapshot, AskError<Infallible>> {
        self.mailbox.ask(Duration::from_secs(2), |reply| RunMessage::Snapshot { reply }).await
    }
}
