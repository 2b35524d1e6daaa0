//! Claims of effects, and what their senders write: behind the fence, by the database's clock.

use std::time::Duration;

use journeyman_domain::ids::{EffectId, NodeId, TaskId};
use journeyman_domain::outbox::{EffectKind, EffectState, LONGEST_WAIT_MS};
use journeyman_faults::{around, points};
use sqlx::PgConnection;

use super::{NewEffect, Outbox, Outgoing, columns, insert};
use crate::{Acting, StoreError};

/// Whose claim it is, and of what.
#[derive(Clone, Debug)]
pub struct EffectClaim<'a> {
    /// Who sends.
    pub node_id: NodeId,
    /// Its machine.
    pub host: &'a str,
    /// Only this task's: what a foreground node sends.
    pub only_task: Option<TaskId>,
    /// None of this kind: it has not what they need.
    pub except: Option<EffectKind>,
    /// How many at the most.
    pub limit: u32,
    /// How long the leases are good for.
    pub lease: Duration,
}

/// The right to write of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectFence {
    /// The effect.
    pub id: EffectId,
    /// Who sends it.
    pub node_id: NodeId,
    /// In which epoch.
    pub lease_epoch: i64,
}

macro_rules! open {
    () => {
        "FROM outbox o LEFT JOIN runtime_nodes n ON n.id = o.node_id AND o.state = 'sending' \
         WHERE o.state IN ('pending', 'sending') AND (o.host IS NULL OR o.host = $1) \
             AND ($2::uuid IS NULL OR o.task_id = $2) AND ($3::text IS NULL OR o.kind <> $3)"
    };
}
// When it may be claimed. Nobody renews the lease of a node that has stopped. What was never tried waits for nothing,
// and nothing waits longer than the longest wait, so that a clock that jumped back keeps neither.
macro_rules! due {
    () => {
        "CASE WHEN o.state = 'sending' AND n.stopped_at IS NOT NULL THEN now() \
             WHEN o.state = 'sending' THEN o.lease_expires_at \
             WHEN o.attempts = 0 OR o.next_attempt_at > now() + make_interval(secs => $4) THEN now() \
             ELSE o.next_attempt_at END"
    };
}

// Asked again and again, and nearly always answered with nothing: one look at an index of what is open.
const NEXT: &str =
    concat!("SELECT (extract(epoch FROM min(", due!(), ") - now()) * 1000)::bigint ", open!());
const CLAIM: &str = concat!(
    "WITH due AS (SELECT o.id ",
    open!(),
    " AND ",
    due!(),
    " <= now() ORDER BY o.next_attempt_at LIMIT $5 FOR UPDATE OF o SKIP LOCKED) \
     UPDATE outbox o SET state = 'sending', attempts = o.attempts + 1, node_id = $6, \
         lease_epoch = o.lease_epoch + 1, lease_expires_at = now() + make_interval(secs => $7) \
     FROM due WHERE o.id = due.id RETURNING ",
    columns!()
);
const RENEW: &str = "UPDATE outbox SET lease_expires_at = now() + make_interval(secs => $4) \
     WHERE id = $1 AND node_id = $2 AND lease_epoch = $3 AND state = 'sending'";
const DONE: &str = "UPDATE outbox SET state = 'done', remote_id = $4, last_error = NULL, lease_expires_at = NULL \
     WHERE id = $1 AND node_id = $2 AND lease_epoch = $3 AND state = 'sending'";
const FAILED: &str = "UPDATE outbox SET state = 'failed', last_error = $4, lease_expires_at = NULL \
     WHERE id = $1 AND node_id = $2 AND lease_epoch = $3 AND state = 'sending'";
const RETRY: &str = "UPDATE outbox SET state = 'pending', last_error = coalesce($4, last_error), \
         lease_expires_at = NULL, next_attempt_at = now() + make_interval(secs => $5) \
     WHERE id = $1 AND node_id = $2 AND lease_epoch = $3 AND state = 'sending'";

// What an attempt has said stays, and says more.
const EXPLAIN: &str = "UPDATE outbox SET last_error = $4 \
     WHERE state = 'pending' AND last_error IS NULL AND kind = $3 AND (host IS NULL OR host = $1) \
         AND ($2::uuid IS NULL OR task_id = $2)";

pub(crate) const ALL: &[&str] = &[NEXT, CLAIM, RENEW, DONE, FAILED, RETRY, EXPLAIN];

/// The statement that an idle node asks again and again, for the test of its plan.
pub const fn idle_statement() -> &'static str {
    NEXT
}

impl Outgoing {
    /// The sender's right to write.
    pub fn fence(&self) -> Option<EffectFence> {
        let node_id = self.node_id?;
        Some(EffectFence { id: self.id, node_id, lease_epoch: self.lease_epoch })
    }

    /// Whether the sender with this right has written how its attempt ended: nobody else writes under its epoch.
    pub fn is_ended_by(&self, fence: EffectFence) -> bool {
        self.fence() == Some(fence) && self.state != EffectState::Sending
    }
}

