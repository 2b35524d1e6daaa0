//! What supervisors report: one typed record for each change in the life of a child.
//!
//! The audit, the metrics and the pages read these; nothing in this crate does.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::{
    exit::{Exit, GaveUp},
    path::ChildPath,
};

/// One change in the life of a child or a supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SupervisionRecord {
    /// Whose life.
    pub path: ChildPath,
    /// Which instance: 1 for the first, one more after each restart.
    pub generation: u64,
    /// When.
    pub at: SystemTime,
    /// What happened.
    pub change: Change,
}

/// What happened to a child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Change {
    /// An instance runs.
    Started,
    /// An instance could not be started.
    StartFailed {
        /// The error with its sources.
        message: String,
    },
    /// A health probe was missed so often in a row that the instance is being killed.
    Unhealthy {
        /// Missed probes in a row.
        misses: u32,
    },
    /// An instance ended.
    Exited {
        /// How.
        exit: Exit,
    },
    /// A new instance will be started.
    Restarting {
        /// The delay before the start.
        after: Duration,
    },
    /// A supervisor exceeded its restart intensity and ends.
    GaveUp {
        /// What was one too many.
        reason: GaveUp,
    },
    /// The child is at rest: nothing will start it again, short of a restart of its supervisor.
    Stopped,
}
