//! What checks need: fetched with the network, once for a set of lock files, and linked to where the
//! checks look for it. Shared by all runs, read-only to them.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use journeyman_domain::check::{CheckPlan, Prepare};
use journeyman_domain::failure::sentence;
use journeyman_domain::tool::{Exec, head_and_tail};
use journeyman_faults::{around, points};
use journeyman_workspace::{Policy, Workspace, WorkspaceError};

use super::call;
use super::execute::{RunError, Work};
use crate::support::recordable;

/// Milliseconds that fetching dependencies may take.
const FETCH_MS: u64 = 20 * 60 * 1000;
/// Bytes of a failed fetch's output that the log shows.
const SHOWN: usize = 2 * 1024;
/// How often a run looks whether another one has fetched the same.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How long a fetch into the user's own caches is good for.
const GOOD_FOR: Duration = Duration::from_mins(10);
/// How long one that failed is not tried again.
const FAILED_FOR: Duration = Duration::from_secs(10);
/// Marks a complete folder.
const DONE: &str = "complete";

/// When what was fetched into the user's own caches in this life; who fetches it holds it.
#[derive(Clone, Debug, Default)]
pub struct Fetched(Arc<Mutex<HashMap<String, Last>>>);

type Last = Arc<tokio::sync::Mutex<Option<Tried>>>;

#[derive(Clone, Copy, Debug)]
struct Tried {
    at: Instant,
    is_done: bool,
}

impl Tried {
    /// Whether it need not be tried again. Those who waited for one that failed do not fail one after another.
    fn counts(self) -> bool {
        self.at.elapsed() < if self.is_done { GOOD_FOR } else { FAILED_FOR }
    }
}

impl Fetched {
    fn of(&self, key: String) -> Last {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What somebody else holds too is being fetched, or waited for.
        let is_good = |last: &Last| last.try_lock().is_ok_and(|at| at.is_some_and(Tried::counts));
        known.retain(|_, last| Arc::strong_count(last) > 1 || is_good(last));
        Arc::clone(known.entry(key).or_default())
    }
}

/// Fetches what the checks need and links it into the workspace; the folders that came of it, each
/// with its name in a checkout.
///
/// A fetch that fails is not the end: the checks then say what is missing.
pub(super) async fn dependencies(
    work: &Work,
    workspace: &Workspace,
    plan: &CheckPlan,
) -> Result<Vec<(String, PathBuf)>, RunError> {
    let provided = plan.prepare.iter().flat_map(|prepare| &prepare.provides);
    let names: Vec<String> = provided.cloned().collect();
    journeyman_workspace::exclude(workspace, &names).await?;
    let mut prepared = Vec::new();
    for prepare in &plan.prepare {
        if prepare.provides.is_empty() {
            into_own_caches(work, workspace, prepare).await?;
        } else {
            prepared.extend(shared(work, workspace, prepare).await?);
        }
    }
    link(&workspace.tree(), &prepared).await;
    Ok(prepared)
}

/// Fills the user's own caches; once in a while for all runs that need the same, since they may be emptied meanwhile.
async fn into_own_caches(
    work: &Work,
    workspace: &Workspace,
    prepare: &Prepare,
) -> Result<(), RunError> {
    // Not by the lock files: without one, what is fetched hangs on files that nobody names.
    let key = journeyman_workspace::key_of(workspace, &prepare.argv, &[]).await?;
    let last = work.runtime.fetched.of(key);
    let mut last = tokio::select! {
        last = last.lock() => last,
        () = work.stop.cancelled() => return Err(RunError::Stopped),
    };
    if last.is_some_and(Tried::counts) {
        return Ok(());
    }
    let tree = workspace.folder().join("fetch");
    let is_done = around(points::PREPARE, fetch(work, workspace, prepare, &tree)).await?;
    *last = Some(Tried { at: Instant::now(), is_done });
    Ok(journeyman_workspace::discard(&tree).await?)
}

