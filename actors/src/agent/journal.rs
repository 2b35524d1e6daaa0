//! A run's journal in the hands of its executor: every entry is durable before it counts.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use journeyman_domain::failure::sentence;
use journeyman_domain::ids::RunId;
use journeyman_domain::run::Run;
use journeyman_domain::step::{self, Entry};
use journeyman_faults::{Mechanism, is_out};
use journeyman_store::{
    BlobHash, Fence, ModelCall, NewEffect, NewStep, Step, Store, StoreError, is_transient,
};
use tokio_util::sync::CancellationToken;

use super::execute::RunError;

/// How long a stop waits for an answer that was paid for to be written down.
const PAID: Duration = Duration::from_secs(8);

/// The journal, folded as far as it is written.
pub(super) struct Journal {
    store: Store,
    fence: Fence,
    id: RunId,
    stop: CancellationToken,
    /// The entries so far, with what lies beside them.
    pub(super) steps: Vec<Recorded>,
    /// Their fold.
    pub(super) run: Run,
    /// Kinds and entries that are folded in and are written with the next one.
    deferred: Vec<(&'static str, serde_json::Value)>,
    /// Milliseconds that earlier lives worked.
    earlier_ms: u64,
    began: Instant,
}

/// An entry with what lies beside it.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) seq: i32,
    pub(super) entry: Entry,
    /// The snapshot that was taken with it: its commit.
    pub(super) snapshot: Option<String>,
    /// Where the whole output is.
    pub(super) output: Option<BlobHash>,
    /// Where the snapshot's pack is.
    pub(super) pack: Option<BlobHash>,
    /// When an earlier life wrote it.
    pub(super) written_at: Option<DateTime<Utc>>,
}

/// What is stored beside an entry.
#[derive(Default)]
pub(super) struct Beside {
    /// The whole output of a call, or the diff of a verification.
    pub(super) output: Option<Vec<u8>>,
    /// The commit of the snapshot that was taken after it.
    pub(super) snapshot: Option<String>,
    /// What the snapshot needs beyond those before it.
    pub(super) pack: Option<Vec<u8>>,
    /// The model call whose answer it is.
    pub(super) call: Option<ModelCall>,
    /// What it decides to do to a foreign system.
    pub(super) effect: Option<NewEffect>,
}

impl Journal {
    /// Reads a run's journal; [`RunError::Damaged`] where it is not what was written.
    pub(super) async fn load(
        store: Store,
        fence: Fence,
        id: RunId,
        stop: CancellationToken,
    ) -> Result<Self, RunError> {
        let mut rows = store.journal().load(id).await?;
        if is_out(Mechanism::JournaledAnswers)
            && let Some(last) = rows.iter().rposition(|row| row.kind == "model_response")
        {
            rows.truncate(last);
        }
        let earlier_ms = worked_ms(&rows);
        let found = rows.iter().map(|row| step::Row {
            seq: row.seq,
            kind: &row.kind,
            payload: &row.payload,
            is_whole: row.is_whole,
        });
        let entries = step::read(found).map_err(|damage| damaged(id, &damage))?;
        let steps: Vec<_> = rows.into_iter().zip(entries).map(record).collect();
        let run = Run::from_journal(steps.iter().map(|step| &step.entry));
        let deferred = Vec::new();
        Ok(Self { store, fence, id, stop, steps, run, deferred, earlier_ms, began: Instant::now() })
    }

    /// Milliseconds of work over all lives.
    pub(super) fn elapsed_ms(&self) -> u64 {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.earlier_ms.saturating_add(now)
    }

    /// Writes an entry and folds it in.
    pub(super) async fn append(&mut self, entry: Entry) -> Result<(), RunError> {
        self.append_with(entry, Beside::default()).await
    }

    /// Writes an entry with what lies beside it, and folds it in. While the database is away it is
    /// tried again until the run is told to stop; the fence then says whether it is still ours.
    pub(super) async fn append_with(
        &mut self,
        entry: Entry,
        beside: Beside,
    ) -> Result<(), RunError> {
        let payload = payload(&entry)?;
        let step = NewStep {
            kind: entry.kind(),
            payload,
            output: beside.output.as_deref(),
            snapshot_tree: beside.snapshot.as_deref(),
            pack: beside.pack.as_deref(),
            call: beside.call.as_ref(),
            effect: beside.effect.as_ref(),
            before: &self.deferred,
            after: self.written(),
        };
        let seq = self.patiently(&step).await?;
        self.deferred.clear();
        self.run.apply(&entry);
        self.steps.push(Recorded {
            seq,
            entry,
            output: beside.output.as_deref().map(BlobHash::of),
            pack: beside.pack.as_deref().map(BlobHash::of),
            snapshot: beside.snapshot,
            written_at: None,
        });
        Ok(())
    }

    /// Folds an entry in and writes it with the next one, in one transaction. Only for what a read was
    /// or gave: where it is lost with the process, the file is read again, and nothing else happened.
    pub(super) fn defer(&mut self, entry: Entry) -> Result<(), RunError> {
        self.deferred.push((entry.kind(), payload(&entry)?));
        self.run.apply(&entry);
        let seq = self.steps.last().map_or(1, |last| last.seq + 1);
        let (snapshot, output, pack, written_at) = (None, None, None, None);
        self.steps.push(Recorded { seq, entry, snapshot, output, pack, written_at });
        Ok(())
    }

