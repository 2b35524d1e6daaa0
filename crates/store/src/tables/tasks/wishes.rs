//! What the user wants of a task that exists: stop, hold, go on, consent, try again.
//!
//! A task that nobody works on changes at once. For a running one the wish is a time on its row;
//! its node reads it when it renews its leases, and finishes the execution accordingly.

use journeyman_domain::ids::TaskId;
use journeyman_faults::{around, points};
use sqlx::{PgConnection, Postgres, Transaction};

use super::{Task, Tasks, parents, refresh, refresh_dependants};
use crate::queue::ready;
use crate::{Acting, StoreError, TASKS_CHANNEL};

const CANCEL: &str = "UPDATE tasks SET updated_at = now(), cancel_requested_at = coalesce(cancel_requested_at, now()), \
     status = CASE WHEN status = 'running' THEN status ELSE 'cancelled' END, \
     completed_at = CASE WHEN status <> 'running' THEN now() END, waiting_for = NULL, wake_at = NULL \
     WHERE id = $1 AND status NOT IN ('completed', 'failed', 'cancelled', 'timeout') \
     RETURNING status::text";
const PAUSE: &str = "UPDATE tasks SET updated_at = now(), waiting_for = NULL, wake_at = NULL, \
     pause_requested_at = CASE WHEN status = 'running' THEN now() END, \
     status = CASE WHEN status = 'running' THEN status ELSE 'paused' END \
     WHERE id = $1 AND status IN ('pending', 'ready', 'waiting', 'running') RETURNING status::text";
// A running task that is to be paused forgets the wish; one that was put aside goes on.
const RESUME: &str = "UPDATE tasks SET updated_at = now(), resumed_at = now(), pause_requested_at = NULL, \
     waiting_for = NULL, wake_at = NULL, budget_usd = coalesce($2::float8::numeric, budget_usd), \
     time_limit_s = coalesce($3, time_limit_s), \
     status = CASE WHEN status = 'running' THEN status ELSE 'pending' END \
     WHERE id = $1 AND (status = 'paused' OR status = 'running' AND pause_requested_at IS NOT NULL \
         OR status = 'waiting' AND waiting_for IN ('budget', 'input', 'rate_limit', 'provider')) \
     RETURNING status::text";
const APPROVE: &str = "UPDATE tasks SET updated_at = now(), status = 'pending', waiting_for = NULL, approved_at = now() \
     WHERE id = $1 AND status = 'waiting' AND waiting_for = 'approval' RETURNING status::text";
const RETRY: &str = "UPDATE tasks SET updated_at = now(), status = 'pending', resumed_at = now(), \
     waiting_for = NULL, wake_at = NULL, \
     error = NULL, completed_at = NULL, cancel_requested_at = NULL, pause_requested_at = NULL, \
     approved_at = NULL, verified = NULL, done_by_word = NULL \
     WHERE id = $1 AND (status IN ('failed', 'cancelled', 'timeout', 'parked') OR status = 'waiting' \
     AND waiting_for IN ('retry_at', 'rate_limit', 'provider', 'budget')) RETURNING status::text";
// The answer becomes a part of what the next attempt is asked.
const ANSWER: &str = "UPDATE tasks SET updated_at = now(), status = 'pending', resumed_at = now(), \
     waiting_for = NULL, error = NULL, \
     description = coalesce(description, title) || E'\\n\\nThe user''s answer: ' || $2 \
     WHERE id = $1 AND status = 'waiting' AND waiting_for = 'input' RETURNING status::text";
// An execution that was put aside is over when its task is.
const CLOSE_SUSPENDED: &str = "UPDATE task_executions SET status = 'cancelled', completed_at = now() \
     WHERE task_id = $1 AND status IN ('waiting', 'paused')";
const CLOSE_SUSPENDED_RUNS: &str = "UPDATE agent_tasks SET status = 'cancelled', \
     completed_at = now() WHERE task_id = $1 AND status IN ('waiting', 'paused')";

pub(crate) const ALL: &[&str] =
    &[CANCEL, PAUSE, RESUME, APPROVE, RETRY, ANSWER, CLOSE_SUSPENDED, CLOSE_SUSPENDED_RUNS];

pub(crate) async fn close_suspended(
    connection: &mut PgConnection,
    task: TaskId,
) -> Result<(), StoreError> {
    for close in [CLOSE_SUSPENDED, CLOSE_SUSPENDED_RUNS] {
        sqlx::query(close).bind(task.as_uuid()).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn cancel(connection: &mut PgConnection, id: TaskId) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar(CANCEL).bind(id.as_uuid()).fetch_optional(connection).await?)
}

