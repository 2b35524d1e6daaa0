//! Snapshots: the files of a workspace as git objects of our own.
//!
//! A snapshot holds every file that git would not ignore, with its mode, also within a repository
//! that the agent made in a subfolder. Submodules stand in it as the base records them. It is a
//! commit under `refs/journeyman/runs/<run>/<seq>` of our repository, its parent the one before.

use std::path::{Path, PathBuf};

use journeyman_domain::ids::RunId;
use serde::{Deserialize, Serialize};
use tokio::fs;

use crate::base::snapshot_of;
use crate::checkout::{make_repository, remove_folder, unlock};
use crate::clone::Workspace;
use crate::error::{Doing as _, WorkspaceError};
use crate::git::{Git, ObjectId};
use crate::locks;
use crate::repository::{entries, path_of};
use crate::sound::{is_real_folder, is_usable};
use crate::submodules;

mod index;

/// A state of a workspace's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The files.
    pub tree: ObjectId,
    /// The commit that holds them.
    pub commit: ObjectId,
    /// Whether they are others than in the snapshot before; if not, the commit is that one's.
    pub changed: bool,
    /// A thin pack of what is new since the snapshot before; empty when nothing changed.
    pub pack: Vec<u8>,
    /// Files that are too large to be kept: what a snapshot before recorded of them stays, and a
    /// restore puts that back.
    pub left_out: Vec<PathBuf>,
}

/// A snapshot as it comes back from where it was stored.
#[derive(Clone, Debug)]
pub struct StoredSnapshot {
    /// Its number within the run.
    pub seq: u64,
    /// [`Snapshot::commit`].
    pub commit: ObjectId,
    /// [`Snapshot::pack`].
    pub pack: Vec<u8>,
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content or its mode is another.
    Modified,
    /// It is gone.
    Deleted,
    /// It is of another kind, as a link instead of a file.
    TypeChanged,
}

/// A path that differs between two states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedPath {
    /// Relative to the workspace.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// Takes the snapshot number `seq`, after `previous` (at first [`Workspace::base`]).
///
/// The same files after the same snapshot give the same commit, so that a repeat is harmless.
/// No process of the run may be at work meanwhile.
///
/// # Errors
/// Git's and the system's.
pub async fn take(
    workspace: &Workspace,
    seq: u64,
    previous: &Snapshot,
) -> Result<Snapshot, WorkspaceError> {
    let left_out = index::refresh(workspace).await?.left_out;
    record(workspace, seq, previous, left_out).await
}

/// The same where only the files `touched` can be others than in `previous`, relative to the workspace: nobody else was
/// at work since. Where git knows all of them, the look at everything is left out.
///
/// # Errors
/// As [`take`].
pub async fn take_touched(
    workspace: &Workspace,
    seq: u64,
    previous: &Snapshot,
    touched: &[PathBuf],
) -> Result<Snapshot, WorkspaceError> {
    if touched.is_empty() {
        return Ok(Snapshot { changed: false, pack: Vec::new(), ..previous.clone() });
    }
    if !index::refresh_known(workspace, touched).await? {
        return take(workspace, seq, previous).await;
    }
    let is_untouched = |path: &&PathBuf| !touched.contains(path);
    let left_out = previous.left_out.iter().filter(is_untouched).cloned().collect();
    record(workspace, seq, previous, left_out).await
}

/// Makes a snapshot of what the index has.
async fn record(
    workspace: &Workspace,
    seq: u64,
    previous: &Snapshot,
    left_out: Vec<PathBuf>,
) -> Result<Snapshot, WorkspaceError> {
    let git = workspace.git();
    let tree = git.object(["write-tree"]).await?;
    if tree == previous.tree {
        let (commit, pack) = (previous.commit.clone(), Vec::new());
        return Ok(Snapshot { tree, commit, changed: false, pack, left_out });
    }
    let message = format!("run {} step {seq}", workspace.run());
    let arguments =
        ["commit-tree", tree.as_str(), "-p", previous.commit.as_str(), "-m", message.as_str()];
    let git = ["AUTHOR", "COMMITTER"].iter().fold(git, |git, role| {
        git.with(&format!("GIT_{role}_NAME"), "Journeyman")
            .with(&format!("GIT_{role}_EMAIL"), "journeyman@localhost")
            .with(&format!("GIT_{role}_DATE"), format!("@{seq} +0000"))
    });
    let commit = git.object(arguments).await?;
    let reference = reference(workspace.run(), seq);
    let (_, pack) = tokio::try_join!(
        async { Ok(git.run(["update-ref", &reference, commit.as_str()]).await?) },
        pack(&git, &commit, &previous.commit),
    )?;
    Ok(Snapshot { tree, commit, changed: true, pack, left_out })
}

