//! Seals the audit, and keeps its tables up, beside the auditor's messages: how long that takes hangs on how much there
//! is.

use std::time::{Duration, Instant};

use journeyman_domain::failure::sentence;
use journeyman_store::{Acting, Store};

use super::messages::{AuditorHandle, AuditorMessage};
use crate::context::Mode;

/// Between two looks at what is not sealed yet, while something is.
const BUSY: Duration = Duration::from_secs(5);
/// The same, while nothing is: an idle runtime shall cost nothing.
const IDLE: Duration = Duration::from_mins(1);

/// Between two times at which old partitions are dropped and new ones made.
const UPKEEP: Duration = Duration::from_hours(24);

/// Goes on until it is dropped.
pub(super) async fn seal_on(store: Store, mode: Mode, auditor: AuditorHandle) {
    let mut kept_up_at: Option<Instant> = None;
    let mut pause = BUSY;
    loop {
        tokio::time::sleep(pause).await;
        let rows = seal(&store).await;
        if rows > 0 {
            auditor.tell(AuditorMessage::Sealed { rows });
        }
        // Retention: one daemon a database would do, and more do no harm.
        let is_due = kept_up_at.is_none_or(|at| at.elapsed() >= UPKEEP);
        if mode == Mode::Daemon && is_due && keep_up(&store).await {
            kept_up_at = Some(Instant::now());
        }
        pause = if rows == 0 { IDLE } else { BUSY };
    }
}

/// How many rows it sealed.
pub(super) async fn seal(store: &Store) -> i64 {
    store.audit().seal().await.unwrap_or_else(|error| {
        tracing::warn!(error = %sentence(&error), "the audit was not sealed; it will be later");
        0
    })
}

/// Whether it could be done.
async fn keep_up(store: &Store) -> bool {
    match store.upkeep(&Acting::now("auditor")).await {
        Ok(dropped) if dropped.is_empty() => true,
        Ok(dropped) => {
            tracing::info!(partitions = dropped.join(", "), "old rows are gone");
            true
        }
        Err(error) => {
            tracing::warn!(error = %sentence(&error), "the upkeep failed; it comes again");
            false
        }
    }
}
