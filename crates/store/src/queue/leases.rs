//! Leases: renewed by their owner, taken over by anybody once they expired.

use std::time::Duration;

use journeyman_domain::ids::{ExecutionId, NodeId, TaskId};
use journeyman_faults::{Mechanism, around, is_out, points};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use super::park::park;
use super::{Claim, Fence, Queue, batch, load};
use crate::column::MaybeId;
use crate::{Acting, StoreError, TASKS_CHANNEL};

/// An execution that the node holds, and what the user wants of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromRow)]
pub struct Held {
    /// The execution.
    #[sqlx(try_from = "Uuid")]
    pub execution_id: ExecutionId,
    /// Its task.
    #[sqlx(try_from = "Uuid")]
    pub task_id: TaskId,
    /// The epoch of its lease.
    pub lease_epoch: i64,
    /// The user wants it stopped.
    pub cancel_requested: bool,
    /// The user wants it held.
    pub pause_requested: bool,
}

/// What a node is willing to take over.
#[derive(Clone, Debug)]
pub struct TakeOverRequest {
    /// Who takes over.
    pub node_id: NodeId,
    /// How many at the most.
    pub limit: u32,
    /// Only this task's: what a foreground node takes.
    pub only_task: Option<TaskId>,
    /// How long the new leases are good for.
    pub lease: Duration,
    /// Take-overs in a row without a new step after which a task is parked.
    pub max_reclaims: u32,
}

/// An execution that goes on here under a new epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TakenOver {
    /// With its new fence.
    pub claim: Claim,
    /// Who held it; `None` where that node had given it back.
    pub previous_node: Option<NodeId>,
}

/// What came of looking for expired leases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TakeOver {
    /// These go on here.
    pub taken: Vec<TakenOver>,
    /// These made no step in several lives, and wait for a person now.
    pub parked: Vec<TaskId>,
    /// There may be more of what takes no room here: another look is due at once.
    pub is_cut: bool,
}

const BEAT: &str =
    "UPDATE runtime_nodes SET heartbeat_at = now() WHERE id = $1 AND stopped_at IS NULL";
const RENEW: &str = "UPDATE task_executions e \
     SET lease_expires_at = now() + make_interval(secs => $2) FROM tasks t \
     WHERE e.id = ANY (ARRAY(SELECT id FROM task_executions WHERE node_id = $1 \
         AND status = 'running' ORDER BY id FOR NO KEY UPDATE)) AND t.id = e.task_id \
     RETURNING e.id AS execution_id, e.task_id, e.lease_epoch, \
     t.cancel_requested_at IS NOT NULL AS cancel_requested, \
     t.pause_requested_at IS NOT NULL AS pause_requested";
// An idle node asks every few seconds, and needs no transaction for a no.
// A lease is never good for an hour: one that ends later was written before the database's clock was put back.
const IS_ANY_LOST: &str = "SELECT EXISTS (SELECT FROM task_executions WHERE status = 'running' \
         AND (lease_expires_at <= now() OR lease_expires_at > now() + interval '1 hour') \
         AND node_id IS DISTINCT FROM $1) \
     OR EXISTS (SELECT FROM task_leases WHERE expires_at <= now() OR expires_at > now() + interval '1 hour')";
// A lease that was given back (no node) is nobody's failure and counts no reclaim.
// What is to be parked takes no room here, and is not left lying behind what does.
const TAKE_OVER: &str = "WITH lost AS ( \
     SELECT e.id, e.node_id, e.reclaims, e.last_step_seq, e.lease_expires_at, coalesce((SELECT max(p.seq) \
         FROM run_steps p JOIN agent_tasks r ON r.id = p.run_id WHERE r.execution_id = e.id), 0) AS seq \
     FROM task_executions e WHERE e.status = 'running' \
         AND (e.lease_expires_at <= now() OR e.lease_expires_at > now() + interval '1 hour') \
         AND e.node_id IS DISTINCT FROM $1 AND ($3::uuid IS NULL OR e.task_id = $3) \
     ORDER BY e.lease_expires_at LIMIT $2::bigint + $6::bigint FOR UPDATE OF e SKIP LOCKED), \
 counted AS (SELECT *, CASE WHEN seq > last_step_seq THEN 0 WHEN node_id IS NULL THEN reclaims \
     ELSE reclaims + 1 END AS counts FROM lost), \
 placed AS (SELECT *, counts >= $5 AS is_stuck, \
     row_number() OVER (PARTITION BY counts >= $5 ORDER BY lease_expires_at) AS place FROM counted) \
 UPDATE task_executions e SET node_id = $1, lease_epoch = e.lease_epoch + 1, \
     lease_expires_at = now() + make_interval(secs => $4), last_step_seq = l.seq, reclaims = l.counts \
 FROM placed l WHERE e.id = l.id AND (l.is_stuck OR l.place <= $2) \
 RETURNING e.id, e.task_id, l.node_id AS previous_node, e.reclaims, e.last_step_seq";
const RELEASE: &str = "UPDATE task_executions SET lease_expires_at = now(), node_id = NULL, \
     reclaims = reclaims + $4 \
     WHERE id = $1 AND node_id = $2 AND lease_epoch = $3 AND status = 'running'";

pub(crate) const ALL: &[&str] = &[BEAT, RENEW, IS_ANY_LOST, TAKE_OVER, RELEASE];

/// Tasks that are parked at once.
const PARKED_MAX: i64 = 25;