/// Brings stored snapshots, oldest first, into a workspace that was made anew. Those that it has
/// already are passed over.
///
/// # Errors
/// Git's, as where a pack does not follow the ones before.
pub async fn import(
    workspace: &Workspace,
    snapshots: &[StoredSnapshot],
) -> Result<(), WorkspaceError> {
    import_into(&workspace.git(), workspace.run(), snapshots).await
}

pub(crate) async fn import_into(
    git: &Git,
    run: RunId,
    snapshots: &[StoredSnapshot],
) -> Result<(), WorkspaceError> {
    // What an earlier life brought in has its reference, which is written last.
    let format = "--format=%(objectname) %(refname)";
    let known = git.run(["for-each-ref", format, &format!("refs/journeyman/runs/{run}/")]).await?;
    let known = String::from_utf8_lossy(&known).into_owned();
    for snapshot in snapshots {
        let line = format!("{} {}", snapshot.commit, reference(run, snapshot.seq));
        if known.lines().any(|known| known == line) {
            continue;
        }
        if !snapshot.pack.is_empty() {
            git.run_with(["index-pack", "--fix-thin", "--stdin"], snapshot.pack.clone()).await?;
        }
        let reference = reference(run, snapshot.seq);
        git.run(["update-ref", &reference, snapshot.commit.as_str()]).await?;
    }
    Ok(())
}

/// Makes the workspace's files exactly those of `commit`: everything else is removed, also what
/// git ignores, but for the folders in `caches` (as `target`), where they are ignored. What an
/// agent committed in its own repository stays there. Tells whether any file of a snapshot was
/// another one.
///
/// # Errors
/// [`WorkspaceError::NotRestored`] when it did not come out so; git's and the system's.
pub async fn restore(
    workspace: &Workspace,
    commit: &ObjectId,
    caches: &[&str],
) -> Result<bool, WorkspaceError> {
    restore_to(workspace, &snapshot_of(workspace, commit).await?, caches).await
}

/// The same, where the commit's tree is known.
///
/// # Errors
/// As [`restore`].
pub async fn restore_to(
    workspace: &Workspace,
    wanted: &Snapshot,
    caches: &[&str],
) -> Result<bool, WorkspaceError> {
    let first = write_files(workspace, wanted, caches).await;
    if let Ok((was_other, made)) = &first
        && *made == wanted.tree
    {
        return Ok(*was_other);
    }
    // A program may have taken our rights from a folder, as Go does with its cache.
    let tree = workspace.tree();
    blocking(&tree, unlock).await?;
    let (_, made) = write_files(workspace, wanted, caches).await?;
    if made == wanted.tree {
        Ok(true)
    } else {
        Err(WorkspaceError::NotRestored { wanted: wanted.tree.clone(), found: made })
    }
}

/// One try of a restore; whether it found other files, and the tree that came about.
async fn write_files(
    workspace: &Workspace,
    wanted: &Snapshot,
    caches: &[&str],
) -> Result<(bool, ObjectId), WorkspaceError> {
    let (tree, commit) = (workspace.tree(), &wanted.commit);
    repair_repository(workspace, &tree).await?;
    let git = workspace.git();
    let seen = index::refresh(workspace).await?;
    // Mostly a life ended between two calls: then only what is ignored may have to go.
    let is_seen_whole = !seen.changed && seen.left_out.is_empty();
    // None can be made where an object is missing.
    let found = git.object(["write-tree"]).await.ok();
    let is_same = found.is_some_and(|found| found == wanted.tree);
    let stands = is_seen_whole && workspace.submodules().is_empty() && is_same;
    if !stands {
        git.run(["read-tree", "--reset", "-u", commit.as_str()]).await?;
    }
    let mut clean = vec!["clean".to_owned(), "-ffdxq".to_owned()];
    for cache in caches {
        clean.extend(["-e".to_owned(), format!("{cache}/")]);
    }
    git.run(clean).await?;
    let kept: Vec<String> = caches.iter().map(|cache| (*cache).to_owned()).collect();
    blocking(&tree, move |tree| remove_repositories(tree, tree, &kept)).await?;
    if stands {
        return Ok((false, wanted.tree.clone()));
    }
    if !workspace.submodules().is_empty() {
        submodules::write(&git, &workspace.modules_dir(), commit, &tree).await?;
    }
    index::refresh(workspace).await?;
    Ok((!is_same, git.object(["write-tree"]).await?))
}

