//! Folders of runs that are over: a daemon that was killed right after the end of a run left one,
//! as does a run that another node took over, or whose task was cancelled while it was put aside.

use std::path::PathBuf;

use journeyman_domain::ids::{RunId, TaskId};
use journeyman_domain::status::Status;
use journeyman_store::Store;

/// Removes them. What is unknown to this database is left alone.
pub(super) async fn clear(store: Store, runs: PathBuf) {
    let Ok(mut folders) = tokio::fs::read_dir(&runs).await else { return };
    while let Ok(Some(folder)) = folders.next_entry().await {
        let Some(id) = folder.file_name().to_str().and_then(|name| name.parse::<RunId>().ok())
        else {
            continue;
        };
        let Ok(run) = store.runs().get(id).await else { continue };
        if matches!(run.status, Status::Running | Status::Waiting | Status::Paused) {
            continue;
        }
        // Whoever looks into why may want to see it.
        if is_parked(&store, run.task_id).await {
            continue;
        }
        if let Err(error) = journeyman_workspace::discard(&folder.path()).await {
            tracing::debug!(error = %error, run.id = %id, "a run's folder was not removed");
        }
    }
}

async fn is_parked(store: &Store, task: Option<TaskId>) -> bool {
    let Some(task) = task else { return false };
    store.tasks().get(task).await.is_ok_and(|task| task.status == Status::Parked)
}
