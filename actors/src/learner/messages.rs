//! What the learner understands, and the typed way to it.

use std::convert::Infallible;
use std::time::Duration;

use journeyman_domain::failure::Evidence;
use journeyman_domain::ids::{CodebaseId, RunId, TaskId};
use journeyman_domain::status::DriverKind;
use journeyman_supervision::Directory;
use serde::{Deserialize, Serialize};

use crate::support::{AskError, Mailbox, Message, Reply};

/// Where the learner is.
const PATH: &str = "root/minds/learner";

/// A verified change mended a failure.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// The task.
    pub task: TaskId,
    /// The run that mended it.
    pub run: RunId,
    /// The codebase.
    pub codebase: Option<CodebaseId>,
    /// How the agent acted.
    pub driver: DriverKind,
    /// The failure as it was before.
    pub evidence: Evidence,
    /// The change, cut to what a pattern keeps.
    pub diff: String,
}

/// A message to the learner.
#[derive(Debug)]
pub enum LearnerMessage {
    /// A failure was resolved.
    Resolved {
        /// By what.
        resolution: Box<Resolution>,
    },
    /// What it has done.
    Snapshot {
        /// Where to.
        reply: Reply<LearnerSnapshot, Infallible>,
    },
}

/// What the learner has done since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnerSnapshot {
    /// Resolutions recorded.
    pub recorded: u64,
}

impl Message for LearnerMessage {
    const ACTOR: &'static str = "learner";

    fn kind(&self) -> &'static str {
        match self {
            Self::Resolved { .. } => "Resolved",
            Self::Snapshot { .. } => "Snapshot",
        }
    }
}

/// The typed way to the learner.
#[derive(Clone, Debug)]
pub struct LearnerHandle(Mailbox<LearnerMessage>);

impl LearnerHandle {
    /// The way from an actor.
    pub fn new(directory: Directory, sender: &'static str) -> Self {
        Self(Mailbox::new(directory, PATH, sender))
    }

    /// Tells it what mended a failure.
    pub fn resolved(&self, resolution: Resolution) -> bool {
        let about = self.0.about(resolution.task);
        about.tell(LearnerMessage::Resolved { resolution: Box::new(resolution) })
    }

    /// What it has done.
    pub async fn snapshot(&self) -> Result<LearnerSnapshot, AskError<Infallible>> {
        self.0.ask(Duration::from_secs(2), |reply| LearnerMessage::Snapshot { reply }).await
    }
}
