//! The journal: what a run has decided and learned, append-only, and the blobs beside it.
//!
//! Owns: `run_steps` and `blobs`; how steps are written is `append`'s. Must never: change or remove a
//! step.

pub(crate) mod append;

use std::fmt;

use chrono::{DateTime, Utc};
use journeyman_domain::ids::{RunId, TaskId};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::FromRow;
use uuid::Uuid;

use self::append::Append;
use crate::group;
use crate::queue::Fence;
use crate::tables::calls::ModelCall;
use crate::tables::outbox::NewEffect;
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
    /// What it decides to do to a foreign system.
    pub effect: Option<&'a NewEffect>,
    /// Kinds and entries of steps that come right before it, in the same transaction.
    pub before: &'a [(&'static str, Value)],
    /// The number of the last step that its writer knows of, 0 where it knows of none. Without it the step takes
    /// whatever number is next.
    pub after: Option<i32>,
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
    /// Whether the row is the one that was appended; unknown for those of before there were digests.
    pub is_whole: Option<bool>,
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
    is_whole: Option<bool>,
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
            is_whole: row.is_whole,
        }
    }
}

const LOAD: &str = "SELECT run_id, seq, epoch, kind, payload, output_blob, snapshot_tree, \
     pack_blob, created_at, digest = step_digest(run_id, seq, epoch, kind, payload, output_blob, \
     snapshot_tree, pack_blob) AS is_whole FROM run_steps WHERE run_id = $1 ORDER BY seq";
const TAIL: &str = "SELECT s.run_id, s.seq, s.epoch, s.kind, s.payload, s.output_blob, \
     s.snapshot_tree, s.pack_blob, s.created_at, digest = step_digest(s.run_id, s.seq, s.epoch, s.kind, \
     s.payload, s.output_blob, s.snapshot_tree, s.pack_blob) AS is_whole FROM run_steps s \
     WHERE s.run_id IN (SELECT id FROM agent_tasks WHERE task_id = $1 AND id >= $2) \
     AND (s.run_id, s.seq) > ($2, $3) ORDER BY s.run_id, s.seq LIMIT $4";
const BLOB: &str = "SELECT bytes FROM blobs WHERE hash = $1";

pub(crate) const ALL: &[&str] = &[LOAD, TAIL, BLOB];

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
    /// Appends a step, with those before it, and gives its number; it is durable when this returns.
    /// Steps of several runs that come at once share a commit. A run has one writer: of two appends
    /// of one owner that meet, each gets a number of its own or is [`StoreError::Conflict`]; so is one whose
    /// [`NewStep::after`] is not the journal's end. After an error that leaves the outcome open
    /// ([`StoreError::Unavailable`]), load the journal before going on: the statement may still be under way,
    /// and only `after` keeps a second one from following it.
    pub async fn append(
        &self,
        fence: Fence,
        run: RunId,
        step: &NewStep<'_>,
    ) -> Result<i32, StoreError> {
        let fence = self.0.queue().unless_out(fence).await?;
        let (append, store) = (Append::of(fence, run, step), self.0.clone());
        self.0.appends.submit(append, |batch| group::flush(store, batch)).await
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

    /// A blob's bytes; [`StoreError::Damaged`] where they are gone, or others than were stored.
    pub async fn blob(&self, hash: &BlobHash) -> Result<Blob, StoreError> {
        let found: Option<Blob> =
            sqlx::query_scalar(BLOB).bind(hash.0.as_slice()).fetch_optional(self.0.pool()).await?;
        match found {
            Some(bytes) if BlobHash::of(&bytes) == *hash => Ok(bytes),
            Some(_) => Err(StoreError::Damaged(format!("the bytes of the blob {hash} are others"))),
            None => Err(StoreError::Damaged(format!("the blob {hash} is gone"))),
        }
    }
}
