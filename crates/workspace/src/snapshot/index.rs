//! Brings our private index up to date with the agent's files.
//!
//! `git add` would do, but for what an agent may leave behind: repositories within the tree (it
//! would record a link to a commit instead of their files, or fail), unreadable files, pipes.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::clone::Workspace;
use crate::error::{Doing as _, WorkspaceError};
use crate::git::GitError;
use crate::repository::{entries, path_of};

/// A larger file is left out of snapshots, so that a core image or a dataset does not end up in
/// the database.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What a look at the agent's files found.
pub(super) struct Refreshed {
    /// Whether anything is recorded otherwise than before.
    pub(super) changed: bool,
    /// The files that were left out.
    pub(super) left_out: Vec<PathBuf>,
}

/// Records all changes since the last time.
pub(super) async fn refresh(workspace: &Workspace) -> Result<Refreshed, WorkspaceError> {
    remove_lock(workspace);
    let git = workspace.git();
    // Side by side: each looks at every file or folder. Of the files that it knows git asks in two threads this way.
    let (mut listed, new) = tokio::try_join!(
        git.run(["diff-files", "-z", "--name-only", "--ignore-submodules=all"]),
        git.run(["ls-files", "-z", "-o", "--exclude-standard"]),
    )?;
    listed.extend(new);
    let mut plan = Plan::new(workspace).add_all(listed, Vec::new()).await?;
    while let Some(repository) = plan.repositories.pop() {
        let answer = plan.list_repository(&repository).await?;
        plan = plan.add_all(answer, repository).await?;
    }
    if !plan.removed.is_empty() {
        git.run_with(["update-index", "-z", "--force-remove", "--stdin"], list(&plan.removed))
            .await?;
    }
    if !plan.changed.is_empty() {
        let options = ["update-index", "-z", "--add", "--remove", "--replace", "--stdin"];
        git.run_with(options, list(&plan.changed)).await?;
    }
    plan.left_out.sort();
    let changed = !(plan.removed.is_empty() && plan.changed.is_empty());
    Ok(Refreshed { changed, left_out: plan.left_out })
}

/// Records these files, or nothing of them (`false`) where more than they counts: one is new, so that it may be ignored,
/// or gone, too large or no file.
pub(super) async fn refresh_known(
    workspace: &Workspace,
    touched: &[PathBuf],
) -> Result<bool, WorkspaceError> {
    let tree = workspace.tree();
    let is_plain = |path: &PathBuf| {
        // What a changed `.gitignore` ignored so far may be there.
        !path.ends_with(".gitignore")
            && fs::symlink_metadata(tree.join(path)).is_ok_and(|found| found.is_file())
    };
    if !touched.iter().all(is_plain) {
        return Ok(false);
    }
    remove_lock(workspace);
    let touched = touched.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
    let plan = Plan::new(workspace).add_all(list(&touched), Vec::new()).await?;
    if !plan.removed.is_empty() || !plan.left_out.is_empty() {
        return Ok(false);
    }
    // Without `--add` git refuses all of them where it does not know one. Whatever else it refuses them for, the look at
    // everything says.
    match workspace.git().run_with(["update-index", "-z", "--stdin"], list(&plan.changed)).await {
        Ok(_) => Ok(true),
        Err(GitError::Failed { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A process that was killed in mid-write leaves its lock; no other one is at work.
fn remove_lock(workspace: &Workspace) {
    let _ = fs::remove_file(workspace.folder().join("index.lock"));
}

fn list(paths: &BTreeSet<Vec<u8>>) -> Vec<u8> {
    paths.iter().flat_map(|path| path.iter().copied().chain([0])).collect()
}

/// What to tell git.
struct Plan {
    workspace: Workspace,
    tree: PathBuf,
    /// To be recorded as they are, or removed where they are gone.
    changed: BTreeSet<Vec<u8>>,
    /// To be removed though something is there.
    removed: BTreeSet<Vec<u8>>,
    /// Repositories within the tree that are still to be looked at, each with a final slash.
    repositories: Vec<Vec<u8>>,
    left_out: Vec<PathBuf>,
    /// Whether a folder is reached without a symbolic link.
    real_folders: HashMap<PathBuf, bool>,
}

impl Plan {
    fn new(workspace: &Workspace) -> Self {
        Self {
            workspace: workspace.clone(),
            tree: workspace.tree(),
            changed: BTreeSet::new(),
            removed: BTreeSet::new(),
            repositories: Vec::new(),
            left_out: Vec::new(),
            real_folders: HashMap::new(),
        }
    }

    /// Decides on every path that git lists below `prefix`.
    async fn add_all(mut self, answer: Vec<u8>, prefix: Vec<u8>) -> Result<Self, WorkspaceError> {
        let tree = self.tree.clone();
        let looked = tokio::task::spawn_blocking(move || {
            for entry in entries(&answer) {
                self.add(&[&prefix, entry].concat());
            }
            self
        });
        looked.await.map_err(std::io::Error::other).doing("look through", &tree)
    }

    /// Decides on one path that git lists as changed, deleted or new.
    fn add(&mut self, entry: &[u8]) {
        let path = path_of(entry);
        let is_git = |part: &std::ffi::OsStr| part.as_bytes().eq_ignore_ascii_case(b".git");
        if path.iter().any(is_git) || self.workspace.submodules().contains(&path) {
            return;
        }
        if entry.ends_with(b"/") {
            self.repositories.push(entry.to_vec());
            return;
        }
        if !self.is_real(path.parent().unwrap_or(Path::new(""))) {
            self.removed.insert(entry.to_vec());
            return;
        }
        match fs::symlink_metadata(self.tree.join(&path)) {
            // What is recorded of it stays, so that a delivery never deletes a tracked file.
            Ok(metadata) if metadata.is_file() && metadata.len() > FILE_BYTES_MAX => {
                self.left_out.push(path);
            }
            Ok(metadata) if metadata.is_file() => {
                make_readable(&self.tree.join(&path), &metadata);
                self.changed.insert(entry.to_vec());
            }
            // A folder where a file was, a pipe, a device.
            Ok(metadata) if !metadata.is_symlink() => {
                self.removed.insert(entry.to_vec());
            }
            Ok(_) | Err(_) => {
                self.changed.insert(entry.to_vec());
            }
        }
    }

    /// Lists the files of a repository within the tree, by its own rules of what is ignored.
    async fn list_repository(&self, prefix: &[u8]) -> Result<Vec<u8>, WorkspaceError> {
        let folder = self.tree.join(path_of(prefix));
        let no_index = self.workspace.folder().join("no-index");
        let git = self.workspace.repository().files(&folder, &no_index);
        Ok(git.run(["ls-files", "-z", "-o", "--exclude-standard"]).await?)
    }

    fn is_real(&mut self, folder: &Path) -> bool {
        if folder.as_os_str().is_empty() {
            return true;
        }
        if let Some(known) = self.real_folders.get(folder) {
            return *known;
        }
        let link = fs::symlink_metadata(self.tree.join(folder)).is_ok_and(|it| it.is_symlink());
        let real = !link && self.is_real(folder.parent().unwrap_or(Path::new("")));
        self.real_folders.insert(folder.into(), real);
        real
    }
}

fn make_readable(path: &Path, metadata: &Metadata) {
    let mode = metadata.permissions().mode();
    if mode & 0o400 == 0 {
        // If that fails, git says so.
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o600));
    }
}
