//! What a run's actor understands.

use std::convert::Infallible;

use serde::{Deserialize, Serialize};

use crate::support::{Message, Reply};

/// A message to the actor of one run.
#[derive(Debug)]
pub enum RunMessage {
    /// Stop where you are.
    Stop {
        /// Why.
        reason: StopReason,
    },
    /// What the run does now.
    Snapshot {
        /// Where to.
        reply: Reply<RunSnapshot, Infallible>,
    },
}

/// Why a run shall stop before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The user cancelled the task: it ends here.
    Cancelled,
    /// The user holds the task: it goes on from here later.
    Paused,
    /// The runtime stops: any node may go on from here at once.
    Shutdown,
}

impl StopReason {
    /// What the user wishes of a task, where that is to stop it.
    pub const fn wished(cancel: bool, pause: bool) -> Option<Self> {
        match (cancel, pause) {
            (true, _) => Some(Self::Cancelled),
            (false, true) => Some(Self::Paused),
            (false, false) => None,
        }
    }
}

/// What a run does now, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSnapshot {
    /// One line: "round 1: clippy".
    pub now: String,
}

impl Message for RunMessage {
    const ACTOR: &'static str = "run";

    fn kind(&self) -> &'static str {
        match self {
            Self::Stop { .. } => "Stop",
            Self::Snapshot { .. } => "Snapshot",
        }
    }
}
