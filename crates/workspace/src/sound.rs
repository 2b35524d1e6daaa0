//! Whether a workspace of an earlier life still holds what its run goes on from: between two lives, anything may
//! have happened to a folder.

use std::path::Path;

use tokio::fs;

use crate::clone::Workspace;
use crate::error::WorkspaceError;
use crate::git::{Git, GitError, ObjectId};
use crate::snapshot::Snapshot;

/// Looks whether our repository has every file of the base and of `commit`, whose snapshot it gives. It looks at
/// names, not at bytes, so that it takes no longer than a listing.
///
/// # Errors
/// [`WorkspaceError::NotRestored`] where the base is another one than it says; git's, as where an object
/// is missing.
pub async fn verify(workspace: &Workspace, commit: &ObjectId) -> Result<Snapshot, WorkspaceError> {
    let git = workspace.repository();
    let base = workspace.base();
    // A process for each question would be most of what going on with a run costs.
    let [of_base, tree] = trees(&git, [&base.commit, commit]).await?;
    if of_base != base.tree {
        return Err(WorkspaceError::NotRestored { wanted: base.tree, found: of_base });
    }
    let listed = ["rev-list", "--objects", "--no-walk", "--quiet"];
    git.run(listed.into_iter().chain([base.commit.as_str(), commit.as_str()])).await?;
    Ok(Snapshot { tree, commit: commit.clone(), ..base })
}

async fn trees(git: &Git, commits: [&ObjectId; 2]) -> Result<[ObjectId; 2], WorkspaceError> {
    let [first, second] = commits.map(|commit| format!("{commit}^{{tree}}"));
    let answer = git.line(["rev-parse", &first, &second]).await?;
    let parsed = answer.split_once('\n').map(|(first, second)| (first.parse(), second.parse()));
    match parsed {
        Some((Ok(first), Ok(second))) => Ok([first, second]),
        _ => Err(GitError::Answer { command: "rev-parse".into(), answer }.into()),
    }
}

/// Reads every object of our repository; what is wrong, in git's words. It may take minutes.
///
/// # Errors
/// Git's.
pub async fn faults(workspace: &Workspace) -> Result<(), WorkspaceError> {
    let git = workspace.repository();
    git.run(["fsck", "--no-dangling", "--no-progress", "--no-reflogs"]).await?;
    Ok(())
}

/// Whether a folder is one, and no link that leads elsewhere, as into the user's own repository.
pub(crate) async fn is_real_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).await.is_ok_and(|found| found.is_dir())
}

/// Whether the agent's own repository can be worked with: its head and its index are read, it borrows
/// from ours, and nothing at its top leads elsewhere.
pub(crate) async fn is_usable(workspace: &Workspace, tree: &Path) -> bool {
    let dot_git = tree.join(".git");
    let Ok(mut entries) = fs::read_dir(&dot_git).await else { return false };
    while let Ok(Some(entry)) = entries.next_entry().await {
        if entry.file_type().await.is_ok_and(|kind| kind.is_symlink()) {
            return false;
        }
    }
    let git = workspace.repository().beside(&dot_git).files(tree, &dot_git.join("index"));
    // Whatever the agent committed there, what it began with must be found. An agent may be on a branch
    // without a commit: then there is no head to be found, and a name to be read.
    let base = format!("{}^{{tree}}", workspace.base().commit);
    let has_both = git.run(["rev-parse", "--quiet", &base, "HEAD^{commit}"]).await.is_ok();
    git.run(["ls-files", "--stage"]).await.is_ok()
        && (has_both || git.run(["cat-file", "-e", &base]).await.is_ok() && is_unborn(&git).await)
}

async fn is_unborn(git: &Git) -> bool {
    match git.line(["symbolic-ref", "--quiet", "HEAD"]).await {
        Ok(branch) => git.run(["show-ref", "--verify", "--quiet", &branch]).await.is_err(),
        Err(_) => false,
    }
}
