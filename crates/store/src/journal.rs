//! The journal: what a run has decided and learned, append-only, and the blobs beside it.
//!
//! Owns: `run_steps` and `blobs`. An append is one statement that locks the execution's row, checks
//! the fence and takes the next number, so that a stale owner cannot write. Must never: change or
//! remove a step.

use std::fmt;

use chrono::{DateTime, Utc};
use journeyman_domain::ids::{RunId, TaskId};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::queue::Fence;
use crate::tables::calls::ModelCall;
use crate::{Store, StoreError};

/// A blob's name: the SHA-256 of its bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BlobHash(Vec<u8>);

impl BlobHash {
    /// The name of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).to_vec())
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobHash({self})")
    }
}

impl Serialize for BlobHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The content of a blob.
pub type Blob = Vec<u8>;

/// A step to append.
#[derive(Clone, Debug, Default)]
pub struct NewStep<'a> {
    /// The word that names the entry.
    pub kind: &'a str,
    /// The entry.
    pub payload: Value,
    /// A whole output.
    pub output: Option<&'a [u8]>,
    /// The git tree of the workspace after the step.
    pub snapshot_tree: Option<&'a str>,
    /// The thin pack that makes that tree from the one before.
    pub pack: Option<&'a [u8]>,
    /// The model call whose answer it is.
    pub call: Option<&'a ModelCall>,
    /// Kinds and entries of steps that come right before it, in the same transaction.
    pub before: &'a [(&'static str, Value)],
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The run.
    pub run_id: RunId,
    /// From 1, without gaps.
    pub seq: i32,
    /// The epoch of the lease under which it was appended.
    pub epoch: i64,
    /// The word that names the entry.
    pub kind: String,
    /// The entry.
    pub payload: Value,
    /// A whole output.
    pub output_blob: Option<BlobHash>,
    /// The git tree of the workspace after the step.
    pub snapshot_tree: Option<String>,
    /// The thin pack that makes that tree.
    pub pack_blob: Option<BlobHash>,
    /// When it was appended.
    pub created_at: DateTime<Utc>,
}

/// A place in the journals of a task: runs come after each other, steps within them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StepPosition {
    /// The run.
    pub run_id: RunId,
    /// The step in it.
    pub seq: i32,
}

impl Step {
    /// Where it stands.
    pub const fn position(&self) -> StepPosition {
        StepPosition { run_id: self.run_id, seq: self.seq }
    }
}

#[derive(FromRow)]
struct StepRow {
    run_id: Uuid,
    seq: i32,
    epoch: i64,
    kind: String,
    payload: Value,
    output_blob: Option<Vec<u8>>,
    snapshot_tree: Option<String>,
    pack_blob: Option<Vec<u8>>,
    created_at: DateTime<Utc>,
}

impl From<StepRow> for Step {
    fn from(row: StepRow) -> Self {
        Self {
            run_id: RunId::from_uuid(row.run_id),
            seq: row.seq,
            epoch: row.epoch,
            kind: row.kind,
            payload: row.payload,
            output_blob: row.output_blob.map(BlobHash),
            snapshot_tree: row.snapshot_tree,
            pack_blob: row.pack_blob.map(BlobHash),
            created_at: row.created_at,
        }
    }
}

// FOR SHARE waits for a take-over that is under way and then finds the epoch changed.
macro_rules! held {
    () => {
        "WITH held AS ( \
             SELECT e.lease_epoch FROM task_executions e JOIN agent_tasks r ON r.execution_id = e.id \
             WHERE e.id = $1 AND e.node_id = $2 AND e.lease_epoch = $3 AND e.status = 'running' \
                 AND r.id = $4 FOR SHARE OF e)"
    };
}
pub(crate) use held;

macro_rules! append {
    ($beside:literal) => {
        concat!(
            held!(),
            ", stored AS ( \
             INSERT INTO blobs (hash, size, bytes) \
             SELECT b.hash, length(b.bytes), b.bytes FROM held, unnest($7::bytea[], $8::bytea[]) \
                 AS b (hash, bytes) ON CONFLICT DO NOTHING)",
            $beside,
            ", last AS (SELECT coalesce(max(seq), 0) AS seq FROM run_steps WHERE run_id = $4), \
             before AS ( \
                 INSERT INTO run_steps (run_id, seq, epoch, kind, payload) \
                 SELECT $4, last.seq + b.n, held.lease_epoch, b.kind, b.payload FROM held, last, \
                     unnest($12::text[], $13::jsonb[]) WITH ORDINALITY AS b (kind, payload, n)) \
             INSERT INTO run_steps (run_id, seq, epoch, kind, payload, output_blob, \
                 snapshot_tree, pack_blob) \
             SELECT $4, last.seq + cardinality($12::text[]) + 1, held.lease_epoch, $5, $6, $9, \
                 $10, $11 FROM held, last RETURNING seq"
        )
    };
}
const APPEND: &str = append!("");
// With the model call whose answer the step is, so that no answer is without its bill.
const APPEND_ANSWER: &str = append!(
    ", called AS (INSERT INTO model_calls SELECT c.* FROM held, \
         jsonb_populate_record(NULL::model_calls, $14) c ON CONFLICT DO NOTHING)"
);
const LOAD: &str = "SELECT run_id, seq, epoch, kind, payload, output_blob, snapshot_tree, \
     pack_blob, created_at FROM run_steps WHERE run_id = $1 ORDER BY seq";
