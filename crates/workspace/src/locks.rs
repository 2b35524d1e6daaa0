//! Locks that a killed git left behind: git itself never takes them away.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::fs;

use crate::error::{Doing as _, WorkspaceError};

/// Nobody holds the lock of one reference for so long, but who was killed over it.
const STALE_AFTER: Duration = Duration::from_secs(5);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Waits until the lock of a reference of the user's, which nobody but us writes to, is gone; one that stays is removed.
///
/// # Errors
/// The system's.
pub(crate) async fn release(lock: &Path) -> Result<(), WorkspaceError> {
    let began = Instant::now();
    loop {
        let age = match fs::symlink_metadata(lock).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).doing("look at", lock),
            // In the future where the clock was set back.
            Ok(found) => found.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default(),
        };
        if age >= STALE_AFTER || began.elapsed() >= STALE_AFTER {
            return match fs::remove_file(lock).await {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(error).doing("remove", lock)
                }
                _ => Ok(()),
            };
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
}

/// Removes all locks of a repository of ours, at which nobody is at work.
///
/// # Errors
/// The system's.
pub(crate) async fn clear(git_dir: &Path) -> Result<(), WorkspaceError> {
    let folder = git_dir.to_owned();
    let cleared = tokio::task::spawn_blocking(move || clear_folder(&folder, true)).await;
    cleared.map_err(std::io::Error::other).and_then(|done| done).doing("clear locks in", git_dir)
}

fn clear_folder(folder: &Path, is_top: bool) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            // Objects have no locks, and are many.
            if !(is_top && entry.file_name() == "objects") {
                clear_folder(&path, false)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}
