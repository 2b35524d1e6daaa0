//! The reconciler: finds tasks that nothing would ever move again, and moves them. Whatever changes a task
//! judges what follows in its own transaction, so there should be none; this needs no message to be right.
//!
//! It walks over all tasks in pages, in the order of their ids. Must never: touch a task that somebody works on.

use journeyman_domain::ids::TaskId;
use serde_json::json;
use sqlx::FromRow;
use uuid::Uuid;

use super::{Queue, ready};
use crate::audit::record_event;
use crate::tables::tasks::refresh;
use crate::{Acting, StoreError, TASKS_CHANNEL};

/// Tasks that one look takes in.
const PAGE: i64 = 100_000;

/// What came of one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Where the next look begins; `None` where all tasks were looked at.
    pub next: Option<TaskId>,
    /// Those that were stuck and are not any more.
    pub mended: Vec<TaskId>,
}

// The last id of a full page, and what looks stuck: ready without a place; not judged; waiting for what has
// ended; running with nobody working on it.
const STRAY: &str = "WITH page AS (SELECT id, status, waiting_for FROM tasks WHERE id > $1 ORDER BY id LIMIT $2), \
     placed AS MATERIALIZED (SELECT unnest(ids) AS id FROM ready_tasks WHERE EXISTS ( \
             SELECT FROM page WHERE status = 'ready') \
         UNION ALL SELECT unnest(ids) FROM task_leases) \
     SELECT p.id, p.status::text FROM page p LEFT JOIN placed q ON q.id = p.id AND p.status = 'ready' \
     WHERE p.status = 'pending' OR p.status = 'ready' AND q.id IS NULL \
         OR p.waiting_for = 'dependency' AND NOT EXISTS (SELECT FROM task_dependencies d \
             JOIN tasks o ON o.id = d.depends_on WHERE d.task_id = p.id \
             AND o.status NOT IN ('completed', 'failed', 'cancelled', 'timeout')) \
         OR p.waiting_for = 'lock' AND NOT EXISTS (SELECT FROM task_files f \
             JOIN task_files h ON h.task_id = f.waits_for AND h.holds WHERE f.task_id = p.id) \
         OR p.status = 'running' AND NOT EXISTS (SELECT FROM task_executions e \
             WHERE e.task_id = p.id AND e.status = 'running') \
     ORDER BY p.id";
const LAST: &str = "SELECT id FROM tasks WHERE id > $1 ORDER BY id OFFSET $2 - 1 LIMIT 1";
// Looked at again under its lock: since then it may have moved by itself.
const LOCK: &str =
    "SELECT t.id FROM tasks t WHERE t.id = ANY ($1) ORDER BY t.id FOR UPDATE SKIP LOCKED";
const JUDGE_ANEW: &str = "UPDATE tasks t SET updated_at = now(), status = 'pending', waiting_for = NULL, wake_at = NULL \
     WHERE t.id = ANY ($1) AND (t.waiting_for = 'lock' OR t.status = 'running' AND NOT EXISTS ( \
         SELECT FROM task_executions e WHERE e.task_id = t.id AND e.status = 'running'))";
const UNPLACED: &str = "SELECT t.id FROM tasks t WHERE t.id = ANY ($1) AND t.status = 'ready' \
     AND NOT EXISTS (SELECT FROM ready_tasks q WHERE q.ids @> ARRAY[t.id]) \
     AND NOT EXISTS (SELECT FROM task_leases l WHERE l.ids @> ARRAY[t.id])";
const STATES: &str = "SELECT id, status::text FROM tasks WHERE id = ANY ($1)";

pub(crate) const ALL: &[&str] = &[STRAY, LAST, LOCK, JUDGE_ANEW, UNPLACED, STATES];

#[derive(FromRow, PartialEq)]
struct Stray {
    id: Uuid,
    status: String,
}

impl Queue<'_> {
    /// Looks at the next page of tasks after this one, and moves what is stuck.
    pub async fn reconcile(
        &self,
        acting: &Acting<'_>,
        after: Option<TaskId>,
    ) -> Result<Reconciled, StoreError> {
        let after = after.map_or(Uuid::nil(), TaskId::as_uuid);
        let pool = self.0.pool();
        let strays: Vec<Stray> =
            sqlx::query_as(STRAY).bind(after).bind(PAGE).fetch_all(pool).await?;
        let last: Option<Uuid> =
            sqlx::query_scalar(LAST).bind(after).bind(PAGE).fetch_optional(pool).await?;
        let mended = if strays.is_empty() { Vec::new() } else { self.mend(acting, strays).await? };
        if let Some(first) = mended.first() {
            self.0.hint(TASKS_CHANNEL, first).await;
        }
        Ok(Reconciled { next: last.map(TaskId::from_uuid), mended })
    }

    async fn mend(
        &self,
        acting: &Acting<'_>,
        strays: Vec<Stray>,
    ) -> Result<Vec<TaskId>, StoreError> {
        let ids: Vec<Uuid> = strays.iter().map(|stray| stray.id).collect();
        let mut transaction = self.0.begin(acting).await?;
        let ids: Vec<Uuid> =
            sqlx::query_scalar(LOCK).bind(&ids).fetch_all(&mut *transaction).await?;
        let unplaced: Vec<Uuid> =
            sqlx::query_scalar(UNPLACED).bind(&ids).fetch_all(&mut *transaction).await?;
        sqlx::query(JUDGE_ANEW).bind(&ids).execute(&mut *transaction).await?;
        refresh(&mut transaction, &ids).await?;
        ready::enqueue(&mut transaction, &unplaced).await?;
        let now: Vec<Stray> =
            sqlx::query_as(STATES).bind(&ids).fetch_all(&mut *transaction).await?;
        let moved = |stray: &&Stray| unplaced.contains(&stray.id) || !strays.contains(stray);
        let mended: Vec<Uuid> = now.iter().filter(moved).map(|stray| stray.id).collect();
        if !mended.is_empty() {
            let none = json!({});
            record_event(&mut transaction, acting, "tasks_reconciled", "tasks", &mended, &none)
                .await?;
        }
        transaction.commit().await?;
        Ok(mended.into_iter().map(TaskId::from_uuid).collect())
    }
}
