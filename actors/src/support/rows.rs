//! What an actor reads when it starts, from a database that may be away at that moment.

use std::time::Duration;

use journeyman_domain::failure::sentence;
use journeyman_store::{StoreError, is_transient};

use crate::context::Mode;

/// One try: a connection whose other end has vanished may never say so.
const TRY_LIMIT: Duration = Duration::from_secs(30);
/// Between two tries: the first pause, doubled each time, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

/// Reads what an actor starts with. A failed start counts against its supervisor, which gives up after a few of them
/// and ends the process with it: a node that works waits until the database is back. A command that only reads or adds
/// does not wait.
pub async fn read_at_start<T, F>(mode: Mode, read: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pause = PAUSES.0;
    loop {
        let error = match tokio::time::timeout(TRY_LIMIT, read()).await {
            Ok(Err(error)) if is_transient(&error) && mode != Mode::Observer => sentence(&error),
            Ok(done) => return done,
            Err(_) => "the database did not answer in time".to_owned(),
        };
        tracing::warn!(error, "the start of an actor waits for the database");
        tokio::time::sleep(pause).await;
        pause = PAUSES.1.min(pause * 2);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use journeyman_store::{PoolOptions, Store};

    use super::*;

    async fn tries(mode: Mode, failures: u32) -> (Result<u32, StoreError>, u32) {
        let count = AtomicU32::new(0);
        let read = || async {
            let before = count.fetch_add(1, Ordering::Relaxed);
            match before {
                // As on a connection that leads nowhere.
                1 if mode != Mode::Observer => std::future::pending().await,
                // What no database answers at is away.
                _ if before < failures => {
                    Store::connect("nowhere", PoolOptions::default()).await.map(|_| 0)
                }
                _ => Ok(7),
            }
        };
        let done = read_at_start(mode, read).await;
        (done, count.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_waits_however_long_and_a_command_does_not() {
        let (done, count) = tries(Mode::Daemon, 200).await;
        assert_eq!((done.unwrap(), count), (7, 201));
        let (done, count) = tries(Mode::Observer, 200).await;
        assert!(matches!(done, Err(StoreError::Unavailable(_))));
        assert_eq!(count, 1);
    }
}
