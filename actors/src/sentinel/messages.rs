//! What the sentinel understands, and the typed way to it.

use std::convert::Infallible;
use std::time::Duration;

use journeyman_supervision::Directory;
use serde::{Deserialize, Serialize};

use crate::support::{AskError, Mailbox, Message, Reply};

/// A message to the sentinel.
#[derive(Debug)]
pub enum SentinelMessage {
    /// Time to look.
    Tick,
    /// What it sees.
    Snapshot {
        /// Where to.
        reply: Reply<SentinelSnapshot, Infallible>,
    },
}

/// What the sentinel sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentinelSnapshot {
    /// The grade of the whole: healthy, degraded, unhealthy; empty before the first look.
    pub status: String,
    /// Why it is not healthy, one sentence each.
    pub reasons: Vec<String>,
}

impl Message for SentinelMessage {
    const ACTOR: &'static str = "sentinel";

    fn kind(&self) -> &'static str {
        match self {
            Self::Tick => "Tick",
            Self::Snapshot { .. } => "Snapshot",
        }
    }
}

/// The typed way to the sentinel.
#[derive(Clone, Debug)]
pub struct SentinelHandle(Mailbox<SentinelMessage>);

impl SentinelHandle {
    /// The way from an actor.
    pub fn new(directory: Directory, sender: &'static str) -> Self {
        Self(Mailbox::new(directory, "root/sentinel", sender))
    }

    pub(super) fn tick(&self) -> bool {
        self.0.tell(SentinelMessage::Tick)
    }

    /// What it sees.
    pub async fn snapshot(&self) -> Result<SentinelSnapshot, AskError<Infallible>> {
        self.0.ask(Duration::from_secs(2), |reply| SentinelMessage::Snapshot { reply }).await
    }
}