/// The folders that a command fills, from those that are kept for all runs.
async fn shared(
    work: &Work,
    workspace: &Workspace,
    prepare: &Prepare,
) -> Result<Vec<(String, PathBuf)>, RunError> {
    let key = journeyman_workspace::key_of(workspace, &prepare.argv, &prepare.lock_files).await?;
    let folder = work.runtime.settings.prepared.join(key);
    let (done, tree) = (folder.join(DONE), folder.join("tree"));
    if exists(&done).await {
        return Ok(provided(prepare, &tree).await);
    }
    // It is filled in its place: an environment of Python knows its own path. The system gives the
    // lock back when we die, and what is not marked then is made anew.
    let _lock = lock(work, &folder).await?;
    if exists(&done).await {
        return Ok(provided(prepare, &tree).await);
    }
    if !around(points::PREPARE, fetch(work, workspace, prepare, &tree)).await? {
        return Ok(Vec::new());
    }
    let found = provided(prepare, &tree).await;
    if !found.is_empty() {
        // What is marked must be there after a power cut, too.
        journeyman_workspace::settle(&tree).await?;
        tokio::fs::write(&done, b"").await.map_err(|error| refused(&done, error))?;
    }
    Ok(found)
}

/// Waits until nobody else fills the folder.
async fn lock(work: &Work, folder: &Path) -> Result<File, RunError> {
    let path = folder.with_extension("lock");
    let refused = |error: io::Error| refused(&path, error);
    tokio::fs::create_dir_all(folder).await.map_err(refused)?;
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(refused)?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(refused(error)),
        }
        if !std::mem::replace(&mut told, true) {
            work.say("waiting for another run that fetches the same dependencies");
        }
        tokio::select! {
            () = work.stop.cancelled() => return Err(RunError::Stopped),
            () = tokio::time::sleep(LOOK_AGAIN_AFTER) => {}
        }
    }
}

fn refused(path: &Path, source: io::Error) -> RunError {
    WorkspaceError::Io { doing: format!("write {}", path.display()), source }.into()
}

/// Runs the command in a checkout of the base; whether it succeeded.
async fn fetch(
    work: &Work,
    workspace: &Workspace,
    prepare: &Prepare,
    tree: &Path,
) -> Result<bool, RunError> {
    let command = prepare.argv.join(" ").replace('\n', "; ");
    work.say(format!("fetching dependencies: {command}"));
    journeyman_workspace::checkout(workspace, &workspace.base().commit, tree).await?;
    let temporary = workspace.folder().join("fetch-temporary");
    journeyman_workspace::empty(&temporary).await?;
    let settings = &work.runtime.settings.sandbox;
    let mut writable = vec![tree.to_owned()];
    writable.extend(settings.caches.iter().cloned());
    let policy = Policy {
        cwd: tree.to_owned(),
        writable,
        temporary: Some(temporary.clone()),
        ..workspace.policy(settings.namespaces, true)
    };
    let exec = Exec { argv: prepare.argv.clone(), network: true, ..Exec::default() };
    let (ended, output) = call::run(work, &exec, policy, FETCH_MS).await?;
    if work.stop.is_cancelled() {
        return Err(RunError::Stopped);
    }
    journeyman_workspace::discard(&temporary).await?;
    if !ended.is_success() {
        let output = recordable(&output);
        let (head, tail) = head_and_tail(output.trim_end(), SHOWN);
        let said = tail.unwrap_or(head);
        tracing::warn!(command, ?ended, said, "dependencies were not fetched");
        let last = said.lines().next_back().unwrap_or_default();
        work.say(format!("dependencies were not fetched: {command}: {last}"));
    }
    Ok(ended.is_success())
}

/// The folders that are there. One that leads out of the tree is none of what was fetched, and would
/// show a child what is hidden from it.
async fn provided(prepare: &Prepare, tree: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for name in &prepare.provides {
        let source = tree.join(name);
        if is_within(&source, tree).await {
            found.push((name.clone(), source));
        }
    }
    found
}

/// Links the folders into a checkout or a workspace, where nothing stands in their place.
pub(super) async fn link(root: &Path, prepared: &[(String, PathBuf)]) {
    for (name, source) in prepared {
        let target = root.join(name);
        // The change may have removed the folder, or made it a link to somebody else's.
        if !is_within(target.parent().unwrap_or(root), root).await {
            continue;
        }
        if let Err(error) = tokio::fs::symlink(source, &target).await
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            tracing::warn!(error = %sentence(&error), name, "prepared dependencies could not be linked");
        }
    }
}

async fn is_within(path: &Path, folder: &Path) -> bool {
    match tokio::try_join!(tokio::fs::canonicalize(path), tokio::fs::canonicalize(folder)) {
        Ok((path, folder)) => path.starts_with(folder),
        Err(_) => false,
    }
}

async fn exists(path: &Path) -> bool {
    tokio::fs::try_exists(path).await.unwrap_or(false)
}
