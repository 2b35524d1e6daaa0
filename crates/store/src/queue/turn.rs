//! What a ready task still waits for.

use journeyman_domain::ids::TaskId;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::Queue;
use super::ready::capability;
use crate::StoreError;

/// What is under way around a ready task, and its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromRow)]
pub struct Turn {
    /// Its codebase's name.
    pub codebase: Option<String>,
    /// Runs of its codebase at once, where that is limited.
    pub codebase_most: Option<i64>,
    /// Runs of its codebase that are under way.
    pub codebase_runs: i64,
    /// The wanted agent's name.
    pub agent: Option<String>,
    /// Whether that one gets work.
    pub agent_is_active: Option<bool>,
    /// Runs of that agent at once, where they are limited.
    pub agent_most: Option<i64>,
    /// Runs of that agent that are under way.
    pub agent_runs: i64,
    /// All runs that are under way.
    pub runs: i64,
    /// Whether an active agent can do it; one that can do everything is the last resort.
    pub is_anyone_able: bool,
}

const TURN: &str = concat!(
    "SELECT c.name AS codebase, \
         CASE WHEN jsonb_typeof(c.settings -> 'max_concurrent') = 'number' \
             THEN (c.settings -> 'max_concurrent')::bigint END AS codebase_most, \
         (SELECT count(*) FROM task_executions e JOIN tasks o ON o.id = e.task_id \
             WHERE e.status = 'running' AND o.codebase_id = t.codebase_id) AS codebase_runs, \
         g.name AS agent, g.is_active AS agent_is_active, \
         CASE WHEN jsonb_typeof(g.configuration -> 'max_concurrent') = 'number' \
             THEN (g.configuration -> 'max_concurrent')::bigint END AS agent_most, \
         (SELECT count(*) FROM task_executions e JOIN agent_tasks r ON r.execution_id = e.id \
             WHERE e.status = 'running' AND r.status = 'running' AND r.agent_id = t.agent_id) AS agent_runs, \
         (SELECT count(*) FROM task_executions e WHERE e.status = 'running') AS runs, \
         t.driver IS NOT DISTINCT FROM 'none' OR EXISTS (SELECT FROM codegen_agents a WHERE a.is_active AND ( \
             a.name = 'General Assistant' OR a.capabilities ? (",
    capability!(),
    "))) AS is_anyone_able \
     FROM tasks t LEFT JOIN codebases c ON c.id = t.codebase_id \
     LEFT JOIN codegen_agents g ON g.id = t.agent_id WHERE t.id = $1"
);

pub(crate) const ALL: &[&str] = &[TURN];

impl Queue<'_> {
    /// What a ready task still waits for.
    pub async fn turn(&self, task: TaskId) -> Result<Turn, StoreError> {
        let found = sqlx::query_as(TURN).bind(task.as_uuid()).fetch_optional(self.0.pool()).await?;
        found.ok_or_else(|| StoreError::not_found("task", task))
    }
}
