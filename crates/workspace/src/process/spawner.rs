//! The thread that starts all children.
//!
//! The kernel tells a child of its parent's death when the thread that started it ends, so that
//! thread has to last: tokio's own come and go.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Request = (Command, oneshot::Sender<io::Result<Child>>);

/// The thread; it ends with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Spawner {
    requests: mpsc::Sender<Request>,
}

impl Spawner {
    pub(super) fn start() -> io::Result<Self> {
        let (requests, received) = mpsc::channel::<Request>();
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        std::thread::Builder::new().name("spawner".into()).spawn(move || {
            let _entered = runtime.enter();
            for (mut command, answer) in received {
                // Where nobody waits any more, the child is dropped, and so killed.
                let _ = answer.send(command.spawn());
            }
        })?;
        Ok(Self { requests })
    }

    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (answer, answered) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts children has ended");
        self.requests.send((command, answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// A value that no other process of this machine was marked with.
    pub(super) fn next_marker() -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let own = std::process::id();
        let since = crate::reap::start_time(own.cast_signed()).unwrap_or_default();
        format!("{own}-{since}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
    }
}
