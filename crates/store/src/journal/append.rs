//! Appends to journals, many in one statement.
//!
//! The statement locks each execution's row, checks its fence and takes the next number, so that a
//! stale owner cannot write, whoever's steps go out beside its own.

use std::collections::HashMap;

use journeyman_domain::ids::RunId;
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use super::{BlobHash, NewStep};
use crate::group::{self, Group};
use crate::queue::Fence;
use crate::tables::calls::ModelCall;
use crate::{Store, StoreError};

/// Appends that wait for a flush.
pub(crate) type Appends = Group<Append, i32>;

/// A step of one run, with those before it.
#[derive(Clone, Debug)]
pub(crate) struct Append {
    fence: Fence,
    run: RunId,
    /// Kind and entry; the last one is the step itself.
    entries: Vec<(String, Value)>,
    output: Option<(BlobHash, Vec<u8>)>,
    pack: Option<(BlobHash, Vec<u8>)>,
    snapshot: Option<String>,
    call: Option<ModelCall>,
}

impl Append {
    pub(super) fn of(fence: Fence, run: RunId, step: &NewStep<'_>) -> Self {
        let blob = |bytes: &[u8]| (BlobHash::of(bytes), bytes.to_vec());
        let before = step.before.iter().map(|(kind, entry)| ((*kind).to_owned(), entry.clone()));
        let last = (step.kind.to_owned(), step.payload.clone());
        Self {
            fence,
            run,
            entries: before.chain([last]).collect(),
            output: step.output.map(blob),
            pack: step.pack.map(blob),
            snapshot: step.snapshot_tree.map(str::to_owned),
            call: step.call.cloned(),
        }
    }
}

// FOR SHARE waits for a take-over that is under way and then finds the epoch changed; in one order,
// so that two flushes never wait for each other.
const APPEND: &str = "WITH held AS ( \
     SELECT o.n, o.run, e.lease_epoch FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[]) \
         WITH ORDINALITY AS o (execution, node, epoch, run, n) \
     JOIN task_executions e ON e.id = o.execution AND e.node_id = o.node \
         AND e.lease_epoch = o.epoch AND e.status = 'running' \
     JOIN agent_tasks r ON r.id = o.run AND r.execution_id = e.id ORDER BY e.id FOR SHARE OF e), \
 last AS ( \
     SELECT h.n, h.run, h.lease_epoch, \
         coalesce((SELECT max(s.seq) FROM run_steps s WHERE s.run_id = h.run), 0) AS seq FROM held h), \
 stored AS ( \
     INSERT INTO blobs (hash, size, bytes) \
     SELECT DISTINCT ON (b.hash) b.hash, length(b.bytes), b.bytes \
     FROM unnest($5::bigint[], $6::bytea[], $7::bytea[]) AS b (n, hash, bytes) JOIN held USING (n) \
     ORDER BY b.hash ON CONFLICT DO NOTHING), \
 called AS ( \
     INSERT INTO model_calls SELECT c.* FROM unnest($8::bigint[], $9::jsonb[]) AS k (n, call) \
     JOIN held USING (n), jsonb_populate_record(NULL::model_calls, k.call) c ON CONFLICT DO NOTHING), \
 written AS ( \
     INSERT INTO run_steps (run_id, seq, epoch, kind, payload, output_blob, snapshot_tree, pack_blob) \
     SELECT l.run, l.seq + s.place, l.lease_epoch, s.kind, s.payload, s.output, s.snapshot, s.pack \
     FROM unnest($10::bigint[], $11::integer[], $12::text[], $13::jsonb[], $14::bytea[], $15::text[], \
         $16::bytea[]) AS s (n, place, kind, payload, output, snapshot, pack) JOIN last l USING (n) \
     ORDER BY l.run, s.place) \
 SELECT n, seq FROM last";

pub(crate) const ALL: &[&str] = &[APPEND];

/// Writes appends in one commit; each one's last number, or why it was not written.
pub(super) async fn flush(store: Store, batch: Vec<Append>) -> Vec<Result<i32, StoreError>> {
    match written(&store, &batch).await {
        Ok(numbers) => batch
            .iter()
            .enumerate()
            .map(|(at, append)| {
                let seq = numbers.get(&count(at + 1)).ok_or(StoreError::Fenced)?;
                Ok(seq.saturating_add(i32::try_from(append.entries.len()).unwrap_or(i32::MAX)))
            })
            .collect(),
        Err(error) if batch.len() == 1 => vec![Err(error)],
        // It may have arrived all the same: each one looks for itself.
        Err(StoreError::Unavailable(_)) => batch.iter().map(|_| Err(group::lost())).collect(),
        // Of one that cannot be written, the others must not learn.
        Err(_) => one_by_one(&store, batch).await,
    }
}

