//! Appends to journals, many in one statement.
//!
//! The statement locks each execution's row, checks its fence and takes the next number, so that a
//! stale owner cannot write, whoever's steps go out beside its own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use journeyman_domain::ids::RunId;
use journeyman_faults::{around, points};
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use super::{BlobHash, NewStep};
use crate::group::{self, Group, Write};
use crate::line::Work;
use crate::queue::Fence;
use crate::tables::calls::ModelCall;
use crate::tables::outbox::{NewEffect, record};
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
    effect: Option<NewEffect>,
    after: Option<i32>,
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
            effect: step.effect.cloned(),
            after: step.after,
        }
    }

    /// Whether nothing lies beside the entries.
    fn is_entries(&self) -> bool {
        self.output.is_none()
            && self.pack.is_none()
            && self.snapshot.is_none()
            && self.call.is_none()
            && self.effect.is_none()
    }
}

// FOR SHARE waits for a take-over that is under way and then finds the epoch changed; in one order,
// so that two flushes never wait for each other. Where the last number is known, the run is known to be
// the execution's, too. What was to come after another step than that is not written, and nothing beside it.
macro_rules! held_and_last {
    () => {
        "WITH held AS ( \
             SELECT o.n, o.run, o.last, o.after, e.lease_epoch \
             FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::integer[], $6::integer[]) \
                 WITH ORDINALITY AS o (execution, node, epoch, run, last, after, n) \
             JOIN task_executions e ON e.id = o.execution AND e.node_id = o.node \
                 AND e.lease_epoch = o.epoch AND e.status = 'running' \
             WHERE CASE WHEN o.last IS NOT NULL THEN true \
                 ELSE (SELECT r.execution_id FROM agent_tasks r WHERE r.id = o.run) = e.id END \
             ORDER BY e.id FOR SHARE OF e), \
         found AS ( \
             SELECT h.n, h.run, h.lease_epoch, h.after, coalesce(h.last, \
                 (SELECT max(s.seq) FROM run_steps s WHERE s.run_id = h.run), 0) AS seq FROM held h), \
         last AS (SELECT * FROM found WHERE after IS NULL OR after = seq), "
    };
}

// Nothing but entries: most steps of most runs.
const APPEND_ENTRIES: &str = concat!(
    held_and_last!(),
    "written AS ( \
         INSERT INTO run_steps (run_id, seq, epoch, kind, payload, digest) \
         SELECT l.run, l.seq + s.place, l.lease_epoch, s.kind, s.payload, step_digest(l.run, \
             l.seq + s.place, l.lease_epoch, s.kind, s.payload, NULL, NULL, NULL) \
         FROM unnest($7::bigint[], $8::integer[], $9::text[], $10::jsonb[]) AS s (n, place, kind, payload) \
         JOIN last l USING (n) ORDER BY l.run, s.place) \
     SELECT n, seq FROM found"
);
macro_rules! append {
    ($($more:expr),*) => {
        concat!(
            held_and_last!(),
            "stored AS ( \
                 INSERT INTO blobs (hash, size, bytes) \
                 SELECT DISTINCT ON (b.hash) b.hash, length(b.bytes), b.bytes \
                 FROM unnest($14::bigint[], $15::bytea[], $16::bytea[]) AS b (n, hash, bytes) JOIN last USING (n) \
                 ORDER BY b.hash ON CONFLICT DO NOTHING), \
             called AS ( \
                 INSERT INTO model_calls SELECT c.* FROM unnest($17::bigint[], $18::jsonb[]) AS k (n, call) \
                 JOIN last USING (n), jsonb_populate_record(NULL::model_calls, k.call) c ON CONFLICT DO NOTHING), ",
            $($more,)*
            "written AS ( \
                 INSERT INTO run_steps (run_id, seq, epoch, kind, payload, output_blob, snapshot_tree, pack_blob, digest) \
                 SELECT l.run, l.seq + s.place, l.lease_epoch, s.kind, s.payload, s.output, s.snapshot, s.pack, \
                     step_digest(l.run, l.seq + s.place, l.lease_epoch, s.kind, s.payload, s.output, s.snapshot, s.pack) \
                 FROM unnest($7::bigint[], $8::integer[], $9::text[], $10::jsonb[], $11::bytea[], $12::text[], \
                     $13::bytea[]) AS s (n, place, kind, payload, output, snapshot, pack) JOIN last l USING (n) \
                 ORDER BY l.run, s.place) \
             SELECT n, seq FROM found"
        )
    };
}
const APPEND: &str = append!();
// Seldom: a step that decides an effect on a foreign system. The audit of its row learns here who acts, and in
// which trace.
const APPEND_EFFECT: &str = append!(
    "posted AS ( \
         INSERT INTO outbox (id, kind, target, idempotency_key, payload, task_id, host, traceparent) \
         SELECT o.id, o.kind, o.target, o.idempotency_key, o.payload, o.task_id, o.host, o.traceparent \
         FROM unnest($19::bigint[], $20::jsonb[]) AS k (n, effect) JOIN last USING (n), \
             jsonb_to_record(k.effect) AS o ",
    record!(),
    " WHERE set_config('journeyman.actor', 'run', true) IS NOT NULL \
             AND set_config('journeyman.trace_id', coalesce(split_part(o.traceparent, '-', 2), ''), true) IS NOT NULL \
             AND set_config('journeyman.span_id', coalesce(split_part(o.traceparent, '-', 3), ''), true) IS NOT NULL \
         ON CONFLICT (idempotency_key) DO NOTHING), "
);

