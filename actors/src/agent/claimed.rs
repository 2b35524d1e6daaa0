//! What a run was claimed with, read anew by whoever goes on with it.

use journeyman_domain::ids::{NodeId, RunId};
use journeyman_domain::status::DriverKind;
use journeyman_store::{Agent, Codebase, Execution, Fence, Run, Store, StoreError, Task};

use super::messages::StopReason;
use crate::models::Models;

/// What a run was claimed with.
pub(super) struct Claimed {
    pub(super) task: Task,
    pub(super) execution: Execution,
    pub(super) run: Run,
    pub(super) codebase: Option<Codebase>,
    pub(super) agent: Agent,
    /// What earlier runs of a task with a budget took of it, in billionths of a US dollar.
    pub(super) earlier_nanousd: u64,
    /// The right to write.
    pub(super) fence: Fence,
}

impl Claimed {
    /// Reads it; [`StoreError::Fenced`] where the node does not hold the run's lease.
    pub(super) async fn load(store: &Store, run: RunId, node: NodeId) -> Result<Self, StoreError> {
        let run = store.runs().get(run).await?;
        let execution = match run.execution_id {
            Some(id) => store.executions().get(id).await?,
            None => return Err(StoreError::Fenced),
        };
        let fence = execution.fence().filter(|fence| fence.node_id == node);
        let fence = fence.ok_or(StoreError::Fenced)?;
        let task = store.tasks().get(execution.task_id).await?;
        let codebase = match task.codebase_id {
            Some(id) => Some(store.codebases().get(id).await?),
            None => None,
        };
        let agent = store.agents().get(run.agent_id).await?;
        let earlier_nanousd = match task.budget_usd {
            Some(_) => store.runs().spent_by_others(task.id, run.id).await?,
            None => 0,
        };
        Ok(Self { task, execution, run, codebase, agent, earlier_nanousd, fence })
    }

    /// How the agent acts: by the task's word, else by the agent's own, else on a model where one is
    /// meant, else without one.
    pub(super) fn driver(&self, models: &Models) -> DriverKind {
        let agent = self.agent.configuration["driver"].as_str();
        let word = self.run.driver.as_deref().or(agent).unwrap_or_default();
        let usual = match self.model(models) {
            Some(_) => DriverKind::Native,
            None => DriverKind::Mechanic,
        };
        word.parse().unwrap_or(usual)
    }

    /// The word for the model: the task's, else the agent's own, else the default.
    pub(super) fn model<'a>(&'a self, models: &'a Models) -> Option<&'a str> {
        models.word(self.run.model.as_deref(), self.agent.configuration["model"].as_str())
    }

    /// The program of the driver `command`: the task's, else the agent's.
    pub(super) fn command(&self) -> Vec<String> {
        if !self.task.command.is_empty() {
            return self.task.command.clone();
        }
        let words = self.agent.configuration["command"].as_array().into_iter().flatten();
        words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    }
}

/// Why work on a task is to stop, where its user wishes so.
pub(super) fn wish_of(task: &Task) -> Option<StopReason> {
    StopReason::wished(task.cancel_requested_at.is_some(), task.pause_requested_at.is_some())
}
