//! Parking: a task that cannot go on by itself, and must not be tried again in a loop, waits for a person, with the
//! evidence of why.

use journeyman_domain::ids::TaskId;
use journeyman_faults::{around, points};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Fence, Queue};
use crate::audit::record_event;
use crate::tables::tasks::refresh_dependants;
use crate::{Acting, StoreError, TASKS_CHANNEL};

const HELD: &str = "SELECT task_id FROM task_executions WHERE id = $1 AND node_id = $2 \
     AND lease_epoch = $3 AND status = 'running' FOR UPDATE";
const EXECUTION: &str = "UPDATE task_executions SET status = 'failed', completed_at = now(), \
     error_message = $2 WHERE id = $1";
const RUNS: &str = "UPDATE agent_tasks SET status = 'failed', completed_at = now(), \
     error_message = $2 WHERE execution_id = $1 AND status = 'running'";
// A cancellation that was asked for is not lost: there is nothing left to stop.
const TASK: &str = "UPDATE tasks SET updated_at = now(), error = $2, pause_requested_at = NULL, \
     status = CASE WHEN cancel_requested_at IS NULL THEN 'parked' ELSE 'cancelled' END::status_type, \
     completed_at = CASE WHEN cancel_requested_at IS NOT NULL THEN now() END WHERE id = $1";

pub(crate) const ALL: &[&str] = &[HELD, EXECUTION, RUNS, TASK];

impl Queue<'_> {
    /// Ends an execution that cannot be trusted to go on, and parks its task with the evidence;
    /// [`StoreError::Fenced`] where the lease is lost.
    pub async fn park(
        &self,
        acting: &Acting<'_>,
        fence: Fence,
        evidence: &str,
    ) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let task: Option<Uuid> = sqlx::query_scalar(HELD)
            .bind(fence.execution_id.as_uuid())
            .bind(fence.node_id.as_uuid())
            .bind(fence.lease_epoch)
            .fetch_optional(&mut *transaction)
            .await?;
        let task = TaskId::from_uuid(task.ok_or(StoreError::Fenced)?);
        let ids = (fence.execution_id.as_uuid(), task);
        park(&mut transaction, acting, ids, evidence).await?;
        around(points::PARK, transaction.commit()).await?;
        self.0.hint(TASKS_CHANNEL, task).await;
        Ok(())
    }
}

/// Parks a task whose execution's row the transaction has locked.
pub(super) async fn park(
    connection: &mut PgConnection,
    acting: &Acting<'_>,
    (execution, task): (Uuid, TaskId),
    evidence: &str,
) -> Result<(), StoreError> {
    for (statement, id) in [(EXECUTION, execution), (RUNS, execution), (TASK, task.as_uuid())] {
        sqlx::query(statement).bind(id).bind(evidence).execute(&mut *connection).await?;
    }
    let attributes = json!({ "execution_id": execution, "evidence": evidence });
    let ids = [task.as_uuid()];
    record_event(connection, acting, "task_parked", "tasks", &ids, &attributes).await?;
    refresh_dependants(connection, task).await
}
