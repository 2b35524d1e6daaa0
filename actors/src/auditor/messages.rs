//! What the auditor understands, and the typed way to it.

use std::convert::Infallible;
use std::time::Duration;

use journeyman_supervision::Directory;
use serde::{Deserialize, Serialize};

use crate::support::{AskError, Mailbox, Message, Reply};

/// A message to the auditor.
#[derive(Debug)]
pub enum AuditorMessage {
    /// Records of the tree were written down.
    Recorded {
        /// How many.
        records: u64,
    },
    /// Rows were sealed.
    Sealed {
        /// How many.
        rows: i64,
    },
    /// What it has done.
    Snapshot {
        /// Where to.
        reply: Reply<AuditorSnapshot, Infallible>,
    },
}

/// What the auditor has done since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditorSnapshot {
    /// Rows sealed into the chain.
    pub sealed: i64,
    /// Supervision records written.
    pub recorded: u64,
    /// Supervision records that wait to be written.
    pub waiting: u64,
}

impl Message for AuditorMessage {
    const ACTOR: &'static str = "auditor";

    fn kind(&self) -> &'static str {
        match self {
            Self::Recorded { .. } => "Recorded",
            Self::Sealed { .. } => "Sealed",
            Self::Snapshot { .. } => "Snapshot",
        }
    }
}

/// The typed way to the auditor.
#[derive(Clone, Debug)]
pub struct AuditorHandle(Mailbox<AuditorMessage>);

impl AuditorHandle {
    /// The way from an actor.
    pub fn new(directory: Directory, sender: &'static str) -> Self {
        Self(Mailbox::new(directory, "root/auditor", sender))
    }

    /// Sends a message of its own timers and subscriptions.
    pub(super) fn tell(&self, message: AuditorMessage) -> bool {
        self.0.tell(message)
    }

    /// What it has done.
    pub async fn snapshot(&self) -> Result<AuditorSnapshot, AskError<Infallible>> {
        self.0.ask(Duration::from_secs(2), |reply| AuditorMessage::Snapshot { reply }).await
    }
}
