//! Watches one instance by its probe.

use std::sync::Arc;

use ractor::ActorCell;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::{child::Probe, path::ChildPath, record::Change, shared::Shared, spec::Health};

/// Probes until the handle is dropped or the instance misses too often; then it is killed, and its supervisor learns
/// of it as of any other exit.
pub(super) fn watch(
    shared: Arc<Shared>,
    path: ChildPath,
    cell: ActorCell,
    health: Health,
    probe: Probe,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut misses = 0;
        while misses < health.failures {
            sleep(health.every).await;
            misses =
                if timeout(health.timeout, probe()).await == Ok(true) { 0 } else { misses + 1 };
        }
        shared.record(&path, Change::Unhealthy { misses });
        cell.kill();
    }))
}
