//! What all supervisors of one tree share.

use std::{
    hash::{BuildHasher, RandomState},
    time::SystemTime,
};

use tokio::{sync::broadcast, time::Instant};
use uuid::Uuid;

use crate::{
    child::Starter,
    directory::Directory,
    ledger::Ledger,
    path::ChildPath,
    record::{Change, SupervisionRecord},
    spec::{ChildSpec, Start, SupervisorSpec, TreeSpec},
};

/// A reader that falls this many records behind loses the oldest and is told so.
const RECORDS_KEPT: usize = 1024;

pub(crate) struct Shared {
    pub(crate) directory: Directory,
    pub(crate) starter: Box<dyn Starter>,
    pub(crate) records: broadcast::Sender<SupervisionRecord>,
    pub(crate) ledger: Ledger,
    spec: TreeSpec,
    epoch: Instant,
}

impl Shared {
    pub(crate) fn new(spec: TreeSpec, starter: Box<dyn Starter>, directory: Directory) -> Self {
        Self {
            directory,
            starter,
            records: broadcast::Sender::new(RECORDS_KEPT),
            ledger: Ledger::default(),
            spec,
            epoch: Instant::now(),
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A number in -1 to 1 that differs from call to call: each `RandomState` has other keys.
    pub(crate) fn jitter(&self) -> f64 {
        let bits = u32::try_from(RandomState::new().hash_one(self.now_ms()) >> 32).unwrap_or(0);
        f64::from(bits) / f64::from(u32::MAX) * 2.0 - 1.0
    }

    /// The spec of a child that is a supervisor.
    pub(crate) fn supervisor_of(&self, child: &ChildSpec) -> Option<&SupervisorSpec> {
        match &child.start {
            Start::Supervisor(name) => self.spec.supervisor(name),
            Start::Worker(_) => None,
        }
    }

    /// Tells everybody, and the log, about a change in the life of the current instance of `path`.
    pub(crate) fn record(&self, path: &ChildPath, change: Change) {
        let generation = self.directory.generation(path);
        match &change {
            Change::Started => tracing::debug!(path = %path, generation, "started"),
            Change::StartFailed { message } => {
                tracing::warn!(path = %path, generation, error = message, "start failed");
            }
            Change::Unhealthy { misses } => {
                tracing::warn!(path = %path, generation, misses, "missed its health probes");
            }
            Change::Exited { exit } if exit.is_normal() => {
                tracing::debug!(path = %path, generation, %exit, "exited");
            }
            Change::Exited { exit } => tracing::warn!(path = %path, generation, %exit, "exited"),
            Change::Restarting { after, cause } => {
                tracing::info!(path = %path, generation, ?after, %cause, "restarting");
            }
            Change::GaveUp { reason } => {
                tracing::error!(path = %path, generation, %reason, "gave up");
            }
            Change::Stopped => tracing::debug!(path = %path, generation, "stopped"),
            // Only the ledger makes one.
            Change::Omitted { .. } => {}
        }
        let trace = self.starter.observe(path, generation, &change);
        let record = |seq| SupervisionRecord {
            id: Uuid::now_v7(),
            seq,
            path: path.clone(),
            generation,
            at: SystemTime::now(),
            change,
            trace,
        };
        self.ledger.append(record, |record| {
            // Nobody listening is no error.
            let _ = self.records.send(record.clone());
        });
    }
}
