//! What the outbox understands, and the typed way to it.

use std::convert::Infallible;
use std::time::Duration;

use journeyman_domain::ids::{EffectId, TaskId};
use journeyman_store::StoreError;
use journeyman_supervision::Directory;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::support::{AskError, Mailbox, Message, Reply};

/// Where the outbox is.
const PATH: &str = "root/orchestration/outbox";
/// The pause before a fact that found no place is told again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a word of the user may take.
const RESEND_LIMIT: Duration = Duration::from_secs(30);

/// A message to the outbox.
#[derive(Debug)]
pub enum OutboxMessage {
    /// Time to look whether something is due.
    Tick,
    /// Something was decided, or is to be sent again.
    Hint,
    /// An attempt is over, and written down as far as it could be.
    AttemptEnded {
        /// At which effect.
        effect: EffectId,
        /// How: done, failed, retry, released, fenced, unrecorded or panicked.
        outcome: &'static str,
    },
    /// Send what failed of a task again, and what waits at once.
    Resend {
        /// The task.
        task: TaskId,
        /// Where to.
        reply: Reply<(), StoreError>,
    },
    /// What it does.
    Snapshot {
        /// Where to.
        reply: Reply<OutboxSnapshot, Infallible>,
    },
}

/// What the outbox does, and has done since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxSnapshot {
    /// Attempts under way.
    pub sending: usize,
    /// Effects that came about.
    pub done: u64,
    /// Effects that were given up.
    pub failed: u64,
}

impl Message for OutboxMessage {
    const ACTOR: &'static str = "outbox";

    fn kind(&self) -> &'static str {
        match self {
            Self::Tick => "Tick",
            Self::Hint => "Hint",
            Self::AttemptEnded { .. } => "AttemptEnded",
            Self::Resend { .. } => "Resend",
            Self::Snapshot { .. } => "Snapshot",
        }
    }
}

/// The typed way to the outbox.
#[derive(Clone, Debug)]
pub struct OutboxHandle(Mailbox<OutboxMessage>);

impl OutboxHandle {
    /// The way from an actor, or from the edge that a request came in by.
    pub fn new(directory: Directory, sender: &'static str) -> Self {
        Self(Mailbox::new(directory, PATH, sender))
    }

    /// Says that there may be something to send. It is found a little later where this is lost.
    pub fn hint(&self) -> bool {
        self.0.tell(OutboxMessage::Hint)
    }

    /// Has what failed of a task sent again, from this machine, and what waits at once.
    pub async fn resend(&self, task: TaskId) -> Result<(), AskError<StoreError>> {
        let about = self.0.about(task);
        about.order(RESEND_LIMIT, |reply| OutboxMessage::Resend { task, reply }).await
    }

    /// What it does.
    pub async fn snapshot(&self) -> Result<OutboxSnapshot, AskError<Infallible>> {
        self.0.ask(Duration::from_secs(2), |reply| OutboxMessage::Snapshot { reply }).await
    }

    /// A fact from one of its own tasks: it is told until it has arrived or the task shall end.
    pub(super) async fn fact(&self, stop: &CancellationToken, message: impl Fn() -> OutboxMessage) {
        while !self.0.tell(message()) {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}
