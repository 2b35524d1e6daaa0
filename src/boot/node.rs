//! This life of this process as a row: registered, and told apart from those that died.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use journeyman_actors::context::Runtime;
use journeyman_domain::failure::sentence;
use journeyman_domain::ids::{NodeId, TaskId};
use journeyman_faults::{Mechanism, around, is_out, points};
use journeyman_store::{Acting, Child, Here, LeftBy, NewNode, NodeKind, Store};
use journeyman_workspace::WorkspaceError;
use journeyman_workspace::reap::{self, ChildIdentity, Owner};
use uuid::Uuid;

use super::{Mode, database};
use crate::failure::{Exit, Failure};
use crate::session::Context;

/// So long the lock may outlive its daemon: a child that it was about to start when it was killed holds the lock, too,
/// until it runs its own program.
const LOCK_OUTLIVES: Duration = Duration::from_secs(2);
const LOCK_LOOK: Duration = Duration::from_millis(50);

/// Takes the lock that one daemon of a data folder holds.
pub(super) async fn only_daemon(data: &Path) -> Result<File, Failure> {
    let path = data.join("daemon.lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Failure::from_error)?;
    let until = Instant::now() + LOCK_OUTLIVES;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                tokio::time::sleep(LOCK_LOOK).await;
            }
            Err(TryLockError::WouldBlock) => {
                let message = format!("a daemon is running already on {}", data.display());
                return Err(Failure::new(Exit::Usage, "already_running", message).hint(
                    "`journeyman tree` shows it; JOURNEYMAN_DATA names another data folder",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(Failure::from_error(error)),
        }
    }
}

/// Where this process is, looked up once.
pub(super) struct Place {
    boot_id: String,
    data_id: Uuid,
}

impl Place {
    fn of(data: &Path) -> Self {
        Self { boot_id: boot_id(), data_id: data_id(data) }
    }

    fn here(&self) -> Here<'_> {
        Here { boot_id: &self.boot_id, data_id: self.data_id }
    }
}

/// Registers this process, and says where it is. An observer works on nothing and needs no row of its own.
pub(super) async fn register(
    store: &Store,
    context: &Context,
    mode: Mode,
    task: TaskId,
) -> Result<(NodeId, Option<Place>), Failure> {
    let id = NodeId::from_uuid(Uuid::now_v7());
    let (kind, only_task) = match mode {
        Mode::Observer => return Ok((id, None)),
        Mode::Daemon => (NodeKind::Daemon, None),
        Mode::Foreground => (NodeKind::Foreground, Some(task)),
    };
    let place = Place::of(&context.paths.data);
    let new = NewNode {
        id,
        kind,
        pid: std::process::id(),
        here: place.here(),
        host: &host(),
        data_dir: &context.paths.data.display().to_string(),
        only_task,
    };
    let acting = Acting::now("boot");
    let node = store.nodes().register(&acting, &new).await;
    let node = node.map_err(|error| database::failure(&error))?;
    Ok((node.id, Some(place)))
}

/// Ends the nodes whose process is gone: their leases expire at once, and their children of runs that go on are killed.
/// Of a node that is neither in this data folder nor among the processes that are seen from here nothing is known but
/// its leases, which expire by themselves: machines and containers may have the same name.
pub(super) async fn bury_the_dead(
    store: &Store,
    place: &Place,
    own: NodeId,
) -> Result<(), Failure> {
    let (acting, here) = (Acting::now("boot"), place.here());
    let failure = |error| database::failure(&error);
    let others = store.nodes().unstopped(here).await.map_err(failure)?;
    for node in others.into_iter().filter(|node| node.id != own) {
        let is_dead = node.boot_id == here.boot_id && !is_journeyman(node.pid);
        // Of our own data folder we hold the daemon's lock: another daemon of it cannot be alive.
        let replaced = node.kind == NodeKind::Daemon && node.data_id == Some(here.data_id);
        if is_dead || replaced {
            tracing::warn!(node = %node.id, pid = node.pid, "a node of this machine did not stop in order");
            // Before the row says that it is dealt with.
            if !is_out(Mechanism::Reaping)
                && let Err(error) = around(points::REAP_NODE, reap::reap_node(node.id)).await
            {
                tracing::warn!(error = %sentence(&error), node = %node.id, "what a node has started does not end");
            }
            store.nodes().stop(&acting, node.id).await.map_err(failure)?;
        }
    }
    // Before anybody works on these runs here again.
    while reap_page(store, here, LeftBy::OpenRuns).await? {}
    Ok(())
}

/// Children that are ended at once.
const PAGE: u32 = 500;

/// Ends what runs that are over have left, a page at a time; it may be much, and nothing waits for it.
pub(super) async fn reap_the_rest(store: &Store, place: &Place) {
    loop {
        match reap_page(store, place.here(), LeftBy::EndedRuns).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(failure) => {
                tracing::warn!(
                    error = failure.message,
                    "processes of an earlier life are looked for by the next one"
                );
                return;
            }
        }
    }
}