impl Outbox<'_> {
    /// How long until the first effect that this claim could have is due, where there is one; nothing is
    /// claimed, and nothing is written.
    pub async fn next(&self, claim: &EffectClaim<'_>) -> Result<Option<Duration>, StoreError> {
        let left_ms: Option<i64> = sqlx::query_scalar(NEXT)
            .bind(claim.host)
            .bind(claim.only_task.map(TaskId::as_uuid))
            .bind(claim.except.map(EffectKind::as_str))
            .bind(longest_wait().as_secs_f64())
            .fetch_one(self.0.pool())
            .await?;
        Ok(left_ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
    }

    /// Claims what is due: what nobody sends, and what somebody sent whose lease is over. Each claim is an
    /// attempt, and has an epoch of its own.
    pub async fn claim(
        &self,
        acting: &Acting<'_>,
        claim: &EffectClaim<'_>,
    ) -> Result<Vec<Outgoing>, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let claimed = sqlx::query_as(CLAIM)
            .bind(claim.host)
            .bind(claim.only_task.map(TaskId::as_uuid))
            .bind(claim.except.map(EffectKind::as_str))
            .bind(longest_wait().as_secs_f64())
            .bind(i64::from(claim.limit))
            .bind(claim.node_id.as_uuid())
            .bind(claim.lease.as_secs_f64())
            .fetch_all(&mut *transaction)
            .await?;
        around(points::OUTBOX_CLAIM, transaction.commit()).await?;
        Ok(claimed)
    }

    /// Says of what waits, and is excepted from this claim, why that is so, where nothing was said yet. Whoever can
    /// send it claims it all the same: this is for a person, and nothing depends on it.
    pub async fn explain(
        &self,
        acting: &Acting<'_>,
        claim: &EffectClaim<'_>,
        reason: &str,
    ) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let said = sqlx::query(EXPLAIN)
            .bind(claim.host)
            .bind(claim.only_task.map(TaskId::as_uuid))
            .bind(claim.except.map(EffectKind::as_str))
            .bind(reason)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        if said == 0 {
            return Ok(());
        }
        // Like a retry's, it is a word on an attempt that is still to come.
        Ok(around(points::OUTBOX_RETRY, transaction.commit()).await?)
    }

    /// Holds on to a lease; [`StoreError::Fenced`] where it is lost: then send nothing more. Leaves no audit
    /// row.
    pub async fn renew(&self, fence: EffectFence, lease: Duration) -> Result<(), StoreError> {
        let query = fenced(RENEW, fence).bind(lease.as_secs_f64());
        match around(points::OUTBOX_RENEW, query.execute(self.0.pool())).await?.rows_affected() {
            0 => Err(StoreError::Fenced),
            _ => Ok(()),
        }
    }

    /// It is there. What follows it is written in the same transaction. [`StoreError::Fenced`] where the lease
    /// is lost: then nothing is written.
    pub async fn done(
        &self,
        acting: &Acting<'_>,
        fence: EffectFence,
        remote_id: &str,
        follow_up: Option<&NewEffect>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        written(&mut transaction, fenced(DONE, fence).bind(remote_id)).await?;
        if let Some(effect) = follow_up {
            insert(&mut transaction, effect, fence.id).await?;
        }
        Ok(around(points::OUTBOX_DONE, transaction.commit()).await?)
    }

    /// It will not come about by itself. [`StoreError::Fenced`] where the lease is lost.
    pub async fn failed(
        &self,
        acting: &Acting<'_>,
        fence: EffectFence,
        reason: &str,
    ) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        written(&mut transaction, fenced(FAILED, fence).bind(reason)).await?;
        Ok(around(points::OUTBOX_FAILED, transaction.commit()).await?)
    }

    /// Another attempt follows; a sender that is stopped gives no reason. [`StoreError::Fenced`] where the
    /// lease is lost.
    pub async fn retry(
        &self,
        acting: &Acting<'_>,
        fence: EffectFence,
        reason: Option<&str>,
        after: Duration,
    ) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let query = fenced(RETRY, fence).bind(reason).bind(after.as_secs_f64());
        written(&mut transaction, query).await?;
        Ok(around(points::OUTBOX_RETRY, transaction.commit()).await?)
    }
}

const fn longest_wait() -> Duration {
    Duration::from_millis(LONGEST_WAIT_MS)
}

type Query = sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn fenced(statement: &'static str, fence: EffectFence) -> Query {
    sqlx::query(statement)
        .bind(fence.id.as_uuid())
        .bind(fence.node_id.as_uuid())
        .bind(fence.lease_epoch)
}

async fn written(connection: &mut PgConnection, query: Query) -> Result<(), StoreError> {
    match query.execute(connection).await?.rows_affected() {
        0 => Err(StoreError::Fenced),
        _ => Ok(()),
    }
}