/// What a task leaves behind that ends without being worked on.
async fn close(connection: &mut PgConnection, id: TaskId) -> Result<(), StoreError> {
    ready::leave(connection, id.as_uuid()).await?;
    close_suspended(connection, id).await
}

/// The parts of a task go with it, and theirs.
async fn cancel_parts(connection: &mut PgConnection, id: TaskId) -> Result<(), StoreError> {
    let mut parents = vec![id];
    while let Some(parent) = parents.pop() {
        for part in parents::open_parts(connection, parent).await? {
            if cancel(connection, part).await?.as_deref() == Some("cancelled") {
                // Of many, each look at the queue would cost more than passing the id over.
                close_suspended(connection, part).await?;
                refresh_dependants(connection, part).await?;
            }
            parents.push(part);
        }
    }
    Ok(())
}

impl Tasks<'_> {
    /// Stops a task and its sub-tasks: at once, or, where one runs, as soon as its node hears of it.
    /// [`StoreError::Conflict`] where it has ended.
    pub async fn request_cancel(
        &self,
        acting: &Acting<'_>,
        id: TaskId,
    ) -> Result<Task, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let status = cancel(&mut transaction, id).await?;
        if status.is_some() {
            cancel_parts(&mut transaction, id).await?;
        }
        self.settle(transaction, id, status, "cannot be cancelled").await
    }

    /// Holds a task until [`Tasks::resume`]; what its run did so far is kept.
    pub async fn pause(&self, acting: &Acting<'_>, id: TaskId) -> Result<Task, StoreError> {
        self.wish(acting, id, PAUSE, "cannot be paused").await
    }

    /// Lets a task go on where it stopped that is paused or was put aside, with another budget (US
    /// dollars) and another time limit (seconds) where they are given; both count from the start.
    pub async fn resume(
        &self,
        acting: &Acting<'_>,
        id: TaskId,
        budget_usd: Option<f64>,
        time_limit_s: Option<i32>,
    ) -> Result<Task, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let status: Option<String> = sqlx::query_scalar(RESUME)
            .bind(id.as_uuid())
            .bind(budget_usd)
            .bind(time_limit_s)
            .fetch_optional(&mut *transaction)
            .await?;
        self.settle(transaction, id, status, "was not put aside").await
    }

    /// Consents to the unverified change of a task that waits for approval; its run goes on.
    pub async fn approve(&self, acting: &Acting<'_>, id: TaskId) -> Result<Task, StoreError> {
        self.wish(acting, id, APPROVE, "does not wait for approval").await
    }

    /// Begins another attempt at a task that ended without success or is parked, or does not let
    /// it wait any longer.
    pub async fn retry(&self, acting: &Acting<'_>, id: TaskId) -> Result<Task, StoreError> {
        self.wish(acting, id, RETRY, "cannot be tried again").await
    }

    /// Answers the question of a task that waits for input; its next attempt is told.
    pub async fn answer(
        &self,
        acting: &Acting<'_>,
        id: TaskId,
        text: &str,
    ) -> Result<Task, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let status: Option<String> = sqlx::query_scalar(ANSWER)
            .bind(id.as_uuid())
            .bind(text)
            .fetch_optional(&mut *transaction)
            .await?;
        self.settle(transaction, id, status, "has asked nothing").await
    }

    async fn wish(
        &self,
        acting: &Acting<'_>,
        id: TaskId,
        statement: &'static str,
        refusal: &str,
    ) -> Result<Task, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let status: Option<String> = sqlx::query_scalar(statement)
            .bind(id.as_uuid())
            .fetch_optional(&mut *transaction)
            .await?;
        self.settle(transaction, id, status, refusal).await
    }

    async fn settle(
        &self,
        mut transaction: Transaction<'static, Postgres>,
        id: TaskId,
        status: Option<String>,
        refusal: &str,
    ) -> Result<Task, StoreError> {
        let Some(status) = status else {
            drop(transaction);
            let status = self.get(id).await?.status;
            let refused = format!("task {} is {status} and {refusal}", id.short());
            return Err(StoreError::Conflict(refused));
        };
        match status.as_str() {
            "cancelled" => close(&mut transaction, id).await?,
            "paused" => ready::leave(&mut transaction, id.as_uuid()).await?,
            "pending" => {
                refresh(&mut transaction, &[id.as_uuid()]).await?;
            }
            _ => {}
        }
        refresh_dependants(&mut transaction, id).await?;
        around(points::TASK_WISH, transaction.commit()).await?;
        self.0.hint(TASKS_CHANNEL, id).await;
        self.get(id).await
    }
}
