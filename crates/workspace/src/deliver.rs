//! Bringing a change into the user's repository.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::clone::Workspace;
use crate::error::WorkspaceError;
use crate::git::{Git, GitError, ObjectId};
use crate::locks;
use crate::repository::{dirty, entries, path_of};
use crate::snapshot::{Snapshot, pack};

/// So many branches of one name are tried before giving up.
const SUFFIXES_MAX: u32 = 100;

/// Who wrote or committed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// As a person is called.
    pub name: String,
    /// May be empty.
    pub email: String,
}

/// What to deliver. The same values give the same commit, whenever and however often.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The branch, as `journeyman/1a2b3c4d-fix-the-build`, without `refs/heads/`.
    pub branch: String,
    /// The commit's message.
    pub message: String,
    /// Who wrote it.
    pub author: Signature,
    /// Who committed it.
    pub committer: Signature,
    /// When, in seconds since 1970 (UTC).
    pub when: i64,
}

/// What was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The branch; with a suffix where one of that name was there with something else.
    pub branch: String,
    /// The commit on it.
    pub commit: ObjectId,
}

/// A delivery that is in the user's repository already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The branch.
    pub branch: String,
    /// The commit, on the branch or below what the user added to it.
    pub commit: ObjectId,
    /// What it was made from.
    pub base: ObjectId,
}

/// Commits of a branch that are looked through for a delivery.
const LOOKED_AT: &str = "--max-count=100";

/// Looks for what was delivered on a branch of this name before: a commit of that second, which is the
/// task's own.
///
/// # Errors
/// Git's.
pub async fn delivered_before(
    repository: &Path,
    branch: &str,
    when: i64,
) -> Result<Option<Earlier>, WorkspaceError> {
    let git = Git::within(repository);
    let reference = format!("refs/heads/{branch}");
    let format = "--format=%(refname:lstrip=2)";
    let listed =
        git.run(["for-each-ref", format, &reference, &format!("{reference}-[0-9]*")]).await?;
    for branch in String::from_utf8_lossy(&listed).lines() {
        let reference = format!("refs/heads/{branch}");
        let commits = git.run(["log", LOOKED_AT, "--format=%ct %H %P", &reference, "--"]).await?;
        for line in String::from_utf8_lossy(&commits).lines() {
            let words: Vec<_> = line.split(' ').collect();
            let [date, commit, base] = words.as_slice() else { continue };
            if date.parse() == Ok(when)
                && let (Ok(commit), Ok(base)) = (commit.parse(), base.parse())
            {
                return Ok(Some(Earlier { branch: branch.to_owned(), commit, base }));
            }
        }
    }
    Ok(None)
}

/// Puts the snapshot, as one commit on top of the workspace's base, onto a new branch of the
/// user's repository. Nothing else of it changes: no working tree, index, stash or other branch.
/// A repeat finds its own branch, also where the user went on from there, and does nothing.
///
/// # Errors
/// [`WorkspaceError::DeliveredBefore`] where a branch of the name has the same task's work of another
/// content; git's, as where the branch's name is not allowed.
pub async fn deliver(
    repository: &Path,
    workspace: &Workspace,
    snapshot: &Snapshot,
    delivery: &Delivery,
) -> Result<Delivered, WorkspaceError> {
    let base = workspace.base().commit;
    let commit = commit(workspace, snapshot, &base, delivery).await?;
    let user = Git::within(repository).of(workspace.owner()).durable();
    if let Some(earlier) = delivered_before(repository, &delivery.branch, delivery.when).await? {
        if earlier.commit == commit {
            return Ok(Delivered { branch: earlier.branch, commit });
        }
        return Err(WorkspaceError::DeliveredBefore(earlier.branch));
    }
    // Always: that the commit is there says nothing of its files, where a life ended while it unpacked them.
    let pack = pack(&workspace.git(), &commit, &base).await?;
    user.run_with(["unpack-objects", "-q"], pack).await?;
    for number in 1..=SUFFIXES_MAX {
        let branch = match number {
            1 => delivery.branch.clone(),
            number => format!("{}-{number}", delivery.branch),
        };
        let reference = format!("refs/heads/{branch}");
        let created = create_reference(&user, &reference, &commit).await?;
        let found = user.object(["rev-parse", "--verify", "--quiet", &reference]).await;
        match (created, found) {
            (_, Ok(found)) if found == commit => return Ok(Delivered { branch, commit }),
            (Err(error), Err(_)) => return Err(error.into()),
            (Ok(()) | Err(_), _) => {}
        }
    }
    Err(WorkspaceError::Git(GitError::Answer {
        command: "update-ref".into(),
        answer: format!("{SUFFIXES_MAX} branches named {} exist", delivery.branch),
    }))
}