const TAIL: &str = "SELECT s.run_id, s.seq, s.epoch, s.kind, s.payload, s.output_blob, \
     s.snapshot_tree, s.pack_blob, s.created_at FROM run_steps s \
     WHERE s.run_id IN (SELECT id FROM agent_tasks WHERE task_id = $1 AND id >= $2) \
     AND (s.run_id, s.seq) > ($2, $3) ORDER BY s.run_id, s.seq LIMIT $4";
const BLOB: &str = "SELECT bytes FROM blobs WHERE hash = $1";

pub(crate) const ALL: &[&str] = &[APPEND, APPEND_ANSWER, LOAD, TAIL, BLOB];

/// The tables `run_steps` and `blobs`.
#[derive(Clone, Copy, Debug)]
pub struct Journal<'a>(&'a Store);

impl Store {
    /// The journal.
    pub const fn journal(&self) -> Journal<'_> {
        Journal(self)
    }
}

impl Journal<'_> {
    /// Appends a step, with those before it, and gives its number; it is durable when this returns. A run has one writer:
    /// where two appends of one owner meet, one of them is [`StoreError::Conflict`]. After an error
    /// that leaves the outcome open ([`StoreError::Unavailable`]), load the journal before going on.
    pub async fn append(
        &self,
        fence: Fence,
        run: RunId,
        step: &NewStep<'_>,
    ) -> Result<i32, StoreError> {
        let output = step.output.map(|bytes| (BlobHash::of(bytes), bytes));
        let pack = step.pack.map(|bytes| (BlobHash::of(bytes), bytes));
        let (hashes, contents): (Vec<&[u8]>, Vec<&[u8]>) = [&output, &pack]
            .into_iter()
            .flatten()
            .map(|(hash, bytes)| (hash.0.as_slice(), *bytes))
            .unzip();
        let statement = if step.call.is_some() { APPEND_ANSWER } else { APPEND };
        let mut query = sqlx::query_scalar(statement)
            .bind(fence.execution_id.as_uuid())
            .bind(fence.node_id.as_uuid())
            .bind(fence.lease_epoch)
            .bind(run.as_uuid())
            .bind(step.kind)
            .bind(&step.payload)
            .bind(hashes)
            .bind(contents)
            .bind(output.as_ref().map(|(hash, _)| hash.0.as_slice()))
            .bind(step.snapshot_tree)
            .bind(pack.as_ref().map(|(hash, _)| hash.0.as_slice()))
            .bind(step.before.iter().map(|(kind, _)| *kind).collect::<Vec<_>>())
            .bind(step.before.iter().map(|(_, payload)| payload).collect::<Vec<_>>());
        if let Some(call) = step.call {
            query = query.bind(Json(call));
        }
        let seq: Option<i32> = query.fetch_optional(self.0.pool()).await?;
        seq.ok_or(StoreError::Fenced)
    }

    /// All steps of a run.
    pub async fn load(&self, run: RunId) -> Result<Vec<Step>, StoreError> {
        let rows: Vec<StepRow> =
            sqlx::query_as(LOAD).bind(run.as_uuid()).fetch_all(self.0.pool()).await?;
        Ok(rows.into_iter().map(Step::from).collect())
    }

    /// The steps of all runs of a task after a place, at most `limit`.
    pub async fn tail(
        &self,
        task: TaskId,
        after: Option<StepPosition>,
        limit: u32,
    ) -> Result<Vec<Step>, StoreError> {
        let (run, seq) = after.map_or((Uuid::nil(), 0), |at| (at.run_id.as_uuid(), at.seq));
        let rows: Vec<StepRow> = sqlx::query_as(TAIL)
            .bind(task.as_uuid())
            .bind(run)
            .bind(seq)
            .bind(i64::from(limit))
            .fetch_all(self.0.pool())
            .await?;
        Ok(rows.into_iter().map(Step::from).collect())
    }

    /// A blob's bytes.
    pub async fn blob(&self, hash: &BlobHash) -> Result<Blob, StoreError> {
        let found: Option<Blob> =
            sqlx::query_scalar(BLOB).bind(hash.0.as_slice()).fetch_optional(self.0.pool()).await?;
        found.ok_or_else(|| StoreError::not_found("blob", hash))
    }
}