    /// The number of the last step that is written, which the next one follows. An execution without one of these
    /// mechanisms does not know it.
    fn written(&self) -> Option<i32> {
        if is_out(Mechanism::JournaledAnswers) || is_out(Mechanism::Fence) {
            return None;
        }
        let deferred = i32::try_from(self.deferred.len()).unwrap_or(i32::MAX);
        Some(self.steps.last().map_or(0, |last| last.seq - deferred))
    }

    async fn patiently(&self, step: &NewStep<'_>) -> Result<i32, RunError> {
        let mut pause = Duration::from_millis(50);
        let mut doubt: Option<StoreError> = None;
        let mut is_told = false;
        let given_up = async {
            self.stop.cancelled().await;
            // What was paid for is worth a moment of a stop.
            if step.kind == "model_response" {
                tokio::time::sleep(PAID).await;
            }
        };
        tokio::pin!(given_up);
        loop {
            if let Some(cause) = doubt.take() {
                // The answer was lost, the step perhaps not: it is there, it is not, or it is still on its way. What
                // is on its way takes its number, and the next try is refused for that.
                match self.arrived(step).await {
                    Ok(Some(seq)) => return Ok(seq),
                    Ok(None) if is_transient(&cause) => {}
                    Ok(None) => return Err(cause.into()),
                    Err(error) if is_transient(&error) => doubt = Some(cause),
                    Err(error) => return Err(error.into()),
                }
            }
            if doubt.is_none() {
                match self.store.journal().append(self.fence, self.id, step).await {
                    Ok(seq) => return Ok(seq),
                    Err(error)
                        if is_transient(&error) || matches!(error, StoreError::Conflict(_)) =>
                    {
                        if !is_told {
                            tracing::warn!(error = %sentence(&error), "the journal is not written; trying again");
                        }
                        is_told = true;
                        // Without room it is certain that nothing was written.
                        let is_certain =
                            error.sqlstate().is_some_and(|state| state.starts_with("53"));
                        doubt = Some(error).filter(|_| !is_certain);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = &mut given_up => return Err(RunError::Stopped),
            }
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// The number of a step that is there although its answer was lost.
    async fn arrived(&self, step: &NewStep<'_>) -> Result<Option<i32>, StoreError> {
        let next = self.steps.last().map_or(1, |last| last.seq + 1);
        let rows = self.store.journal().load(self.id).await?;
        // The next owner may have gone on with the very same step.
        let epoch = self.fence.lease_epoch;
        let is_ours =
            |row: &&Step| row.seq == next && row.epoch == epoch && row.payload == step.payload;
        Ok(rows.iter().find(is_ours).map(|row| row.seq))
    }

    /// The whole output beside a step.
    pub(super) async fn output(&self, step: &Recorded) -> Result<Vec<u8>, RunError> {
        self.blob(step, step.output.as_ref()).await
    }

    /// The pack of a step's snapshot.
    pub(super) async fn pack(&self, step: &Recorded) -> Result<Vec<u8>, RunError> {
        self.blob(step, step.pack.as_ref()).await
    }

    async fn blob(&self, step: &Recorded, hash: Option<&BlobHash>) -> Result<Vec<u8>, RunError> {
        let Some(hash) = hash else { return Ok(Vec::new()) };
        match self.store.journal().blob(hash).await {
            Err(StoreError::Damaged(reason)) => {
                Err(damaged(self.id, &format!("of step {}, {reason}", step.seq)))
            }
            read => Ok(read?),
        }
    }

    /// The last snapshot, counted up to a call where one is named.
    pub(super) fn snapshot(&self, after_call: Option<&str>) -> Option<&Recorded> {
        let end = match after_call {
            None => self.steps.len(),
            Some(call) => {
                let is_result = |step: &Recorded| matches!(&step.entry, Entry::ToolResult { result } if result.call_id == call);
                self.steps.iter().rposition(is_result)? + 1
            }
        };
        self.steps[..end].iter().rev().find(|step| step.snapshot.is_some())
    }
}

/// What says that a run's journal cannot be trusted.
pub(super) fn damaged(run: RunId, what: &impl std::fmt::Display) -> RunError {
    RunError::Damaged(format!("the journal of run {run} is damaged: {what}"))
}

fn record((step, entry): (Step, Entry)) -> Recorded {
    Recorded {
        seq: step.seq,
        entry,
        snapshot: step.snapshot_tree,
        output: step.output_blob,
        pack: step.pack_blob,
        written_at: Some(step.created_at),
    }
}

fn payload(entry: &Entry) -> Result<serde_json::Value, RunError> {
    serde_json::to_value(entry)
        .map_err(|error| RunError::Task(format!("an entry cannot be written: {error}")))
}

/// The time that earlier lives worked: the gaps between neighbouring steps of one epoch.
fn worked_ms(steps: &[Step]) -> u64 {
    let gaps = steps.windows(2).filter(|pair| pair[0].epoch == pair[1].epoch);
    gaps.map(|pair| (pair[1].created_at - pair[0].created_at).num_milliseconds())
        .map(|ms| u64::try_from(ms).unwrap_or(0))
        .sum()
}