pub(crate) const ALL: &[&str] = &[APPEND_ENTRIES, APPEND, APPEND_EFFECT];

impl Write for Append {
    type Answer = i32;

    /// The audit of an effect's row learns from its statement who acts, in which trace: of one effect only.
    fn is_alone(&self) -> bool {
        self.effect.is_some()
    }

    /// Each one's last number, or why it was not written.
    async fn write(store: &Store, batch: &[Self]) -> group::Written<Self> {
        let before = match written(store, batch, true).await {
            Err(StoreError::Conflict(_)) => written(store, batch, false).await?,
            before => before?,
        };
        let answers = (1..).zip(batch).map(|(n, append): (i64, &Self)| {
            let seq = *before.get(&n).ok_or(StoreError::Fenced)?;
            if append.after.is_some_and(|after| after != seq) {
                let said = format!("the journal of run {} ends with step {seq}", append.run);
                return Err(StoreError::Conflict(said));
            }
            Ok(seq.saturating_add(i32::try_from(append.entries.len()).unwrap_or(i32::MAX)))
        });
        let answers: Vec<_> = answers.collect();
        store.ends.learn(batch, &answers);
        Ok(answers)
    }
}

/// The last numbers of journals that were written here, by fence and run: it saves the look for them.
/// Under one fence nobody else writes; if somebody does, the number is taken, and is looked for again.
#[derive(Debug, Default)]
pub(crate) struct Ends(Mutex<HashMap<(Fence, RunId), i32>>);

/// Journals whose ends are known at the most.
const ENDS: usize = 4096;

impl Ends {
    /// What is known of these; it is known no more until they are written.
    fn forget(&self, batch: &[Append]) -> Vec<Option<i32>> {
        let mut ends = self.lock();
        batch.iter().map(|append| ends.remove(&(append.fence, append.run))).collect()
    }

    fn learn(&self, batch: &[Append], answers: &[Result<i32, StoreError>]) {
        let mut ends = self.lock();
        if ends.len() + batch.len() > ENDS {
            ends.clear();
        }
        for (append, answer) in batch.iter().zip(answers) {
            if let Ok(last) = answer {
                let end = ends.entry((append.fence, append.run)).or_insert(*last);
                *end = (*end).max(*last);
            }
        }
    }

    /// Forgets all: the database may be another one, or one of an earlier day.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Fence, RunId), i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of the last step before each append, by its place from 1; none where its fence is lost.
async fn written(
    store: &Store,
    batch: &[Append],
    remembers: bool,
) -> Result<HashMap<i64, i32>, StoreError> {
    let (mut executions, mut nodes, mut epochs, mut runs) = (vec![], vec![], vec![], vec![]);
    let (mut blobs_of, mut hashes, mut contents): (Vec<i64>, Vec<&[u8]>, Vec<&[u8]>) =
        (vec![], vec![], vec![]);
    let (mut calls_of, mut calls): (Vec<i64>, Vec<Json<&ModelCall>>) = (vec![], vec![]);
    let (mut effects_of, mut effects): (Vec<i64>, Vec<Json<&NewEffect>>) = (vec![], vec![]);
    let afters: Vec<_> = batch.iter().map(|append| append.after).collect();
    let mut steps = Steps::default();
    for (n, append) in (1..).zip(batch) {
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
        if let Some(effect) = &append.effect {
            effects_of.push(n);
            effects.push(Json(effect));
        }
        steps.take(n, append);
    }
    let are_entries = batch.iter().all(Append::is_entries);
    let mut line = store.line(Work::Append).await?;
    // After the line: with a new one all is forgotten.
    let known = store.ends.forget(batch);
    let known = if remembers { known } else { vec![None; batch.len()] };
    let statement = match (are_entries, effects.is_empty()) {
        (true, _) => APPEND_ENTRIES,
        (false, true) => APPEND,
        (false, false) => APPEND_EFFECT,
    };
    let mut query = sqlx::query_as(statement)
        .bind::<Vec<Uuid>>(executions)
        .bind::<Vec<Uuid>>(nodes)
        .bind::<Vec<i64>>(epochs)
        .bind::<Vec<Uuid>>(runs)
        .bind(known)
        .bind(afters)
        .bind(steps.of)
        .bind(steps.places)
        .bind(steps.kinds)
        .bind(steps.payloads);
    if !are_entries {
        query = query
            .bind(steps.outputs)
            .bind(steps.snapshots)
            .bind(steps.packs)
            .bind(blobs_of)
            .bind(hashes)
            .bind(contents)
            .bind(calls_of)
            .bind(calls);
    }
    if !effects.is_empty() {
        query = query.bind(effects_of).bind(effects);
    }
    let written = around(points::APPEND, query.fetch_all(&mut line)).await;
    let rows: Vec<(i64, i32)> =
        store.used(Work::Append, line, written.map_err(StoreError::from))?;
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
