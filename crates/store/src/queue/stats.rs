//! What the queue holds, for a person's eye.

use chrono::{DateTime, Utc};
use journeyman_domain::ids::NodeId;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::Queue;
use crate::StoreError;

/// Tasks that may be claimed and are alike to a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct ReadyLane {
    /// The codebase's name.
    pub codebase: Option<String>,
    /// The wanted agent's name.
    pub agent: Option<String>,
    /// What its agent must be able to.
    pub capability: String,
    /// No agent works on them.
    pub is_runless: bool,
    /// How many.
    pub tasks: i64,
    /// When the oldest of them was added.
    pub oldest: Option<DateTime<Utc>>,
}

/// Tasks in a state that is neither ready nor completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromRow)]
pub struct StateCount {
    /// The state.
    pub status: String,
    /// What they wait for.
    pub waiting_for: Option<String>,
    /// How many.
    pub tasks: i64,
}

/// Executions under way of one agent on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromRow)]
pub struct RunningAgent {
    /// The agent's name.
    pub agent: String,
    /// The node; `None` for one that was given back.
    #[sqlx(try_from = "crate::column::MaybeId")]
    pub node: Option<NodeId>,
    /// How many.
    pub runs: i64,
}

/// What happened lately.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Pace {
    /// Executions that began within the last hour.
    pub begun: i64,
    /// Of them, those that ended well.
    pub completed: i64,
    /// Of them, those that did not.
    pub failed: i64,
    /// Seconds that half of them waited at the most, from when their tasks could be claimed.
    pub wait_p50_s: Option<f64>,
    /// The same for 99 of 100.
    pub wait_p99_s: Option<f64>,
}

/// The queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueStats {
    /// What may be claimed.
    pub ready: Vec<ReadyLane>,
    /// The rest, but for what is completed.
    pub states: Vec<StateCount>,
    /// What is being worked on.
    pub running: Vec<RunningAgent>,
    /// The last hour.
    pub last_hour: Pace,
}

const READY: &str = "SELECT c.name AS codebase, g.name AS agent, l.capability, l.is_runless, \
         sum(cardinality(q.ids))::bigint AS tasks, (SELECT t.created_at FROM tasks t WHERE t.id = \
             (array_agg(q.first_id ORDER BY q.first_id))[1]) AS oldest \
     FROM ready_tasks q JOIN queue_lanes l ON l.id = q.lane_id LEFT JOIN codebases c ON c.id = l.codebase_id \
     LEFT JOIN codegen_agents g ON g.id = l.agent_id \
     GROUP BY l.id, c.name, g.name, l.capability, l.is_runless ORDER BY tasks DESC, l.id";
const STATES: &str = "SELECT status::text, waiting_for::text, count(*) AS tasks FROM task_marks \
     GROUP BY task_marks.status, task_marks.waiting_for ORDER BY 1, 2";
const RUNNING: &str = "SELECT g.name AS agent, e.node_id AS node, count(*) AS runs FROM task_executions e \
     JOIN agent_tasks r ON r.execution_id = e.id AND r.status = 'running' \
     JOIN codegen_agents g ON g.id = r.agent_id WHERE e.status = 'running' GROUP BY 1, 2 ORDER BY 1, 2";
const PACE: &str = "SELECT count(*) AS begun, count(*) FILTER (WHERE status = 'completed') AS completed, \
     count(*) FILTER (WHERE status IN ('failed', 'timeout', 'retrying')) AS failed, \
     percentile_cont(0.5) WITHIN GROUP (ORDER BY (metrics ->> 'wait_s')::float8) AS wait_p50_s, \
     percentile_cont(0.99) WITHIN GROUP (ORDER BY (metrics ->> 'wait_s')::float8) AS wait_p99_s \
     FROM task_executions WHERE created_at > now() - interval '1 hour'";

pub(crate) const ALL: &[&str] = &[READY, STATES, RUNNING, PACE];

impl Queue<'_> {
    /// What the queue holds. An id that is not ready any more, and was not passed over yet, is counted.
    pub async fn stats(&self) -> Result<QueueStats, StoreError> {
        let pool = self.0.pool();
        Ok(QueueStats {
            ready: sqlx::query_as(READY).fetch_all(pool).await?,
            states: sqlx::query_as(STATES).fetch_all(pool).await?,
            running: sqlx::query_as(RUNNING).fetch_all(pool).await?,
            last_hour: sqlx::query_as(PACE).fetch_one(pool).await?,
        })
    }
}
