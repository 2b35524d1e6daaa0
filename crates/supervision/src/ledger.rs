//! Every record of a tree, in order, until somebody wrote it down.
//!
//! The broadcast is for those that watch and may miss something; the ledger is for the one that may not. A record
//! stays here until it was written, over restarts of whoever writes and over any time in which the place that it is
//! written to is away. It owns the order of records and nothing else; it never looks into one.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedMutexGuard, watch};

use crate::{
    path::ChildPath,
    record::{Change, SupervisionRecord},
};

/// Records that wait at the most: days of restarts by the pace that backoff and intensity permit. Beyond it, those in
/// the middle are folded into one that says how many they were; beginning and end of a long story stay.
const KEPT: usize = 16_384;
/// Records that a writer is given at once, far less than what is kept in front of the fold.
const BATCH: usize = 1_024;

/// The records of one tree that are not written yet. Cheap to clone; all clones are one ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    book: Arc<Book>,
}

#[derive(Debug)]
struct Book {
    waiting: Mutex<VecDeque<SupervisionRecord>>,
    /// The sequence number of the newest record.
    newest: watch::Sender<u64>,
    /// Held by whoever writes; what is in it is the writer's own note for the next one.
    pen: Arc<tokio::sync::Mutex<Option<i64>>>,
    kept: usize,
}

/// The right to write a ledger down; there is one at a time, and the next waits until it is dropped.
#[derive(Debug)]
pub struct Writer {
    ledger: Ledger,
    note: OwnedMutexGuard<Option<i64>>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::keeping(KEPT)
    }
}

impl Ledger {
    fn keeping(kept: usize) -> Self {
        let book = Book {
            waiting: Mutex::default(),
            newest: watch::Sender::new(0),
            pen: Arc::default(),
            kept,
        };
        Self { book: Arc::new(book) }
    }

    /// Waits until nobody else writes any more.
    ///
    /// A writer that was killed ends by itself with its last attempt, so its successor goes on right where it ended.
    pub async fn writer(&self) -> Writer {
        let note = Arc::clone(&self.book.pen).lock_owned().await;
        Writer { ledger: self.clone(), note }
    }

    /// How many records are not written yet.
    pub fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// Takes a record in under the next number; `tell` is called in the order of numbers.
    pub(crate) fn append(
        &self,
        record: impl FnOnce(u64) -> SupervisionRecord,
        tell: impl FnOnce(&SupervisionRecord),
    ) {
        let mut waiting = self.lock();
        let seq = *self.book.newest.borrow() + 1;
        let record = record(seq);
        tell(&record);
        if waiting.len() >= self.book.kept {
            fold(&mut waiting);
        }
        waiting.push_back(record);
        self.book.newest.send_replace(seq);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<SupervisionRecord>> {
        self.book.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes one of two records in the middle.
fn fold(waiting: &mut VecDeque<SupervisionRecord>) {
    let middle = waiting.len() / 2;
    let Some(earlier) = waiting.remove(middle) else {
        return;
    };
    let Some(later) = waiting.get_mut(middle) else {
        return;
    };
    let count = |record: &SupervisionRecord| match record.change {
        Change::Omitted { records } => records,
        Change::Started
        | Change::StartFailed { .. }
        | Change::Unhealthy { .. }
        | Change::Exited { .. }
        | Change::Restarting { .. }
        | Change::GaveUp { .. }
        | Change::Stopped => 1,
    };
    later.change = Change::Omitted { records: count(&earlier) + count(later) };
    later.path = ChildPath::root();
    later.generation = 0;
    later.trace = None;
}

impl Writer {
    /// The oldest records, as many as there are up to a thousand; none if all are written.
    pub fn oldest(&self) -> Vec<SupervisionRecord> {
        self.ledger.lock().iter().take(BATCH).cloned().collect()
    }

    /// As [`oldest`](Self::oldest), but waits until there are some.
    pub async fn next(&self) -> Vec<SupervisionRecord> {
        let mut newest = self.ledger.book.newest.subscribe();
        loop {
            newest.mark_unchanged();
            let records = self.oldest();
            // It fails only without a ledger, and this writer holds one.
            if !records.is_empty() || newest.changed().await.is_err() {
                return records;
            }
        }
    }

    /// Drops what is written for good: everything up to this number.
    pub fn written(&self, through: u64) {
        let mut waiting = self.ledger.lock();
        while waiting.front().is_some_and(|record| record.seq <= through) {
            waiting.pop_front();
        }
    }

    /// What the last writer noted.
    pub fn note(&self) -> Option<i64> {
        *self.note
    }

    /// Leaves a note for oneself and for the next writer, such as how far the place of writing was filled.
    pub fn set_note(&mut self, note: i64) {
        *self.note = Some(note);
    }
}