/// Ends the processes of a page of children; whether there may be more.
async fn reap_page(store: &Store, here: Here<'_>, by: LeftBy) -> Result<bool, Failure> {
    if is_out(Mechanism::Reaping) {
        return Ok(false);
    }
    let failure = |error| database::failure(&error);
    let boot_id = here.boot_id;
    let left = store.children().left_over(here, by, PAGE).await.map_err(failure)?;
    if left.is_empty() {
        return Ok(false);
    }
    // Those of another boot are nobody here.
    let children = left.iter().filter(|child| child.boot_id == boot_id);
    let children: Vec<_> = children
        .filter_map(|child| {
            let start_time = u64::try_from(child.start_time).unwrap_or_default();
            let owner = Owner { run: child.run_id?, epoch: child.lease_epoch.unwrap_or(i64::MAX) };
            Some(ChildIdentity { pid: child.pid, start_time, owner })
        })
        .collect();
    let alive = match around(points::REAP_LEFT, reap::reap(&children, &[])).await {
        Ok(_) => Vec::new(),
        // As one that waits for a file system that is gone: whoever goes on with its run tries again, and so does the
        // next start.
        Err(WorkspaceError::StillAlive(alive)) => {
            tracing::warn!(pids = ?alive, "processes of an earlier life do not end");
            alive
        }
        Err(error) => return Err(Failure::from_error(error)),
    };
    let ids = gone(&left, boot_id, &alive);
    store.children().all_ended(&Acting::now("boot"), &ids).await.map_err(failure)?;
    Ok(alive.is_empty() && u32::try_from(left.len()).is_ok_and(|count| count == PAGE))
}

/// The rows of those that are not alive. Where something lives that has no row of its own, any of them may have started
/// it: only those of another boot are surely gone.
fn gone(left: &[Child], boot_id: &str, alive: &[i32]) -> Vec<Uuid> {
    let is_here = |child: &Child| child.boot_id == boot_id;
    let is_known = |pid: &i32| left.iter().any(|child| is_here(child) && child.pid == *pid);
    let all_known = alive.iter().all(is_known);
    let gone =
        left.iter().filter(|child| !is_here(child) || (all_known && !alive.contains(&child.pid)));
    gone.map(|child| child.id).collect()
}

/// Ends this node's row; its leases expire with it.
pub(super) async fn leave(runtime: &Runtime) {
    if runtime.mode == journeyman_actors::context::Mode::Observer {
        return;
    }
    if let Err(error) = runtime.store.nodes().stop(&Acting::now("boot"), runtime.node).await {
        tracing::debug!(error = %sentence(&error), "the end of this node was not recorded");
    }
}

/// Whether a process with this number runs our program.
fn is_journeyman(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(b"journeyman"))
}

pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The boot of this machine and the namespace of this process, in which numbers of processes mean something.
pub(super) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::metadata("/proc/self/ns/pid").map_or(0, |found| found.ino());
    format!("{}/{namespace}", id.trim())
}

/// The id of a data folder, from the file `id` in it. It is made where there is none, and where the folder is a copy.
fn data_id(data: &Path) -> Uuid {
    let inode = std::fs::metadata(data).map_or(0, |found| found.ino());
    let path = data.join("id");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut words = text.split_whitespace();
    let known = words.next().and_then(|word| word.parse().ok());
    if let Some(id) = known.filter(|_| words.next() == Some(&*inode.to_string())) {
        return id;
    }
    let id = Uuid::now_v7();
    // A folder that cannot be written to has another one at each start, and its dead nodes are left to their leases.
    let _ = std::fs::write(&path, format!("{id} {inode}\n"));
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_keeps_its_id_and_its_copy_has_another_one() {
        let (first, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = data_id(first.path());
        assert_eq!(data_id(first.path()), id);
        std::fs::copy(first.path().join("id"), copy.path().join("id")).unwrap();
        assert_ne!(data_id(copy.path()), id);
        assert_eq!(data_id(copy.path()), data_id(copy.path()));
    }

    #[test]
    fn the_rows_of_what_does_not_end_stay_open() {
        let child = |number: u128, pid, boot: &str| Child {
            id: Uuid::from_u128(number),
            node_id: NodeId::from_uuid(Uuid::nil()),
            execution_id: None,
            lease_epoch: None,
            run_id: None,
            pid,
            start_time: 1,
            started_at: chrono::DateTime::UNIX_EPOCH,
            argv_head: String::new(),
            boot_id: boot.into(),
        };
        let left = [child(1, 10, "now"), child(2, 11, "now"), child(3, 11, "before")];
        let check = |alive: &[i32], expected: &[u128]| {
            let expected: Vec<_> = expected.iter().copied().map(Uuid::from_u128).collect();
            assert_eq!(gone(&left, "now", alive), expected, "{alive:?}");
        };
        check(&[], &[1, 2, 3]);
        check(&[11], &[1, 3]);
        // Somebody's child without a row.
        check(&[11, 99], &[3]);
    }
}
