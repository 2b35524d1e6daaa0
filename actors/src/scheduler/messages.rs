//! What the scheduler understands.

use std::convert::Infallible;

use journeyman_domain::ids::{RunId, TaskId};
use journeyman_store::{NewTask, StoreError, Task};
use serde::{Deserialize, Serialize};

use crate::support::{Message, Reply};

/// A message to the scheduler.
#[derive(Debug)]
pub enum SchedulerMessage {
    /// Add tasks with those that they wait for; all of them, or none.
    AddTasks {
        /// In order.
        tasks: Vec<(NewTask, Vec<TaskId>)>,
        /// Where to.
        reply: Reply<Vec<Task>, StoreError>,
    },
    /// Do with a task what the user wishes.
    Wish {
        /// The task.
        task: TaskId,
        /// What.
        wish: Wish,
        /// Where to.
        reply: Reply<Task, StoreError>,
    },
    /// Time passed.
    Tick,
    /// There may be work, or a wish about a task that runs here.
    Hint {
        /// The task, where one is known.
        task: Option<TaskId>,
    },
    /// Begin nothing more and finish what runs, or go on.
    Hold {
        /// Which.
        held: bool,
        /// Where to.
        reply: Reply<SchedulerSnapshot, Infallible>,
    },
    /// A run's actor is gone; the rows say how it left the run.
    RunEnded {
        /// The run.
        run: RunId,
        /// The epoch of the lease that it worked under: the run may go on under a newer one.
        epoch: i64,
    },
    /// Take nothing new, and stop what runs where it is.
    Drain {
        /// Answered when all runs have stopped.
        reply: Reply<(), Infallible>,
    },
    /// What it does.
    Snapshot {
        /// Where to.
        reply: Reply<SchedulerSnapshot, Infallible>,
    },
}

/// What a user can wish of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Stop it; what was done stays.
    Cancel,
    /// Hold it.
    Pause,
    /// Let one go on that is held or was put aside.
    Resume {
        /// US dollars that its model may cost from now on, all in all.
        budget_usd: Option<f64>,
        /// Seconds that it may take from now on, all in all.
        time_limit_s: Option<i32>,
    },
    /// Consent to an unverified change.
    Approve,
    /// Try a failed or parked one again.
    Retry,
    /// Answer its question.
    Answer {
        /// The words.
        text: String,
    },
}

/// What the scheduler does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerSnapshot {
    /// Runs with an actor here.
    pub running: u32,
    /// How many may run.
    pub max_concurrent: u32,
    /// The runtime stops: nothing new is taken.
    pub draining: bool,
    /// The user wants nothing new to be begun here.
    pub held: bool,
    /// Nothing new is begun on any node.
    pub maintenance: bool,
    /// Claims since it started.
    pub claimed: u64,
    /// Take-overs since it started.
    pub taken_over: u64,
}

impl Message for SchedulerMessage {
    const ACTOR: &'static str = "scheduler";

    fn kind(&self) -> &'static str {
        match self {
            Self::AddTasks { .. } => "AddTasks",
            Self::Wish { .. } => "Wish",
            Self::Tick => "Tick",
            Self::Hint { .. } => "Hint",
            Self::Hold { .. } => "Hold",
            Self::RunEnded { .. } => "RunEnded",
            Self::Drain { .. } => "Drain",
            Self::Snapshot { .. } => "Snapshot",
        }
    }
}
