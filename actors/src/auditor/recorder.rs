//! Writes the ledger of the tree down: every record, in order, once.
//!
//! A record leaves the ledger only when the database has answered that it is there. What could not be written stays,
//! and is written later, by this auditor or by the next one. A try whose answer was lost is made again, and the store
//! leaves out what stands there already.

use std::time::Duration;

use chrono::{DateTime, Utc};
use journeyman_domain::failure::sentence;
use journeyman_domain::ids::NodeId;
use journeyman_store::audit::{OnceEvent, Subject};
use journeyman_store::{Store, StoreError};
use journeyman_supervision::{Ledger, SupervisionRecord, Writer};
use tokio_util::sync::CancellationToken;

use super::messages::{AuditorHandle, AuditorMessage};
use crate::context::Mode;

/// One try; whatever it was that took longer, it is tried again.
const TRY_LIMIT: Duration = Duration::from_secs(30);
/// Between two tries: the first pause, doubled each time, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// What writing a ledger takes.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// Where to.
    pub store: Store,
    /// Whose tree it is.
    pub node: NodeId,
    /// An observer has no row that records could be about, and writes none.
    pub mode: Mode,
    /// What is written.
    pub ledger: Ledger,
}

impl Recorder {
    /// Writes until it is told to stop, however often the database is away.
    pub(super) async fn write_on(self, auditor: AuditorHandle, stop: CancellationToken) {
        let writer = tokio::select! {
            writer = self.ledger.writer() => writer,
            () = stop.cancelled() => return,
        };
        let mut writer = writer;
        let mut pause = PAUSES.0;
        loop {
            let records = tokio::select! {
                records = writer.next() => records,
                () = stop.cancelled() => return,
            };
            // Not cut off by the stop: its outcome would then be unknown.
            let tried = tokio::time::timeout(TRY_LIMIT, self.write(&mut writer, &records)).await;
            let error = match tried {
                Ok(Ok(())) => {
                    pause = PAUSES.0;
                    auditor.tell(AuditorMessage::Recorded { records: records.len() as u64 });
                    continue;
                }
                Ok(Err(error)) => sentence(&error),
                Err(_) => "the database did not answer in time".to_owned(),
            };
            if pause == PAUSES.0 {
                let waiting = self.ledger.waiting();
                tracing::warn!(
                    error,
                    waiting,
                    "supervision records cannot be written; they are kept"
                );
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = PAUSES.1.min(pause * 2),
                () = stop.cancelled() => return,
            }
        }
    }

    /// Writes all that is there, once whoever writes at the moment has ended; answers how many records.
    pub async fn write_rest(&self) -> Result<u64, StoreError> {
        let mut writer = self.ledger.writer().await;
        let mut written = 0;
        loop {
            let records = writer.oldest();
            if records.is_empty() {
                return Ok(written);
            }
            self.write(&mut writer, &records).await?;
            written += records.len() as u64;
        }
    }

    async fn write(
        &self,
        writer: &mut Writer,
        records: &[SupervisionRecord],
    ) -> Result<(), StoreError> {
        let Some(last) = records.last() else { return Ok(()) };
        if self.mode != Mode::Observer {
            let audit = self.store.audit();
            let after = match writer.note() {
                Some(after) => after,
                None => audit.newest().await?,
            };
            // Before the first try: the ones that follow have to find what it wrote.
            writer.set_note(after);
            let subject = Subject {
                actor: "auditor",
                kind: "supervision",
                table: "runtime_nodes",
                record: self.node.as_uuid(),
            };
            let events: Vec<_> = records.iter().map(event).collect();
            writer.set_note(audit.record_once(subject, &events, after).await?);
        }
        writer.written(last.seq);
        Ok(())
    }
}

fn event(record: &SupervisionRecord) -> OnceEvent {
    OnceEvent {
        id: record.id,
        at: DateTime::<Utc>::from(record.at),
        attributes: serde_json::to_value(record).unwrap_or_default(),
        trace: record.trace.as_ref().and_then(|trace| trace.parse().ok()),
    }
}
