//! The reconciler: finds tasks that nothing would ever move again, and moves them. Whatever changes a task
//! judges what follows in its own transaction, so there should be none; this needs no message to be right.
//!
//! It walks page by page, in the order of ids: often over what stands in `task_marks`, seldom over all tasks, which
//! may be millions that have ended. Must never: touch a task that somebody works on.

use journeyman_domain::ids::TaskId;
use journeyman_faults::{around, points};
use serde_json::json;
use sqlx::FromRow;
use uuid::Uuid;

use super::{Queue, ready};
use crate::audit::record_event;
use crate::tables::tasks::refresh;
use crate::{Acting, StoreError, TASKS_CHANNEL};

/// Tasks that one look takes in.
const PAGE: i64 = 50_000;

/// What one look is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// Not judged; waiting for what has ended; running with nobody working on it.
    Waiting,
    /// Ready without a place in the queue.
    Unplaced,
}

/// What came of one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Where the next look begins; `None` where all were looked at.
    pub next: Option<TaskId>,
    /// Those that were stuck and are not any more.
    pub mended: Vec<TaskId>,
}

// The last id of a full page, and with it what looks stuck. What waits for a task that failed may wait for good.
const WAITING: &str = "WITH page AS (SELECT task_id AS id, status, waiting_for FROM task_marks WHERE task_id > $1 \
         ORDER BY task_id LIMIT $2), \
     stray AS (SELECT p.id FROM page p WHERE p.status = 'pending' \
         OR p.waiting_for = 'dependency' AND NOT EXISTS (SELECT FROM task_dependencies d \
             JOIN tasks o ON o.id = d.depends_on JOIN tasks t ON t.id = d.task_id WHERE d.task_id = p.id \
             AND (o.status NOT IN ('completed', 'failed', 'cancelled', 'timeout') \
                 OR o.status <> 'completed' AND t.after_failure IS NULL)) \
         OR p.waiting_for = 'lock' AND NOT EXISTS (SELECT FROM task_files f \
             JOIN task_files h ON h.task_id = f.waits_for AND h.holds WHERE f.task_id = p.id) \
         OR p.status = 'running' AND NOT EXISTS (SELECT FROM task_executions e \
             WHERE e.task_id = p.id AND e.status = 'running')) \
     SELECT (SELECT id FROM page ORDER BY id OFFSET $2 - 1 LIMIT 1) AS last, \
         ARRAY(SELECT id FROM stray ORDER BY id) AS stray";
const UNPLACED: &str = "WITH page AS (SELECT id, status FROM tasks WHERE id > $1 ORDER BY id LIMIT $2), \
     placed AS MATERIALIZED (SELECT unnest(ids) AS id FROM ready_tasks WHERE EXISTS ( \
             SELECT FROM page WHERE status = 'ready') \
         UNION ALL SELECT unnest(ids) FROM task_leases), \
     stray AS (SELECT p.id FROM page p LEFT JOIN placed q ON q.id = p.id \
         WHERE p.status = 'ready' AND q.id IS NULL) \
     SELECT (SELECT id FROM page ORDER BY id OFFSET $2 - 1 LIMIT 1) AS last, \
         ARRAY(SELECT id FROM stray ORDER BY id) AS stray";
// Looked at again under its lock: since then it may have moved by itself.
const LOCK: &str =
    "SELECT id, status::text FROM tasks WHERE id = ANY ($1) ORDER BY id FOR UPDATE SKIP LOCKED";
const JUDGE_ANEW: &str = "UPDATE tasks t SET updated_at = now(), status = 'pending', waiting_for = NULL, wake_at = NULL \
     WHERE t.id = ANY ($1) AND (t.waiting_for = 'lock' AND NOT EXISTS (SELECT FROM task_files f \
             JOIN task_files h ON h.task_id = f.waits_for AND h.holds WHERE f.task_id = t.id) \
         OR t.status = 'running' AND NOT EXISTS ( \
             SELECT FROM task_executions e WHERE e.task_id = t.id AND e.status = 'running'))";
const STILL_UNPLACED: &str = "SELECT t.id FROM tasks t WHERE t.id = ANY ($1) AND t.status = 'ready' \
     AND NOT EXISTS (SELECT FROM ready_tasks q WHERE q.ids @> ARRAY[t.id]) \
     AND NOT EXISTS (SELECT FROM task_leases l WHERE l.ids @> ARRAY[t.id])";
const STATES: &str = "SELECT id, status::text FROM tasks WHERE id = ANY ($1)";

pub(crate) const ALL: &[&str] = &[WAITING, UNPLACED, LOCK, JUDGE_ANEW, STILL_UNPLACED, STATES];

#[derive(FromRow, PartialEq)]
struct State {
    id: Uuid,
    status: String,
}

impl Queue<'_> {
    /// Looks at the next page of tasks after this one, and moves what is stuck.
    pub async fn reconcile(
        &self,
        acting: &Acting<'_>,
        stuck: Stuck,
        after: Option<TaskId>,
    ) -> Result<Reconciled, StoreError> {
        let statement = match stuck {
            Stuck::Waiting => WAITING,
            Stuck::Unplaced => UNPLACED,
        };
        let (last, stray): (Option<Uuid>, Vec<Uuid>) = sqlx::query_as(statement)
            .bind(after.map_or(Uuid::nil(), TaskId::as_uuid))
            .bind(PAGE)
            .fetch_one(self.0.pool())
            .await?;
        let mended = if stray.is_empty() { Vec::new() } else { self.mend(acting, &stray).await? };
        if let Some(first) = mended.first() {
            self.0.hint(TASKS_CHANNEL, first).await;
        }
        Ok(Reconciled { next: last.map(TaskId::from_uuid), mended })
    }

    async fn mend(&self, acting: &Acting<'_>, stray: &[Uuid]) -> Result<Vec<TaskId>, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let before: Vec<State> =
            sqlx::query_as(LOCK).bind(stray).fetch_all(&mut *transaction).await?;
        let ids: Vec<Uuid> = before.iter().map(|state| state.id).collect();
        let unplaced: Vec<Uuid> =
            sqlx::query_scalar(STILL_UNPLACED).bind(&ids).fetch_all(&mut *transaction).await?;
        sqlx::query(JUDGE_ANEW).bind(&ids).execute(&mut *transaction).await?;
        refresh(&mut transaction, &ids).await?;
        ready::enqueue(&mut transaction, &unplaced).await?;
        let now: Vec<State> =
            sqlx::query_as(STATES).bind(&ids).fetch_all(&mut *transaction).await?;
        let moved = |state: &&State| unplaced.contains(&state.id) || !before.contains(state);
        let mended: Vec<Uuid> = now.iter().filter(moved).map(|state| state.id).collect();
        if !mended.is_empty() {
            let none = json!({});
            record_event(&mut transaction, acting, "tasks_reconciled", "tasks", &mended, &none)
                .await?;
        }
        around(points::RECONCILE, transaction.commit()).await?;
        Ok(mended.into_iter().map(TaskId::from_uuid).collect())
    }
}