async fn one_by_one(store: &Store, batch: Vec<Append>) -> Vec<Result<i32, StoreError>> {
    let mut answers = Vec::with_capacity(batch.len());
    for append in batch {
        let entries = i32::try_from(append.entries.len()).unwrap_or(i32::MAX);
        let numbers = written(store, std::slice::from_ref(&append)).await;
        answers.push(numbers.and_then(|numbers| {
            let seq = numbers.get(&1).ok_or(StoreError::Fenced)?;
            Ok(seq.saturating_add(entries))
        }));
    }
    answers
}

/// The number of the last step before each append, by its place from 1; none where its fence is lost.
async fn written(store: &Store, batch: &[Append]) -> Result<HashMap<i64, i32>, StoreError> {
    let (mut executions, mut nodes, mut epochs, mut runs) = (vec![], vec![], vec![], vec![]);
    let (mut blobs_of, mut hashes, mut contents): (Vec<i64>, Vec<&[u8]>, Vec<&[u8]>) =
        (vec![], vec![], vec![]);
    let (mut calls_of, mut calls): (Vec<i64>, Vec<Json<&ModelCall>>) = (vec![], vec![]);
    let mut steps = Steps::default();
    for (at, append) in batch.iter().enumerate() {
        let n = count(at + 1);
        executions.push(append.fence.execution_id.as_uuid());
        nodes.push(append.fence.node_id.as_uuid());
        epochs.push(append.fence.lease_epoch);
        runs.push(append.run.as_uuid());
        for (hash, bytes) in [&append.output, &append.pack].into_iter().flatten() {
            blobs_of.push(n);
            hashes.push(&hash.0);
            contents.push(bytes);
        }
        if let Some(call) = &append.call {
            calls_of.push(n);
            calls.push(Json(call));
        }
        steps.take(n, append);
    }
    let mut line = store.line().await?;
    let written = sqlx::query_as(APPEND)
        .bind::<Vec<Uuid>>(executions)
        .bind::<Vec<Uuid>>(nodes)
        .bind::<Vec<i64>>(epochs)
        .bind::<Vec<Uuid>>(runs)
        .bind(blobs_of)
        .bind(hashes)
        .bind(contents)
        .bind(calls_of)
        .bind(calls)
        .bind(steps.of)
        .bind(steps.places)
        .bind(steps.kinds)
        .bind(steps.payloads)
        .bind(steps.outputs)
        .bind(steps.snapshots)
        .bind(steps.packs)
        .fetch_all(&mut line)
        .await;
    let rows: Vec<(i64, i32)> = store.used(line, written.map_err(StoreError::from))?;
    Ok(rows.into_iter().collect())
}

/// The rows of a flush, by column.
#[derive(Default)]
struct Steps<'a> {
    of: Vec<i64>,
    places: Vec<i32>,
    kinds: Vec<&'a str>,
    payloads: Vec<&'a Value>,
    outputs: Vec<Option<&'a [u8]>>,
    snapshots: Vec<Option<&'a str>>,
    packs: Vec<Option<&'a [u8]>>,
}

impl<'a> Steps<'a> {
    fn take(&mut self, n: i64, append: &'a Append) {
        let last = append.entries.len();
        for (place, (kind, payload)) in (1..).zip(&append.entries) {
            // What lies beside a step is beside the last one.
            let is_last = usize::try_from(place).is_ok_and(|place| place == last);
            let hash = |blob: &'a Option<(BlobHash, Vec<u8>)>| {
                blob.as_ref().filter(|_| is_last).map(|(hash, _)| hash.0.as_slice())
            };
            self.of.push(n);
            self.places.push(place);
            self.kinds.push(kind);
            self.payloads.push(payload);
            self.outputs.push(hash(&append.output));
            self.snapshots.push(append.snapshot.as_deref().filter(|_| is_last));
            self.packs.push(hash(&append.pack));
        }
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
