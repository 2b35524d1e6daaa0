//! The typed way to the scheduler.

use std::convert::Infallible;
use std::time::Duration;

use journeyman_domain::ids::{RunId, TaskId};
use journeyman_store::{NewTask, StoreError, Task};
use journeyman_supervision::Directory;

use super::messages::{SchedulerMessage, SchedulerSnapshot, Wish};
use crate::support::{AskError, Mailbox};

/// Where the scheduler is.
const PATH: &str = "root/scheduler";
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How much longer for each task that is added.
const EACH: Duration = Duration::from_millis(1);

/// The typed way to the scheduler.
#[derive(Clone, Debug)]
pub struct SchedulerHandle(Mailbox<SchedulerMessage>);

impl SchedulerHandle {
    /// The way from an actor, or from the edge that a request came in by.
    pub fn new(directory: Directory, sender: &'static str) -> Self {
        Self(Mailbox::new(directory, PATH, sender))
    }

    /// Adds tasks with those that they wait for; all of them, or none.
    pub async fn add(
        &self,
        tasks: Vec<(NewTask, Vec<TaskId>)>,
    ) -> Result<Vec<Task>, AskError<StoreError>> {
        let count = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
        let limit = LIMIT + EACH * count;
        self.0.order(limit, |reply| SchedulerMessage::AddTasks { tasks, reply }).await
    }

    /// Does with a task what the user wishes; the task as it is then.
    pub async fn wish(&self, task: TaskId, wish: Wish) -> Result<Task, AskError<StoreError>> {
        let about = self.0.about(task);
        about.order(LIMIT, |reply| SchedulerMessage::Wish { task, wish, reply }).await
    }

    /// Says that there may be work.
    pub fn hint(&self) -> bool {
        self.0.tell(SchedulerMessage::Hint { task: None })
    }

    /// Says that something about a task changed elsewhere.
    pub(super) fn hint_about(&self, task: Option<TaskId>) -> bool {
        self.0.tell(SchedulerMessage::Hint { task })
    }

    /// Lets this node begin nothing more (`true`), or go on.
    pub async fn hold(&self, held: bool) -> Result<SchedulerSnapshot, AskError<Infallible>> {
        self.0.order(LIMIT, |reply| SchedulerMessage::Hold { held, reply }).await
    }

    pub(super) fn tick(&self) -> bool {
        self.0.tell(SchedulerMessage::Tick)
    }

    /// Says that the actor is gone that worked on a run in this epoch.
    pub fn run_ended(&self, run: RunId, epoch: i64) -> bool {
        self.0.tell(SchedulerMessage::RunEnded { run, epoch })
    }

    /// Stops all runs where they are and takes nothing new.
    pub async fn drain(&self) -> Result<(), AskError<Infallible>> {
        self.0.ask(LIMIT, |reply| SchedulerMessage::Drain { reply }).await
    }

    /// What it does.
    pub async fn snapshot(&self) -> Result<SchedulerSnapshot, AskError<Infallible>> {
        self.0.ask(Duration::from_secs(2), |reply| SchedulerMessage::Snapshot { reply }).await
    }
}