/// Creates a reference where there is none; git's word otherwise. The lock of an attempt that was killed does not count.
async fn create_reference(
    user: &Git,
    reference: &str,
    commit: &ObjectId,
) -> Result<Result<(), GitError>, WorkspaceError> {
    // An empty old value means: only if there is none.
    let arguments = ["update-ref", reference, commit.as_str(), ""];
    let Err(refused) = user.run(arguments).await else { return Ok(Ok(())) };
    let lock = format!("{reference}.lock");
    let lock = user.line(["rev-parse", "--path-format=absolute", "--git-path", &lock]).await?;
    if !tokio::fs::try_exists(&lock).await.unwrap_or(false) {
        return Ok(Err(refused));
    }
    locks::release(Path::new(&lock)).await?;
    Ok(user.run(arguments).await.map(|_| ()))
}

/// Makes the commit in our own repository.
async fn commit(
    workspace: &Workspace,
    snapshot: &Snapshot,
    base: &ObjectId,
    delivery: &Delivery,
) -> Result<ObjectId, WorkspaceError> {
    let date = format!("@{} +0000", delivery.when);
    let git = workspace
        .git()
        .with("GIT_AUTHOR_NAME", &delivery.author.name)
        .with("GIT_AUTHOR_EMAIL", &delivery.author.email)
        .with("GIT_AUTHOR_DATE", &date)
        .with("GIT_COMMITTER_NAME", &delivery.committer.name)
        .with("GIT_COMMITTER_EMAIL", &delivery.committer.email)
        .with("GIT_COMMITTER_DATE", &date);
    let tree = snapshot.tree.as_str();
    let arguments = ["commit-tree", tree, "-p", base.as_str(), "-F", "-"];
    let answer = git.run_with(arguments, delivery.message.clone().into_bytes()).await?;
    let answer = String::from_utf8_lossy(&answer).trim().to_owned();
    let commit =
        answer.parse().map_err(|_| GitError::Answer { command: "commit-tree".into(), answer })?;
    Ok(commit)
}

/// Files that the commit adds, and that lie in the working tree without git's knowledge. Git itself
/// would refuse some of them, and overwrite those that are ignored.
async fn in_the_way(
    repository: &Path,
    git: &Git,
    commit: &ObjectId,
) -> Result<Vec<PathBuf>, WorkspaceError> {
    let parent = format!("{commit}^");
    let arguments =
        ["diff", "--name-only", "--no-renames", "--diff-filter=A", "-z", &parent, commit.as_str()];
    let added = git.run(arguments).await?;
    let mut found = Vec::new();
    for path in entries(&added).map(path_of) {
        if tokio::fs::symlink_metadata(repository.join(&path)).await.is_err() {
            continue;
        }
        let known = [OsStr::new("--literal-pathspecs"), OsStr::new("ls-files"), OsStr::new("--")];
        let known = git.run(known.into_iter().chain([path.as_os_str()])).await?;
        if known.is_empty() {
            found.push(path);
        }
    }
    Ok(found)
}

/// What applying a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The current branch holds it already.
    AlreadyThere,
    /// The current branch moved forward to it.
    FastForward,
    /// It was made anew on top of the current branch, as this commit.
    Picked(ObjectId),
}

/// Applies a delivered commit to the user's current branch and working tree: the only thing here
/// that touches them. It happens as a whole or not at all.
///
/// # Errors
/// [`WorkspaceError::NotClean`] with uncommitted changes, [`WorkspaceError::InTheWay`] with a file
/// that git does not know where the commit adds one, [`WorkspaceError::Conflict`] where it does not
/// fit (then everything is as before), and git's.
pub async fn apply(
    repository: &Path,
    commit: &ObjectId,
    committer: &Signature,
) -> Result<Applied, WorkspaceError> {
    let git = Git::within(repository)
        .with_user_configuration()
        .with("GIT_COMMITTER_NAME", &committer.name)
        .with("GIT_COMMITTER_EMAIL", &committer.email);
    let changes = dirty(&git, "no").await?;
    if !changes.is_empty() {
        return Err(WorkspaceError::NotClean(changes));
    }
    let head = git.object(["rev-parse", "--verify", "HEAD"]).await?;
    if git.run(["merge-base", "--is-ancestor", commit.as_str(), "HEAD"]).await.is_ok() {
        return Ok(Applied::AlreadyThere);
    }
    let parent = git.object(["rev-parse", "--verify", &format!("{commit}^")]).await?;
    let strangers = in_the_way(repository, &git, commit).await?;
    if !strangers.is_empty() {
        return Err(WorkspaceError::InTheWay(strangers));
    }
    if parent == head {
        git.run(["merge", "--ff-only", "--quiet", commit.as_str()]).await?;
        return Ok(Applied::FastForward);
    }
    if let Err(error) = git.run(["cherry-pick", "--keep-redundant-commits", commit.as_str()]).await
    {
        let unmerged = git.run(["diff", "--name-only", "--diff-filter=U", "-z"]).await?;
        let conflicts: Vec<_> = entries(&unmerged).map(path_of).collect();
        // Where it failed before it began there is nothing to abort.
        let _ = git.run(["cherry-pick", "--abort"]).await;
        if conflicts.is_empty() {
            return Err(error.into());
        }
        return Err(WorkspaceError::Conflict(conflicts));
    }
    Ok(Applied::Picked(git.object(["rev-parse", "--verify", "HEAD"]).await?))
}
