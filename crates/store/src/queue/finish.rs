//! The end of an execution: its row, its run's, its task's, and whatever waits for the task, in one
//! transaction behind the fence.

use journeyman_domain::ids::{AgentId, TaskId};
use journeyman_domain::schedule::TaskAfter;
use journeyman_domain::status::{Status, WaitingFor};
use journeyman_faults::{around, points};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Fence, Queue};
use crate::audit::record_event;
use crate::tables::errors::{self, NewErrorReport};
use crate::tables::tasks::{refresh, refresh_dependants, wishes::close_suspended};
use crate::{Acting, StoreError, TASKS_CHANNEL, Task};

/// How an execution ended, or why it is put aside.
#[derive(Clone, Debug)]
pub struct Finish {
    /// Of the execution and its run: completed, failed, cancelled, timeout, or retrying where
    /// another attempt follows. `waiting` and `paused` put it aside: the next claim of the task
    /// goes on with it.
    pub status: Status,
    /// What becomes of the task.
    pub task: TaskAfter,
    /// Why it failed.
    pub error_message: Option<String>,
    /// Free; shown with the execution.
    pub result: Value,
    /// The last verdict.
    pub verification: Option<Value>,
    /// The runtime's judgement.
    pub verified: Option<bool>,
    /// The agent's own word.
    pub done_by_word: Option<bool>,
    /// Where the change is.
    pub branch: Option<String>,
    /// What it started from.
    pub base_commit: Option<String>,
    /// The delivered commit.
    pub head_commit: Option<String>,
    /// Who shall make the next attempt, where that is another one.
    pub next_agent: Option<AgentId>,
    /// What went wrong, classified.
    pub errors: Vec<NewErrorReport>,
}

impl Finish {
    /// An end without a change.
    pub fn new(status: Status, task: TaskAfter) -> Self {
        Self {
            status,
            task,
            error_message: None,
            result: json!({}),
            verification: None,
            verified: None,
            done_by_word: None,
            branch: None,
            base_commit: None,
            head_commit: None,
            next_agent: None,
            errors: Vec::new(),
        }
    }
}

const EXECUTION: &str = "UPDATE task_executions SET status = $4::status_type, error_message = $5, \
     result = $6, verification = coalesce($7, verification), branch = coalesce($8, branch), \
     base_commit = coalesce($9, base_commit), head_commit = coalesce($10, head_commit), \
     lease_expires_at = NULL, node_id = CASE WHEN $11 THEN NULL ELSE node_id END, \
     completed_at = CASE WHEN $11 THEN NULL ELSE now() END, duration_ms = CASE WHEN NOT $11 THEN \
         greatest(0, extract(epoch FROM now() - started_at) * 1000)::bigint END \
     WHERE id = $1 AND node_id = $2 AND lease_epoch = $3 AND status = 'running' RETURNING task_id";
const RUNS: &str = "UPDATE agent_tasks SET status = $2::status_type, error_message = $3, \
     result = $4, completed_at = CASE WHEN $5 THEN NULL ELSE now() END, \
     uncached_input_tokens = u.uncached, cache_read_tokens = u.cached, \
     cache_write_tokens = u.written, output_tokens = u.output, reasoning_tokens = u.reasoning, \
     cost_estimate = u.cost, price_version = u.version \
     FROM agent_tasks r CROSS JOIN LATERAL (SELECT \
         coalesce(sum(uncached_input_tokens), 0) AS uncached, \
         coalesce(sum(cache_read_tokens), 0) AS cached, \
         coalesce(sum(cache_write_tokens), 0) AS written, coalesce(sum(output_tokens), 0) AS output, \
         coalesce(sum(reasoning_tokens), 0) AS reasoning, \
         coalesce(sum(cost_nanousd), 0) / 1e9 AS cost, max(price_version) AS version \
         FROM model_calls WHERE run_id = r.id) u \
     WHERE agent_tasks.id = r.id AND r.execution_id = $1 AND agent_tasks.status = 'running' \
     RETURNING agent_tasks.agent_id";
const USED: &str = "UPDATE codegen_agents SET last_used_at = now() WHERE id = ANY ($1)";
// What the user wishes by now is not lost, whatever the execution says: that it is cancelled, that it is held, or that
// what it was held by is taken back.
const TASK: &str = "UPDATE tasks SET updated_at = now(), \
     status = CASE WHEN cancelled THEN 'cancelled' WHEN paused THEN 'paused' \
         WHEN $2::status_type = 'paused' THEN 'pending' ELSE $2::status_type END, \
     waiting_for = CASE WHEN NOT cancelled AND NOT paused THEN $3::waiting_reason END, \
     wake_at = CASE WHEN NOT cancelled AND NOT paused THEN now() + make_interval(secs => $4::float8) END, \
     completed_at = CASE WHEN cancelled OR $5 THEN now() END, \
     error = $6, verified = coalesce($7, verified), done_by_word = coalesce($8, done_by_word), \
     branch = coalesce($9, branch), base_commit = coalesce($10, base_commit), \
     head_commit = coalesce($11, head_commit), pause_requested_at = NULL, \
     agent_id = coalesce($12, agent_id) \
     FROM (SELECT id AS found, cancel_requested_at IS NOT NULL AND NOT $5 AS cancelled, \
         pause_requested_at IS NOT NULL AND NOT $5 AS paused FROM tasks WHERE id = $1 FOR UPDATE) c \
     WHERE id = c.found AND status = 'running' RETURNING status::text";

