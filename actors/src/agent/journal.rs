//! A run's journal in the hands of its executor: every entry is durable before it counts.

use std::time::{Duration, Instant};

use journeyman_domain::ids::RunId;
use journeyman_domain::run::Run;
use journeyman_domain::step::Entry;
use journeyman_store::{Acting, Fence, NewStep, Step, Store, StoreError, is_transient};
use tokio_util::sync::CancellationToken;

use super::execute::RunError;

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
    pub(super) output: Option<journeyman_store::BlobHash>,
    /// Where the snapshot's pack is.
    pub(super) pack: Option<journeyman_store::BlobHash>,
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
}

impl Journal {
    /// Reads a run's journal.
    pub(super) async fn load(
        store: Store,
        fence: Fence,
        id: RunId,
        stop: CancellationToken,
    ) -> Result<Self, StoreError> {
        let rows = store.steps(id).await?;
        let earlier_ms = worked_ms(&rows);
        let steps = rows.into_iter().map(record).collect::<Result<Vec<_>, _>>()?;
        let run = Run::from_journal(steps.iter().map(|step| &step.entry));
        Ok(Self { store, fence, id, stop, steps, run, earlier_ms, began: Instant::now() })
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
        let payload = serde_json::to_value(&entry)
            .map_err(|error| RunError::Task(format!("an entry cannot be written: {error}")))?;
        let step = NewStep {
            kind: entry.kind().to_owned(),
            payload,
            output: beside.output,
            snapshot: beside.snapshot.clone(),
            pack: beside.pack,
        };
        let position = self.patiently(&step).await?;
        self.run.apply(&entry);
        self.steps.push(Recorded {
            seq: position.seq,
            entry,
            snapshot: beside.snapshot,
            output: position.output,
            pack: position.pack,
        });
        Ok(())
    }

    async fn patiently(
        &self,
        step: &NewStep,
    ) -> Result<journeyman_store::StepPosition, RunError> {
        let mut pause = Duration::from_millis(50);
        loop {
            let next = self.steps.last().map_or(1, |last| last.seq + 1);
            let written = self.store.append(&Acting::now("run"), &self.fence, self.id, next, step);
            match written.await {
                Ok(position) => return Ok(position),
                Err(error) if is_transient(&error) => {
                    tracing::warn!(error = %error, "the journal cannot be written; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.stop.cancelled() => return Err(RunError::Stopped),
                    }
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The whole output beside a step.
    pub(super) async fn output(&self, step: &Recorded) -> Result<Vec<u8>, StoreError> {
        match &step.output {
            Some(hash) => Ok(self.store.blob(hash).await?.bytes),
            None => Ok(Vec::new()),
        }
    }

    /// The last snapshot, counted up to a call where one is named.
    pub(super) fn snapshot(&self, after_call: Option<&str>) -> Option<&Recorded> {
        let end = match after_call {
            None => self.steps.len(),
            Some(call) => {
                let is_result = |step: &Recorded| {
                    matches!(&step.entry, Entry::ToolResult { result } if result.call_id == call)
                };
                self.steps.iter().rposition(is_result)? + 1
            }
        };
        self.steps[..end].iter().rev().find(|step| step.snapshot.is_some())
    }
}

fn record(step: Step) -> Result<Recorded, StoreError> {
    let entry = serde_json::from_value(step.payload).map_err(|error| {
        StoreError::Conflict(format!("step {} of the journal is damaged: {error}", step.seq))
    })?;
    Ok(Recorded {
        seq: step.seq,
        entry,
        snapshot: step.snapshot,
        output: step.output,
        pack: step.pack,
    })
}

/// The time that earlier lives worked: the gaps between neighbouring steps of one epoch.
fn worked_ms(steps: &[Step]) -> u64 {
    let gaps = steps.windows(2).filter(|pair| pair[0].epoch == pair[1].epoch);
    gaps.map(|pair| (pair[1].created_at - pair[0].created_at).num_milliseconds())
        .map(|ms| u64::try_from(ms).unwrap_or(0))
        .sum()
}
