//! Long work of an actor: tracked, with the actor's span, cancelled and awaited when it stops.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// The tasks that an actor has started. Dropping it cancels them.
#[derive(Debug, Default)]
pub struct TrackedTasks {
    tracker: TaskTracker,
    cancelled: CancellationToken,
}

impl TrackedTasks {
    /// Starts one. It should end soon after the token that it is given is cancelled.
    pub fn spawn<F>(&self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let future = task(self.cancelled.child_token());
        self.tracker.spawn(future.instrument(tracing::Span::none()));
    }

    /// Waits for all of them to end by themselves, at most so long; whether they did.
    pub async fn wait(&self, limit: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }

    /// Asks all of them to end and waits for them, at most so long.
    pub async fn stop(&self, limit: Duration) {
        self.cancelled.cancel();
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = self.tracker.len(), "tasks of an actor did not end in time");
        }
    }
}

impl Drop for TrackedTasks {
    fn drop(&mut self) {
        self.cancelled.cancel();
    }
}
