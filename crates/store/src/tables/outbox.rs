//! `outbox`: effects on foreign systems, each decided in a transaction of something else and sent by whoever
//! claims it.
//!
//! A sender holds a lease with an epoch, and writes only while it is its own. How an effect is sent, and when
//! again, is none of this module's affair.

pub(crate) mod send;

use chrono::{DateTime, Utc};
use journeyman_domain::ids::{EffectId, NodeId, TaskId};
use journeyman_domain::outbox::EffectState;
use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::column::{MaybeId, Text};
use crate::{Acting, Store, StoreError};

pub use send::{EffectClaim, EffectFence, idle_statement};

/// One effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Outgoing {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: EffectId,
    /// What it is. One that this binary does not know must not hide the others.
    pub kind: String,
    /// Where it goes to, for a person; without secrets.
    pub target: String,
    /// What makes it this one effect and no other.
    pub idempotency_key: String,
    /// What its sender needs.
    pub payload: Value,
    /// Where it is.
    #[sqlx(try_from = "Text<EffectState>")]
    pub state: EffectState,
    /// How often it was begun.
    pub attempts: i32,
    /// From when on it may be begun.
    pub next_attempt_at: DateTime<Utc>,
    /// What names it on the other side.
    pub remote_id: Option<String>,
    /// Why the last attempt did not bring it about.
    pub last_error: Option<String>,
    /// For which task.
    #[sqlx(try_from = "MaybeId")]
    pub task_id: Option<TaskId>,
    /// The only machine that can bring it about.
    pub host: Option<String>,
    /// Who sends it, or did last.
    #[sqlx(try_from = "MaybeId")]
    pub node_id: Option<NodeId>,
    /// The epoch of the sender's lease.
    pub lease_epoch: i64,
    /// The span that decided it.
    pub traceparent: Option<String>,
    /// When it was decided.
    pub created_at: DateTime<Utc>,
}

/// An effect to write.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NewEffect {
    /// Fresh, of version 7.
    pub id: EffectId,
    /// What it is.
    pub kind: String,
    /// Where it goes to, for a person; without secrets.
    pub target: String,
    /// What makes it this one effect: where a row has it already, nothing is written.
    pub idempotency_key: String,
    /// What its sender needs.
    pub payload: Value,
    /// For which task.
    pub task_id: Option<TaskId>,
    /// The only machine that can bring it about.
    pub host: Option<String>,
    /// The span that decides it.
    pub traceparent: Option<String>,
}

macro_rules! columns {
    () => {
        "o.id, o.kind, o.target, o.idempotency_key, o.payload, o.state, o.attempts, o.next_attempt_at, \
         o.remote_id, o.last_error, o.task_id, o.host, o.node_id, o.lease_epoch, o.traceparent, o.created_at"
    };
}
use columns;

/// The row of a new effect, out of JSON.
macro_rules! record {
    () => {
        "(id uuid, kind text, target text, idempotency_key text, payload jsonb, task_id uuid, host text, \
         traceparent text)"
    };
}
pub(crate) use record;

const INSERT: &str = concat!(
    "INSERT INTO outbox (id, kind, target, idempotency_key, payload, task_id, host, traceparent, follows) \
     SELECT o.id, o.kind, o.target, o.idempotency_key, o.payload, o.task_id, o.host, o.traceparent, $2 \
     FROM jsonb_to_record($1) AS o ",
    record!(),
    " ON CONFLICT (idempotency_key) DO NOTHING"
);
const OF_TASK: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM outbox o WHERE o.task_id = $1 ORDER BY o.created_at, o.id"
);
const GET: &str = concat!("SELECT ", columns!(), " FROM outbox o WHERE o.id = $1");
// What is tried again at a time is tried at once. The machine that the user asks on has what is needed.
const RESEND: &str = "UPDATE outbox o SET state = 'pending', attempts = 0, next_attempt_at = now(), \
     host = CASE WHEN o.host IS NOT NULL THEN $2 END \
     WHERE o.task_id = $1 AND o.state IN ('failed', 'pending')";

pub(crate) const ALL: &[&str] = &[INSERT, OF_TASK, GET, RESEND];

/// The table `outbox`.
#[derive(Clone, Copy, Debug)]
pub struct Outbox<'a>(&'a Store);

impl Store {
    /// Effects on foreign systems.
    pub const fn outbox(&self) -> Outbox<'_> {
        Outbox(self)
    }
}

impl Outbox<'_> {
    /// Those of a task, in the order in which they were decided.
    pub async fn of_task(&self, task: TaskId) -> Result<Vec<Outgoing>, StoreError> {
        Ok(sqlx::query_as(OF_TASK).bind(task.as_uuid()).fetch_all(self.0.pool()).await?)
    }

    /// One, where it is still there.
    pub async fn get(&self, effect: EffectId) -> Result<Option<Outgoing>, StoreError> {
        Ok(sqlx::query_as(GET).bind(effect.as_uuid()).fetch_optional(self.0.pool()).await?)
    }

    /// Has what failed of a task sent again, from this machine, and what waits for its next attempt at once.
    /// [`StoreError::Conflict`] where nothing of it is to be sent.
    pub async fn resend(
        &self,
        acting: &Acting<'_>,
        task: TaskId,
        host: &str,
    ) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let query = sqlx::query(RESEND).bind(task.as_uuid()).bind(host);
        let changed = query.execute(&mut *transaction).await?.rows_affected();
        around(points::OUTBOX_RESEND, transaction.commit()).await?;
        if changed == 0 {
            let task = task.short();
            let nothing = format!("task {task} has nothing that waits to be sent or failed");
            return Err(StoreError::Conflict(nothing));
        }
        Ok(())
    }
}

/// Writes an effect in the transaction that decides it.
async fn insert(
    connection: &mut PgConnection,
    effect: &NewEffect,
    follows: EffectId,
) -> Result<(), StoreError> {
    sqlx::query(INSERT)
        .bind(sqlx::types::Json(effect))
        .bind(follows.as_uuid())
        .execute(connection)
        .await?;
    Ok(())
}
