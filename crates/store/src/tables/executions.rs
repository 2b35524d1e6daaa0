//! `task_executions`: one attempt at a task, and the lease on it. Written by [`crate::queue`].

use std::time::Duration;

use chrono::{DateTime, Utc};
use journeyman_domain::ids::{ExecutionId, NodeId, TaskId};
use journeyman_domain::status::Status;
use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::column::{MaybeId, Text};
use crate::queue::Fence;
use crate::{Acting, Store, StoreError};

/// One attempt at a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Execution {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: ExecutionId,
    /// The task.
    #[sqlx(try_from = "Uuid")]
    pub task_id: TaskId,
    /// The type of the agent that works on it.
    pub agent_type: Option<String>,
    /// Running, or how it ended; waiting and paused ones go on when their task is claimed again.
    #[sqlx(try_from = "Text<Status>")]
    pub status: Status,
    /// From 1.
    pub attempt: i32,
    /// Who holds the lease.
    #[sqlx(try_from = "MaybeId")]
    pub node_id: Option<NodeId>,
    /// Grows with every owner.
    pub lease_epoch: i64,
    /// When anybody may take it over.
    pub lease_expires_at: Option<DateTime<Utc>>,
    /// Take-overs in a row without a new step.
    pub reclaims: i32,
    /// The journal's length at the last claim or take-over.
    pub last_step_seq: i32,
    /// The folder that it works in.
    pub workspace: Option<String>,
    /// Where the change is.
    pub branch: Option<String>,
    /// What it started from.
    pub base_commit: Option<String>,
    /// The delivered commit.
    pub head_commit: Option<String>,
    /// The verdict.
    pub verification: Option<Value>,
    /// Free.
    pub result: Value,
    /// Why it failed.
    pub error_message: Option<String>,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
    /// When it was claimed first.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// Wall time from start to end.
    pub duration_ms: Option<i64>,
    /// Seconds from when the task could be claimed to its claim.
    pub wait_s: Option<f64>,
}

impl Execution {
    /// Milliseconds from when the task could be claimed to its claim.
    pub fn wait_ms(&self) -> Option<i64> {
        let waited = Duration::try_from_secs_f64(self.wait_s?).ok()?;
        i64::try_from(waited.as_millis()).ok()
    }

    /// The fence of its present owner.
    pub fn fence(&self) -> Option<Fence> {
        let node_id = self.node_id?;
        Some(Fence { execution_id: self.id, node_id, lease_epoch: self.lease_epoch })
    }
}

macro_rules! columns {
    () => {
        "id, task_id, agent_type, status::text, attempt, node_id, lease_epoch, lease_expires_at, \
         reclaims, last_step_seq, workspace, branch, base_commit, head_commit, verification, \
         result, error_message, traceparent, started_at, completed_at, duration_ms, \
         (metrics ->> 'wait_s')::float8 AS wait_s"
    };
}
const GET: &str = concat!("SELECT ", columns!(), " FROM task_executions WHERE id = $1");
const GET_MANY: &str = concat!("SELECT ", columns!(), " FROM task_executions WHERE id = ANY ($1)");
const OF_TASK: &str =
    concat!("SELECT ", columns!(), " FROM task_executions WHERE task_id = $1 ORDER BY attempt");
const SET_TRACE: &str = "UPDATE task_executions SET traceparent = $4 \
     WHERE id = $1 AND node_id = $2 AND lease_epoch = $3 AND status = 'running'";

pub(crate) const ALL: &[&str] = &[SET_TRACE, GET, GET_MANY, OF_TASK];

/// The table `task_executions`.
#[derive(Clone, Copy, Debug)]
pub struct Executions<'a>(&'a Store);

impl Store {
    /// Attempts at tasks.
    pub const fn executions(&self) -> Executions<'_> {
        Executions(self)
    }
}

pub(crate) async fn get_many(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<Execution>, StoreError> {
    Ok(sqlx::query_as(GET_MANY).bind(ids).fetch_all(connection).await?)
}

impl Executions<'_> {
    /// One execution.
    pub async fn get(&self, id: ExecutionId) -> Result<Execution, StoreError> {
        let found = sqlx::query_as(GET).bind(id.as_uuid()).fetch_optional(self.0.pool()).await?;
        found.ok_or_else(|| StoreError::not_found("execution", id))
    }

    /// All attempts at a task, the first one first.
    pub async fn of_task(&self, task: TaskId) -> Result<Vec<Execution>, StoreError> {
        Ok(sqlx::query_as(OF_TASK).bind(task.as_uuid()).fetch_all(self.0.pool()).await?)
    }

    /// Records the trace that the execution's present life belongs to.
    pub async fn set_trace(
        &self,
        acting: &Acting<'_>,
        fence: Fence,
        trace: journeyman_telemetry::TraceContext,
    ) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let done = sqlx::query(SET_TRACE)
            .bind(fence.execution_id.as_uuid())
            .bind(fence.node_id.as_uuid())
            .bind(fence.lease_epoch)
            .bind(trace.to_string())
            .execute(&mut *transaction)
            .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Fenced);
        }
        around(points::SET_TRACE, transaction.commit()).await?;
        Ok(())
    }
}
