//! Folders of runs that are over: a daemon that was killed right after the end of a run left one,
//! as does a run that another node took over, or whose task was cancelled while it was put aside.

use std::path::Path;
use std::time::Duration;

use journeyman_domain::failure::sentence;
use journeyman_domain::ids::{RunId, TaskId};
use journeyman_domain::status::Status;
use journeyman_faults::{around, points};
use journeyman_store::{Store, StoreError};
use journeyman_workspace::reap::{self, Owner};

/// Longer than anybody looks at a run's steps.
const LOOK: Duration = Duration::from_hours(1);
/// Between two looks at what is left.
const EVERY: Duration = Duration::from_mins(10);

/// Removes them. What is unknown to this database is left alone, but where that `is_older` than the folders: then
/// these runs never were, and what is still alive of them is ended.
pub(super) async fn clear(store: &Store, runs: &Path, is_older: bool) {
    let Ok(mut folders) = tokio::fs::read_dir(runs).await else { return };
    while let Ok(Some(folder)) = folders.next_entry().await {
        remove_look(&folder).await;
        let Some(id) = folder.file_name().to_str().and_then(|name| name.parse::<RunId>().ok())
        else {
            continue;
        };
        let run = match store.runs().get(id).await {
            Ok(run) => run,
            Err(StoreError::NotFound { .. }) if is_older => {
                remove_unknown(id, &folder.path()).await;
                continue;
            }
            Err(_) => continue,
        };
        if matches!(run.status, Status::Running | Status::Waiting | Status::Paused) {
            continue;
        }
        // Whoever looks into why may want to see it.
        if is_parked(store, run.task_id).await {
            continue;
        }
        if let Err(error) = journeyman_workspace::discard(&folder.path()).await {
            tracing::debug!(error = %sentence(&error), run.id = %id, "a run's folder was not removed");
        }
    }
}

/// The same again and again: a daemon that lives on loses leases, too, and its user cancels what was put aside.
pub(super) async fn follow(store: &Store, runs: &Path) {
    loop {
        tokio::time::sleep(EVERY).await;
        clear(store, runs, false).await;
    }
}

/// Somebody looked at the steps of a run, and was killed over it.
async fn remove_look(folder: &tokio::fs::DirEntry) {
    let is_look = folder.file_name().to_str().is_some_and(|name| name.starts_with("look-"));
    let made = folder.metadata().await.and_then(|found| found.modified()).ok();
    // Another command may be at it just now.
    let is_old = made.is_some_and(|at| at.elapsed().is_ok_and(|age| age > LOOK));
    if is_look
        && is_old
        && let Err(error) = journeyman_workspace::discard(&folder.path()).await
    {
        tracing::debug!(error = %sentence(&error), "a folder is left");
    }
}

async fn remove_unknown(run: RunId, folder: &Path) {
    let reaped = around(points::REAP, reap::reap(&[], &[Owner::any(run)])).await;
    let removed = match reaped {
        Ok(_) => journeyman_workspace::discard(folder).await,
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => tracing::info!(run.id = %run, "the folder of an unknown run is removed"),
        Err(error) => {
            tracing::warn!(error = %sentence(&error), run.id = %run, "the folder of an unknown run is left");
        }
    }
}

async fn is_parked(store: &Store, task: Option<TaskId>) -> bool {
    let Some(task) = task else { return false };
    store.tasks().get(task).await.is_ok_and(|task| task.status == Status::Parked)
}
