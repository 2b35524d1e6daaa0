//! Signals that end the program in order. A second one ends it at once.

use tokio::signal::unix::{SignalKind, signal as listen};

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
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        std::process::exit(130);
    });
    name
}
