//! Brings the server back when its keeper was killed while we still use the cluster.

use std::process::Child;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::folder::Folder;
use super::lock;
use super::start;
use super::{ClusterOptions, START_LIMIT};

const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Watches the keeper's lock until the returned sender is dropped.
pub(super) fn watch(
    folder: Folder,
    options: ClusterOptions,
    mut keeper: Option<Child>,
) -> Sender<()> {
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        let mut pause = PAUSE;
        while receiver.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            if lock::is_held(&folder.keeper_lock()).unwrap_or(true) {
                continue;
            }
            if let Some(ended) = keeper.take() {
                wait(ended);
            }
            tracing::warn!(folder = %folder.path().display(), "the keeper of the database server is gone; starting it again");
            match start::ensure(&folder, &options, Instant::now() + START_LIMIT) {
                Ok(started) => (keeper, pause) = (started.keeper, PAUSE),
                Err(error) => {
                    pause = (pause * 2).min(PAUSE_MAX);
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the database server did not come back"
                    );
                }
            }
        }
        // Nobody else can take note of the end of our child.
        if let Some(keeper) = keeper {
            wait(keeper);
        }
    };
    let name = "cluster-guard".to_owned();
    if let Err(error) = thread::Builder::new().name(name).spawn(work) {
        tracing::warn!(%error, "the database server is not watched");
    }
    sender
}

fn wait(mut child: Child) {
    let _ = child.wait();
}
