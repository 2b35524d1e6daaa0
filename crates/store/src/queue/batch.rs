//! Tasks without a run (driver `none`): they stand for others, such as a milestone that several wait for
//! or a parent of sub-tasks. Nobody works on them, so they are claimed and ended many at a time.
//!
//! Owns: `task_leases`. A batch has one lease; what ends late, after the lease went to another, changes
//! nothing. Must never: end a task that is not ready any more.

use std::time::Duration;

use journeyman_domain::ids::NodeId;
use journeyman_faults::{around, points};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{Queue, ready};
use crate::line::Work;
use crate::tables::tasks::insert::Insert;
use crate::tables::tasks::refresh_waiting_for;
use crate::{Acting, NewTask, StoreError, TASKS_CHANNEL, acting, group};

/// Tasks that end together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The lease.
    pub id: Uuid,
    /// The tasks.
    pub tasks: Vec<Uuid>,
}

// Two rows of the queue, of up to 200 tasks each: a number that the planner knows. It need not be on the disk: whatever a crash loses of it was not ended, and is ready again.
const CLAIM: &str = "WITH relaxed AS (SELECT set_config('synchronous_commit', 'off', true) AS mode), \
     head AS ( \
         SELECT q.lane_id, q.bucket, q.due, q.chain, q.first_id, q.place, q.ids FROM queue_lanes l \
         CROSS JOIN LATERAL (SELECT * FROM ready_tasks q WHERE q.lane_id = l.id \
             ORDER BY q.bucket, q.due, q.chain, q.first_id LIMIT 2 FOR UPDATE SKIP LOCKED) q \
         WHERE l.is_runless AND (SELECT mode FROM relaxed) = 'off' ORDER BY q.bucket, q.due, q.chain, q.first_id LIMIT 2), \
     gone AS (DELETE FROM ready_tasks q USING head h WHERE q.lane_id = h.lane_id \
         AND q.bucket = h.bucket AND q.due = h.due AND q.chain = h.chain AND q.first_id = h.first_id \
         AND q.place = h.place), \
     claimed AS (SELECT array_agg(u.id) AS ids FROM head h, unnest(h.ids) AS u (id)), \
     leased AS (INSERT INTO task_leases (id, node_id, expires_at, ids) \
         SELECT $4, $1, now() + make_interval(secs => $2), ids FROM claimed WHERE ids IS NOT NULL \
         RETURNING id, ids), \
     event AS (INSERT INTO audit_events (id, kind, table_name, record_ids, actor, attributes) \
         SELECT $5, 'tasks_claimed', 'tasks', ids, $3, jsonb_build_object('lease', id) FROM leased) \
     SELECT id, ids FROM leased";
const COMPLETE: &str = "WITH held AS ( \
         DELETE FROM task_leases WHERE id = $1 AND node_id = $2 RETURNING ids), \
     done AS (UPDATE tasks SET status = 'completed', completed_at = now(), \
         updated_at = now() WHERE id = ANY ((SELECT ids FROM held)::uuid[]) AND status = 'ready' \
         RETURNING id), \
     event AS (INSERT INTO audit_events (id, kind, table_name, record_ids, actor, attributes) \
         SELECT $4, 'tasks_completed', 'tasks', array_agg(id), $3, jsonb_build_object('lease', $1) \
         FROM done HAVING count(*) > 0), \
     listed AS (INSERT INTO completed_spans (span) SELECT unnest($5::bigint[]) ON CONFLICT DO NOTHING) \
     SELECT (SELECT array_agg(id) FROM done) FROM held";
// A page: each may hold hundreds of tasks, and whoever looks has other things to do, too.
const LOST: &str = "DELETE FROM task_leases WHERE id = ANY (ARRAY(SELECT id FROM task_leases \
     WHERE expires_at <= now() OR expires_at > now() + interval '1 hour' ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING ids";
/// Leases that are taken back at once.
const PAGE: usize = 50;

pub(crate) const ALL: &[&str] = &[CLAIM, COMPLETE, LOST];

