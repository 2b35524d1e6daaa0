//! Another agent for a task whose agent could not do it.

use journeyman_domain::ids::{AgentId, TaskId};
use journeyman_domain::schedule::{AgentWay, other_agent};
use journeyman_domain::status::DriverKind;
use journeyman_store::{Agent, Store, StoreError};

use crate::models::Models;

/// The agent that shall try next, where there is one that works otherwise.
pub(crate) async fn next_agent(
    store: &Store,
    models: &Models,
    task: TaskId,
) -> Result<Option<AgentId>, StoreError> {
    let tried: Vec<_> = store.runs().of_task(task).await?.iter().map(|run| run.agent_id).collect();
    let task = store.tasks().get(task).await?;
    let agents = store.agents().list().await?;
    let agents: Vec<_> =
        agents.iter().map(|agent| way(agent, models, task.model.as_deref())).collect();
    // A driver that the task names itself is the same with every agent.
    if task.driver.is_some() {
        return Ok(None);
    }
    Ok(other_agent(&agents, &tried, task.agent_id))
}

fn way(agent: &Agent, models: &Models, wanted: Option<&str>) -> AgentWay {
    let text = |key: &str| agent.configuration[key].as_str().unwrap_or_default().to_owned();
    let driver = Some(text("driver")).filter(|word| !word.is_empty());
    let command = agent.configuration["command"].as_array().into_iter().flatten();
    let command = command.filter_map(|word| word.as_str().map(str::to_owned)).collect();
    let model = models.word(wanted, agent.configuration["model"].as_str());
    let usual = if model.is_some() { DriverKind::Native } else { DriverKind::Mechanic };
    let driver = driver.unwrap_or_else(|| usual.to_string());
    // Without a driver that uses it, a model makes no difference.
    let model = model.filter(|_| driver == DriverKind::Native.as_str()).unwrap_or_default();
    let model = model.to_owned();
    AgentWay { id: agent.id, active: agent.is_active, way: (driver, command, model) }
}
