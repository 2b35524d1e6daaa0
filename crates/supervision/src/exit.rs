//! How an instance of a child ended, and how a whole supervisor ended.
//!
//! Owns the translation from ractor's exit strings, so that no other module compares strings. Never decides what
//! follows from an exit.

use std::{fmt, time::Duration};

use ractor::ActorProcessingErr;
use serde::{Deserialize, Serialize};

use crate::path::ChildPath;

/// The reason that supervisors give when they stop a child.
pub(crate) const SHUTDOWN: &str = "shutdown";

/// How one instance of a child ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It stopped by its own wish.
    Normal,
    /// Its supervisor asked it to stop, and it did.
    Shutdown,
    /// It worked its mailbox off and stopped.
    Drained,
    /// It was killed: it overran its time to stop, or its health probe failed, or its supervisor died.
    Killed,
    /// Its task was aborted from outside.
    Cancelled,
    /// It panicked or returned an error; the text says which.
    Failed(String),
}

impl Exit {
    /// Whether a transient child stays down after this exit. A kill is not normal.
    pub fn is_normal(&self) -> bool {
        match self {
            Self::Normal | Self::Shutdown | Self::Drained => true,
            Self::Killed | Self::Cancelled | Self::Failed(_) => false,
        }
    }

    /// ractor reports every end without a panic as a termination with an optional text.
    pub(crate) fn from_reason(reason: Option<&str>) -> Self {
        match reason {
            Some("killed") => Self::Killed,
            Some("actor_task_cancelled") => Self::Cancelled,
            Some("Drained") => Self::Drained,
            Some(SHUTDOWN) => Self::Shutdown,
            _ => Self::Normal,
        }
    }

    pub(crate) fn from_error(error: &ActorProcessingErr) -> Self {
        Self::Failed(chain(error.as_ref()))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Drained => f.write_str("drained"),
            Self::Killed => f.write_str("killed"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Failed(message) => write!(f, "failed: {message}"),
        }
    }
}

/// An error and all its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        line = format!("{line}: {source}");
        next = source.source();
    }
    line
}

/// A supervisor restarted more often than its spec permits, stopped its children and ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error(
    "{supervisor} gave up: more than {intensity} restarts within {period:?}, the last one for {child} ({exit})"
)]
pub struct GaveUp {
    /// The supervisor that gave up.
    pub supervisor: ChildPath,
    /// The child whose failure was one too many.
    pub child: ChildPath,
    /// How that child ended; for one that did not start, the text of the start's error.
    pub exit: Exit,
    /// The restarts that were permitted within `period`.
    pub intensity: u32,
    /// The sliding window.
    pub period: Duration,
}

/// Why a whole tree ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Somebody stopped it; every child was stopped in order.
    Stopped,
    /// A significant child of the root finished, and the root's `auto_shutdown` asks to stop then.
    AutoShutdown,
    /// The root exceeded its restart intensity; every child was stopped in order.
    GaveUp(GaveUp),
    /// The root itself was killed or failed, so its children were killed without order.
    Failed,
}
