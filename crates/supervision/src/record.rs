//! What supervisors report: one typed record for each change in the life of a child.
//!
//! The audit, the metrics, the traces and the pages read these; nothing in this crate does.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    exit::{Exit, GaveUp},
    path::ChildPath,
};

/// One change in the life of a child or a supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SupervisionRecord {
    /// UUIDv7: whoever writes it down knows by it whether it is written already.
    pub id: Uuid,
    /// Its number among the records of its tree, from 1 and without a gap.
    pub seq: u64,
    /// Whose life.
    pub path: ChildPath,
    /// Which instance: 1 for the first, one more after each restart.
    pub generation: u64,
    /// When.
    pub at: SystemTime,
    /// What happened.
    pub change: Change,
    /// What [`StartChild::observe`](crate::StartChild::observe) answered: where it belongs in the traces.
    pub trace: Option<String>,
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
        /// Whose failure asked for it: the child itself, or one of its group.
        cause: ChildPath,
    },
    /// A supervisor exceeded its restart intensity and ends.
    GaveUp {
        /// What was one too many.
        reason: GaveUp,
    },
    /// The child is at rest: nothing will start it again, short of a restart of its supervisor.
    Stopped,
    /// Records that nobody wrote down for too long, folded into one; its `seq` is that of the last of them.
    Omitted {
        /// How many.
        records: u64,
    },
}
