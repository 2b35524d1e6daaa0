//! This life of this process as a row: registered, and told apart from those that died.

use std::fs::File;
use std::path::Path;

use journeyman_actors::context::Runtime;
use journeyman_domain::ids::{NodeId, TaskId};
use journeyman_faults::{Mechanism, is_out};
use journeyman_store::{Acting, NewNode, NodeKind, Store};
use rustix::fs::FlockOperation;

use super::{Mode, database};
use crate::failure::{Exit, Failure};
use crate::session::Context;

/// Takes the lock that one daemon of a data folder holds.
pub(super) fn only_daemon(data: &Path) -> Result<File, Failure> {
    let path = data.join("daemon.lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Failure::from_error)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Failure::new(
            Exit::Usage,
            "already_running",
            format!("a daemon is running already on {}", data.display()),
        )
        .hint("`journeyman tree` shows it; JOURNEYMAN_DATA names another data folder")),
        Err(error) => Err(Failure::from_error(std::io::Error::from(error))),
    }
}

/// Registers this process. An observer works on nothing and needs no row of its own.
pub(super) async fn register(
    store: &Store,
    context: &Context,
    mode: Mode,
    task: TaskId,
) -> Result<NodeId, Failure> {
    let id = NodeId::from_uuid(uuid::Uuid::now_v7());
    let (kind, only_task) = match mode {
        Mode::Observer => return Ok(id),
        Mode::Daemon => (NodeKind::Daemon, None),
        Mode::Foreground => (NodeKind::Foreground, Some(task)),
    };
    let new = NewNode {
        id,
        kind,
        pid: std::process::id(),
        boot_id: &boot_id(),
        host: &host(),
        data_dir: &context.paths.data.display().to_string(),
        only_task,
    };
    let acting = Acting::now("boot");
    let node = store.nodes().register(&acting, &new).await;
    Ok(node.map_err(|error| database::failure(&error))?.id)
}

/// Ends the nodes of this machine whose process is gone: their leases expire at once, and their
/// children are killed.
pub(super) async fn bury_the_dead(
    store: &Store,
    context: &Context,
    own: NodeId,
) -> Result<(), Failure> {
    let acting = Acting::now("boot");
    let (host, boot_id) = (host(), boot_id());
    let data = context.paths.data.display().to_string();
    let failure = |error| database::failure(&error);
    let others = store.nodes().unstopped(&host).await.map_err(failure)?;
    for node in others.into_iter().filter(|node| node.id != own) {
        let alive = node.boot_id == boot_id && is_journeyman(node.pid);
        // Of our own data folder we hold the daemon's lock: another daemon of it cannot be alive.
        let replaced = node.kind == NodeKind::Daemon && node.data_dir == data;
        if !alive || replaced {
            tracing::info!(node = %node.id, pid = node.pid, "a node of this machine is gone");
            store.nodes().stop(&acting, node.id).await.map_err(failure)?;
        }
    }
    if is_out(Mechanism::Reaping) {
        return Ok(());
    }
    for child in store.children().left_over(&host).await.map_err(failure)? {
        if child.boot_id == boot_id
            && let Some(run) = child.run_id
        {
            let identity = journeyman_workspace::reap::ChildIdentity {
                pid: child.pid,
                start_time: u64::try_from(child.start_time).unwrap_or_default(),
                run,
            };
            let reaped = journeyman_workspace::reap::reap(&[identity]).await;
            reaped.map_err(Failure::from_error)?;
        }
        store.children().ended(&acting, child.id).await.map_err(failure)?;
    }
    Ok(())
}

/// Ends this node's row; its leases expire with it.
pub(super) async fn leave(runtime: &Runtime) {
    if runtime.mode == journeyman_actors::context::Mode::Observer {
        return;
    }
    if let Err(error) = runtime.store.nodes().stop(&Acting::now("boot"), runtime.node).await {
        tracing::debug!(error = %error, "the end of this node was not recorded");
    }
}

/// Whether a process with this number runs our program.
fn is_journeyman(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(b"journeyman"))
}

pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub(super) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}