#[derive(FromRow)]
struct Lost {
    id: Uuid,
    #[sqlx(try_from = "Uuid")]
    task_id: TaskId,
    #[sqlx(try_from = "MaybeId")]
    previous_node: Option<NodeId>,
    reclaims: i32,
    last_step_seq: i32,
}

fn is_stuck(row: &Lost, max_reclaims: u32) -> bool {
    i64::from(row.reclaims) >= i64::from(max_reclaims) && !is_out(Mechanism::Parking)
}

impl Queue<'_> {
    /// Renews the node's heartbeat and all its leases, and tells what it still holds: whatever it
    /// works on beyond that is lost and must stop. Leaves no audit row.
    pub async fn renew(&self, node: NodeId, lease: Duration) -> Result<Vec<Held>, StoreError> {
        let beat = sqlx::query(BEAT).bind(node.as_uuid());
        around(points::BEAT, beat.execute(self.0.pool())).await?;
        let held = sqlx::query_as(RENEW).bind(node.as_uuid()).bind(lease.as_secs_f64());
        Ok(around(points::RENEW, held.fetch_all(self.0.pool())).await?)
    }

    /// Takes over executions of other nodes whose leases expired. One that made no step in
    /// `max_reclaims` lives is failed and its task parked.
    pub async fn take_over(
        &self,
        acting: &Acting<'_>,
        request: &TakeOverRequest,
    ) -> Result<TakeOver, StoreError> {
        let is_any_lost: bool = sqlx::query_scalar(IS_ANY_LOST)
            .bind(request.node_id.as_uuid())
            .fetch_one(self.0.pool())
            .await?;
        if !is_any_lost || is_out(Mechanism::TakeOver) {
            return Ok(TakeOver::default());
        }
        let mut transaction = self.0.begin(acting).await?;
        let is_cut = batch::take_back(&mut transaction).await?;
        let lost: Vec<Lost> = sqlx::query_as(TAKE_OVER)
            .bind(request.node_id.as_uuid())
            .bind(i64::from(request.limit))
            .bind(request.only_task.map(TaskId::as_uuid))
            .bind(request.lease.as_secs_f64())
            .bind(i64::from(request.max_reclaims))
            .bind(PARKED_MAX)
            .fetch_all(&mut *transaction)
            .await?;
        let (stuck, alive): (Vec<Lost>, Vec<Lost>) =
            lost.into_iter().partition(|row| is_stuck(row, request.max_reclaims));
        for row in &stuck {
            let evidence = format!(
                "taken over {} times in a row without a new step; the last one was step {}",
                row.reclaims, row.last_step_seq
            );
            park(&mut transaction, acting, (row.id, row.task_id), &evidence).await?;
        }
        let ids: Vec<Uuid> = alive.iter().map(|row| row.id).collect();
        let claims = load(&mut transaction, &ids).await?;
        around(points::TAKE_OVER, transaction.commit()).await?;
        for row in &stuck {
            self.0.hint(TASKS_CHANNEL, row.task_id).await;
        }
        let previous = |claim: &Claim| {
            let row = alive.iter().find(|row| row.id == claim.execution.id.as_uuid());
            row.and_then(|row| row.previous_node)
        };
        let taken = claims
            .into_iter()
            .map(|claim| TakenOver { previous_node: previous(&claim), claim })
            .collect();
        let parked: Vec<_> = stuck.into_iter().map(|row| row.task_id).collect();
        Ok(TakeOver { taken, is_cut: is_cut || !parked.is_empty(), parked })
    }

    /// Gives an execution back at an ordered stop: any node may go on with it at once.
    pub async fn release(&self, acting: &Acting<'_>, fence: Fence) -> Result<(), StoreError> {
        self.give_back(acting, fence, 0).await
    }

    /// Gives an execution back because this node cannot go on with it. It counts like a lost lease,
    /// so that a run which fails everywhere is parked in the end.
    pub async fn abandon(&self, acting: &Acting<'_>, fence: Fence) -> Result<(), StoreError> {
        self.give_back(acting, fence, 1).await
    }

    async fn give_back(
        &self,
        acting: &Acting<'_>,
        fence: Fence,
        reclaims: i32,
    ) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let done = sqlx::query(RELEASE)
            .bind(fence.execution_id.as_uuid())
            .bind(fence.node_id.as_uuid())
            .bind(fence.lease_epoch)
            .bind(reclaims)
            .execute(&mut *transaction)
            .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Fenced);
        }
        around(points::GIVE_BACK, transaction.commit()).await?;
        self.0.hint(TASKS_CHANNEL, fence.execution_id).await;
        Ok(())
    }

    /// The fence itself; that of whoever owns the execution now, where a test has taken fences out.
    pub(crate) async fn unless_out(&self, fence: Fence) -> Result<Fence, StoreError> {
        if !is_out(Mechanism::Fence) {
            return Ok(fence);
        }
        let execution = self.0.executions().get(fence.execution_id).await?;
        Ok(execution.fence().unwrap_or(fence))
    }

    /// Whether this owner still holds the lease.
    pub async fn holds(&self, fence: Fence) -> Result<bool, StoreError> {
        let fence = self.unless_out(fence).await?;
        let execution = self.0.executions().get(fence.execution_id).await?;
        let running = execution.status == journeyman_domain::status::Status::Running;
        Ok(running && execution.fence() == Some(fence))
    }
}
