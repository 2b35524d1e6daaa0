//! The end of one instance and of everything below it.
//!
//! ractor kills the linked actors of a dead one without waiting for them. Whoever starts the next instance then finds
//! names and other exclusive resources taken; so nothing is started before its predecessor is buried here.

use std::time::Duration;

use futures_util::future::join_all;
use ractor::{ActorCell, ActorStatus};

use crate::{
    directory::Status,
    exit::{Exit, SHUTDOWN},
    path::ChildPath,
    record::Change,
    shared::Shared,
    spec::Shutdown,
};

/// How long a killed actor is waited for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Patience {
    /// Before a restart: two instances at once would be worse than none.
    Endless,
    /// At the end of the tree: an actor that blocks its thread cannot be killed, and must not keep the tree from
    /// ending.
    Limited,
}

const PATIENCE: Duration = Duration::from_secs(5);

/// Stops the living instance of a path, if `shutdown` says how, and waits until it and all below it are gone.
///
/// Answers how a living instance ended: `Shutdown`, or `Killed` when it overran its time.
pub(super) async fn lay_to_rest(
    shared: &Shared,
    path: &ChildPath,
    shutdown: Option<Shutdown>,
    patience: Patience,
) -> Option<Exit> {
    let cell = shared.directory.cell(path);
    // Recorded before the stop, because ractor detaches them with it.
    let mut bodies = cell.as_ref().map(descendants).unwrap_or_default();
    let exit = match (&cell, shutdown) {
        (Some(cell), Some(shutdown)) if cell.get_status() != ActorStatus::Stopped => {
            Some(stop(cell, shutdown).await)
        }
        _ => None,
    };
    for descendant in shared.directory.subtree(path) {
        // Whoever starts this path at the moment has lost its supervisor, so the wait is short.
        let lock = shared.directory.birth_lock(&descendant);
        let _birth = lock.lock().await;
        bodies.extend(shared.directory.bodies(&descendant));
    }
    let burial = join_all(bodies.iter().map(|body| async {
        body.kill();
        // Without a limit this cannot fail.
        let _ = body.wait(None).await;
    }));
    match patience {
        Patience::Endless => {
            tokio::pin!(burial);
            if tokio::time::timeout(PATIENCE, &mut burial).await.is_err() {
                tracing::error!(path = %path, "an actor blocks its thread and cannot be killed; it is waited for");
                burial.await;
            }
        }
        Patience::Limited => {
            if tokio::time::timeout(PATIENCE, burial).await.is_err() {
                tracing::error!(path = %path, "an actor blocks its thread and cannot be killed; left behind");
            }
        }
    }
    for descendant in shared.directory.subtree(path) {
        shared.directory.bury(&descendant);
        if descendant != *path {
            unreported(shared, &descendant);
        }
    }
    shared.directory.forget_dynamic(path);
    exit
}

/// Notes what a supervisor could not report, because it died before the child did or while the child waited.
fn unreported(shared: &Shared, path: &ChildPath) {
    if shared.directory.has_instance(path) {
        shared.directory.set_exit(path, Exit::Killed);
        shared.record(path, Change::Exited { exit: Exit::Killed });
    }
    if shared.directory.status(path.as_str()) != Some(Status::Stopped) {
        shared.directory.set_status(path, Status::Stopped);
        shared.record(path, Change::Stopped);
    }
}

/// As [`lay_to_rest`], for a child whose supervisor ends and so reads no exits any more.
pub(super) async fn stop_for_good(shared: &Shared, path: &ChildPath, shutdown: Shutdown) {
    shared.directory.set_status(path, Status::Stopping);
    let exit = lay_to_rest(shared, path, Some(shutdown), Patience::Limited).await;
    if shared.directory.has_instance(path) {
        let exit =
            exit.unwrap_or_else(|| Exit::Failed("it ended before it was asked to".to_owned()));
        shared.directory.set_exit(path, exit.clone());
        shared.record(path, Change::Exited { exit });
    }
    shared.directory.set_status(path, Status::Stopped);
    shared.record(path, Change::Stopped);
}

/// Notes the end of the root, which has no supervisor, and buries what it may have left.
pub(crate) async fn root_ended(shared: &Shared, path: &ChildPath, exit: Exit) {
    lay_to_rest(shared, path, None, Patience::Limited).await;
    shared.directory.set_exit(path, exit.clone());
    shared.directory.set_status(path, Status::Stopped);
    shared.record(path, Change::Exited { exit });
    shared.record(path, Change::Stopped);
}

/// Kills what is linked to a supervisor that has stopped all children it knows.
pub(super) async fn kill_strays(supervisor: &ActorCell) {
    let strays = supervisor.get_children();
    let waits = strays.iter().map(|stray| {
        stray.kill();
        stray.wait(Some(PATIENCE))
    });
    join_all(waits).await;
}

async fn stop(cell: &ActorCell, shutdown: Shutdown) -> Exit {
    let limit = match shutdown {
        Shutdown::Kill => {
            cell.kill();
            return Exit::Killed;
        }
        Shutdown::Within(limit) => Some(limit),
        Shutdown::Unbounded => None,
    };
    cell.stop(Some(SHUTDOWN.to_owned()));
    if cell.wait(limit).await.is_ok() {
        return Exit::Shutdown;
    }
    cell.kill();
    Exit::Killed
}

/// All actors below one, by ractor's links.
fn descendants(cell: &ActorCell) -> Vec<ActorCell> {
    let mut found = cell.get_children();
    let mut next = 0;
    while next < found.len() {
        let below = found[next].get_children();
        found.extend(below);
        next += 1;
    }
    found
}