impl Queue<'_> {
    /// Adds a task that waits for nothing, and claims it in the same commit, so that this node can end
    /// it at once; nobody is told of it. `None` where it stands in the queue as any other: it has a run,
    /// is reserved for another node, others are ready before it, or are added at once.
    pub async fn add_and_claim(
        &self,
        acting: &Acting<'_>,
        node: NodeId,
        task: NewTask,
        lease: Duration,
    ) -> Result<Option<Batch>, StoreError> {
        if !task.stands_alone() {
            self.0.tasks().insert_many(acting, &[(task, Vec::new())]).await?;
            return Ok(None);
        }
        let (id, store) = (task.id, self.0.clone());
        let added = Insert::for_hand_off(acting, task, node, lease);
        let claimed = self.0.inserts.submit(added, |batch| group::flush(store, batch)).await?;
        if claimed.is_none() {
            self.0.hint_soon(TASKS_CHANNEL, id);
        }
        Ok(claimed)
    }

    /// Claims the next tasks without a run; `None` where none is ready.
    pub async fn claim_batch(
        &self,
        acting: &Acting<'_>,
        node: NodeId,
        lease: Duration,
    ) -> Result<Option<Batch>, StoreError> {
        let mut line = self.0.line(Work::Batch).await?;
        let claimed = sqlx::query_as(CLAIM)
            .bind(node.as_uuid())
            .bind(lease.as_secs_f64())
            .bind(acting.actor)
            .bind(Uuid::now_v7())
            .bind(Uuid::now_v7());
        let claimed = around(points::CLAIM_BATCH, claimed.fetch_optional(&mut line)).await;
        let batch: Option<(Uuid, Vec<Uuid>)> =
            self.0.used(Work::Batch, line, claimed.map_err(StoreError::from))?;
        Ok(batch.map(|(id, tasks)| Batch { id, tasks }))
    }

    /// Ends all tasks of a batch as completed; what waits for them is judged anew.
    /// [`StoreError::Fenced`] where the lease is lost: then nothing is written.
    pub async fn complete_batch(
        &self,
        acting: &Acting<'_>,
        node: NodeId,
        batch: &Batch,
    ) -> Result<(), StoreError> {
        let mut line = self.0.line(Work::Batch).await?;
        let done = complete(&mut line, acting, node, batch).await;
        self.0.used(Work::Batch, line, done)
    }
}

async fn complete(
    line: &mut PgConnection,
    acting: &Acting<'_>,
    node: NodeId,
    batch: &Batch,
) -> Result<(), StoreError> {
    let mut transaction = line.begin().await?;
    let done: Option<Option<Vec<Uuid>>> = sqlx::query_scalar(COMPLETE)
        .bind(batch.id)
        .bind(node.as_uuid())
        .bind(acting.actor)
        .bind(Uuid::now_v7())
        .bind(spans(&batch.tasks))
        .fetch_optional(&mut *transaction)
        .await?;
    let done = done.ok_or(StoreError::Fenced)?.unwrap_or_default();
    acting::say(&mut transaction, acting).await?;
    // In a statement of its own: it must see what was linked while the first one waited.
    refresh_waiting_for(&mut transaction, &done).await?;
    around(points::COMPLETE_BATCH, transaction.commit()).await?;
    Ok(())
}

/// Where the lists of completed tasks look for these: `span_of` their ids, each once.
fn spans(tasks: &[Uuid]) -> Vec<i64> {
    let mut spans: Vec<i64> =
        tasks.iter().filter_map(|id| i64::try_from(id.as_u128() >> 84).ok()).collect();
    spans.sort_unstable();
    spans.dedup();
    spans
}

/// Makes tasks ready again whose batch was not ended within its lease, a page of them; whether there may be more.
pub(super) async fn take_back(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let page = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let lost: Vec<Vec<Uuid>> =
        sqlx::query_scalar(LOST).bind(page).fetch_all(&mut *connection).await?;
    ready::enqueue(connection, &lost.concat()).await?;
    Ok(lost.len() == PAGE)
}