/// Walks over the files where it holds up nobody else.
async fn blocking(
    tree: &Path,
    walk: impl FnOnce(&Path) + Send + 'static,
) -> Result<(), WorkspaceError> {
    let owned = tree.to_owned();
    let walked = tokio::task::spawn_blocking(move || walk(&owned)).await;
    walked.map_err(std::io::Error::other).doing("look through", tree)
}

/// Removes the repositories that the agent made in folders that stay: git does not see them.
fn remove_repositories(tree: &Path, folder: &Path, caches: &[String]) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        // What cannot be removed is no file of the snapshot, nor seen by git later.
        if name == ".git" && folder != tree {
            let _ = if is_folder {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
        } else if is_folder && name != ".git" && !caches.iter().any(|cache| name == cache.as_str())
        {
            remove_repositories(tree, &path, caches);
        }
    }
}

/// Removes the locks that killed gits left in the agent's own repository. No process of the run may be at work.
///
/// # Errors
/// The system's.
pub async fn release_locks(workspace: &Workspace) -> Result<(), WorkspaceError> {
    let dot_git = workspace.tree().join(".git");
    if is_real_folder(&dot_git).await { locks::clear(&dot_git).await } else { Ok(()) }
}

/// Makes sure that the agent finds a repository that works, after it was killed in mid-command.
async fn repair_repository(workspace: &Workspace, tree: &Path) -> Result<(), WorkspaceError> {
    let dot_git = tree.join(".git");
    // A link, or a file that names another repository, may lead to the user's own.
    let is_folder = is_real_folder(&dot_git).await;
    release_locks(workspace).await?;
    if !is_folder || !is_usable(workspace, tree).await {
        if !is_folder && fs::symlink_metadata(&dot_git).await.is_ok() {
            fs::remove_file(&dot_git).await.doing("remove", &dot_git)?;
        }
        remove_folder(&dot_git).await?;
        fs::create_dir_all(tree).await.doing("make", tree)?;
        let base = workspace.base().commit;
        make_repository(&workspace.git_dir(), &base, tree, workspace.owner()).await?;
        let git = workspace.repository().files(tree, &dot_git.join("index"));
        git.run(["read-tree", base.as_str()]).await?;
    }
    Ok(())
}

/// The difference between two commits as a patch that `git apply` takes, binary files included.
/// Bytes, since a text file need not be UTF-8.
///
/// # Errors
/// Git's.
pub async fn diff(
    workspace: &Workspace,
    from: &ObjectId,
    to: &ObjectId,
) -> Result<Vec<u8>, WorkspaceError> {
    diff_of(&workspace.repository(), from, to).await
}

pub(crate) async fn diff_of(
    git: &Git,
    from: &ObjectId,
    to: &ObjectId,
) -> Result<Vec<u8>, WorkspaceError> {
    let patch = git
        .run([
            "diff-tree",
            "-r",
            "-p",
            "--binary",
            "--full-index",
            "--no-color",
            "--no-ext-diff",
            "--no-textconv",
            "--no-renames",
            from.as_str(),
            to.as_str(),
        ])
        .await?;
    Ok(patch)
}

/// The paths that differ between two commits, in git's order; a rename is a deletion and an
/// addition.
///
/// # Errors
/// Git's.
pub async fn changed_paths(
    workspace: &Workspace,
    from: &ObjectId,
    to: &ObjectId,
) -> Result<Vec<ChangedPath>, WorkspaceError> {
    let arguments =
        ["diff-tree", "-r", "-z", "--name-status", "--no-renames", from.as_str(), to.as_str()];
    let answer = workspace.repository().run(arguments).await?;
    let mut fields = entries(&answer);
    let mut changed = Vec::new();
    while let (Some(letter), Some(path)) = (fields.next(), fields.next()) {
        let kind = match letter {
            b"A" => ChangeKind::Added,
            b"D" => ChangeKind::Deleted,
            b"T" => ChangeKind::TypeChanged,
            _ => ChangeKind::Modified,
        };
        changed.push(ChangedPath { path: path_of(path), kind });
    }
    Ok(changed)
}

/// A thin pack of what `commit` has and `known` has not.
pub(crate) async fn pack(
    git: &Git,
    commit: &ObjectId,
    known: &ObjectId,
) -> Result<Vec<u8>, WorkspaceError> {
    let range = format!("{commit}\n^{known}\n").into_bytes();
    let arguments =
        ["pack-objects", "--revs", "--thin", "--stdout", "--delta-base-offset", "--quiet"];
    // Mostly of a few files: threads cost more than they save.
    Ok(git.clone().configured("pack.threads", "1").run_with(arguments, range).await?)
}

fn reference(run: RunId, seq: u64) -> String {
    format!("refs/journeyman/runs/{run}/{seq}")
}