pub(crate) const ALL: &[&str] = &[EXECUTION, RUNS, USED, TASK];

impl Queue<'_> {
    /// Ends an execution, or puts it aside; what this owner wrote before, the answer being lost, is not written again.
    /// [`StoreError::Fenced`] where the lease is lost: then nothing is written.
    pub async fn finish(
        &self,
        acting: &Acting<'_>,
        fence: Fence,
        finish: &Finish,
    ) -> Result<Task, StoreError> {
        let aside = matches!(finish.status, Status::Waiting | Status::Paused);
        let fence = self.unless_out(fence).await?;
        let mut transaction = self.0.begin(acting).await?;
        let task: Option<Uuid> = sqlx::query_scalar(EXECUTION)
            .bind(fence.execution_id.as_uuid())
            .bind(fence.node_id.as_uuid())
            .bind(fence.lease_epoch)
            .bind(finish.status.as_str())
            .bind(&finish.error_message)
            .bind(&finish.result)
            .bind(&finish.verification)
            .bind(&finish.branch)
            .bind(&finish.base_commit)
            .bind(&finish.head_commit)
            .bind(aside)
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(task) = task.map(TaskId::from_uuid) else {
            transaction.rollback().await?;
            return self.finished_before(fence, finish.status).await;
        };
        let agents: Vec<Uuid> = sqlx::query_scalar(RUNS)
            .bind(fence.execution_id.as_uuid())
            .bind(finish.status.as_str())
            .bind(&finish.error_message)
            .bind(&finish.result)
            .bind(aside)
            .fetch_all(&mut *transaction)
            .await?;
        sqlx::query(USED).bind(agents).execute(&mut *transaction).await?;
        let status = settle(&mut transaction, task, finish).await?;
        for report in &finish.errors {
            errors::insert(&mut transaction, report).await?;
        }
        let attributes = json!({
            "task_id": task, "status": finish.status, "task_status": status,
            "verified": finish.verified, "epoch": fence.lease_epoch,
        });
        let ids = [fence.execution_id.as_uuid()];
        let kind = if aside { "execution_put_aside" } else { "execution_finished" };
        record_event(&mut transaction, acting, kind, "task_executions", &ids, &attributes).await?;
        around(points::FINISH, transaction.commit()).await?;
        self.0.hint(TASKS_CHANNEL, task).await;
        self.0.tasks().get(task).await
    }

    /// The task of an execution that this very owner has left like this already.
    async fn finished_before(&self, fence: Fence, status: Status) -> Result<Task, StoreError> {
        let execution = self.0.executions().get(fence.execution_id).await?;
        if (execution.lease_epoch, execution.status) != (fence.lease_epoch, status) {
            return Err(StoreError::Fenced);
        }
        self.0.tasks().get(execution.task_id).await
    }
}

/// The task's row and what depends on it.
async fn settle(
    connection: &mut sqlx::PgConnection,
    task: TaskId,
    finish: &Finish,
) -> Result<Option<String>, StoreError> {
    let after = &finish.task;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a delay are far below 2^52")]
    let wake_in_s = after.wake_in_ms.map(|ms| ms as f64 / 1000.0);
    // Whether it is ready is judged below, where it gets its place, too.
    let state = if after.status == Status::Ready { Status::Pending } else { after.status };
    let status: Option<String> = sqlx::query_scalar(TASK)
        .bind(task.as_uuid())
        .bind(state.as_str())
        .bind(after.waiting_for.map(WaitingFor::as_str))
        .bind(wake_in_s)
        .bind(after.status.is_final())
        .bind(&after.error)
        .bind(finish.verified)
        .bind(finish.done_by_word)
        .bind(&finish.branch)
        .bind(&finish.base_commit)
        .bind(&finish.head_commit)
        .bind(finish.next_agent.map(AgentId::as_uuid))
        .fetch_optional(&mut *connection)
        .await?;
    let parsed: Option<Status> = status.as_deref().and_then(|word| word.parse().ok());
    if parsed.is_some_and(Status::is_final) {
        close_suspended(connection, task).await?;
    } else if parsed == Some(Status::Pending) {
        refresh(connection, &[task.as_uuid()]).await?;
    }
    refresh_dependants(connection, task).await?;
    Ok(status)
}
