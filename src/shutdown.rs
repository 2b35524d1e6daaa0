//! Signals that end the program in order. One that comes later, from somebody who will not wait, ends it at once.

use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal as listen};

/// Signals within this time are one wish. Many a wish arrives twice: a terminal signals the whole group while the
/// program in front passes its own signal on, and so do `timeout`, service managers and containers. On a busy machine
/// the first may have been dealt with before the second is there.
const ONE_WISH: Duration = Duration::from_secs(1);

/// Waits for SIGTERM or SIGINT and says which it was.
pub async fn signal() -> &'static str {
    let (Ok(mut term), Ok(mut int)) =
        (listen(SignalKind::terminate()), listen(SignalKind::interrupt()))
    else {
        // Without handlers the signals keep their default: they end the process.
        return std::future::pending().await;
    };
    let name = tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    };
    let first = Instant::now();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if insists(first.elapsed()) {
                std::process::exit(130);
            }
        }
    });
    name
}

/// Whether a signal so long after the first one is another wish.
fn insists(after: Duration) -> bool {
    after >= ONE_WISH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_that_arrives_twice_is_one_and_a_later_one_is_impatience() {
        assert!(!insists(Duration::ZERO) && !insists(Duration::from_millis(300)));
        assert!(insists(Duration::from_secs(1)) && insists(Duration::from_mins(1)));
    }
}
