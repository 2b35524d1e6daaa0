//! The remote of the user's repository: where it is, what a branch is there, and pushing one.
//!
//! A push only ever makes a branch. It never moves one, and never forces anything.

use std::path::Path;
use std::time::Duration;

use journeyman_domain::ids::NodeId;

use crate::error::WorkspaceError;
use crate::git::{Git, GitError, ObjectId};

/// How long a look may take.
const LOOK_LIMIT: Duration = Duration::from_mins(1);
/// How long a push may take.
const PUSH_LIMIT: Duration = Duration::from_mins(10);

/// Where a repository's branches go.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    /// As git calls it.
    pub name: String,
    /// Its address, as a push takes it; it may carry a secret.
    pub address: String,
    /// What git is given for a look and for a push, so that both go to one place: the name, or the address where
    /// the name means another one, or several.
    pub destination: String,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a look on the remote found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteBranch {
    /// What the branch is at, where there is one.
    pub commit: Option<ObjectId>,
    /// The remote's default branch.
    pub default: Option<String>,
}

/// A branch to push.
#[derive(Clone, Copy, Debug)]
pub struct Pushing<'a> {
    /// Where to: [`Remote::destination`].
    pub destination: &'a str,
    /// The branch, without `refs/heads/`.
    pub branch: &'a str,
    /// What it shall be at.
    pub commit: &'a ObjectId,
}

/// The remote that a branch is pushed to: `remote.pushDefault`, else `origin`, else the only one. `None` where
/// there is none, or none of several.
///
/// # Errors
/// [`WorkspaceError::NoSuchFolder`], or git's.
pub async fn remote(repository: &Path) -> Result<Option<Remote>, WorkspaceError> {
    if !repository.is_dir() {
        return Err(WorkspaceError::NoSuchFolder(repository.into()));
    }
    let git = Git::within(repository).with_user_configuration();
    let listed = git.line(["remote"]).await?;
    let names: Vec<&str> = listed.lines().collect();
    let wanted = git.line(["config", "--get", "remote.pushDefault"]).await.unwrap_or_default();
    let name = match names.as_slice() {
        [] => return Ok(None),
        names if names.contains(&wanted.as_str()) => wanted.as_str(),
        names if names.contains(&"origin") => "origin",
        [only] => only,
        [..] => return Ok(None),
    };
    // One that only has an address for pushes is there, too.
    let fetched_from = git.line(["remote", "get-url", name]).await.unwrap_or_default();
    let pushed_to = git.line(["remote", "get-url", "--push", "--all", name]).await?;
    let address = pushed_to.lines().next().unwrap_or_default().to_owned();
    let destination = if pushed_to == fetched_from { name.to_owned() } else { address.clone() };
    Ok(Some(Remote { name: name.to_owned(), address, destination }))
}

/// The remote's branch that a commit stands on, as far as the repository knows: none where the default branch
/// has it, or no branch, or several that say nothing.
///
/// # Errors
/// Git's.
pub async fn base_branch(
    repository: &Path,
    remote: &str,
    commit: &ObjectId,
) -> Result<Option<String>, WorkspaceError> {
    let git = Git::within(repository);
    let prefix = format!("refs/remotes/{remote}/");
    let head = format!("{prefix}HEAD");
    let default = git.line(["symbolic-ref", "--quiet", &head]).await.unwrap_or_default();
    let format = "--format=%(objectname) %(refname)";
    let contains = format!("--contains={commit}");
    let listed = git.line(["for-each-ref", format, &contains, &prefix]).await?;
    let branches = listed.lines().filter_map(|line| line.split_once(' '));
    let branches: Vec<_> = branches.filter(|(_, name)| *name != head).collect();
    if branches.iter().any(|(_, name)| *name == default) {
        return Ok(None);
    }
    let mut at: Vec<_> = branches.iter().filter(|(tip, _)| *tip == commit.as_str()).collect();
    if at.is_empty() {
        at = branches.iter().collect();
    }
    match at.as_slice() {
        [(_, name)] => Ok(name.strip_prefix(&prefix).map(str::to_owned)),
        [..] => Ok(None),
    }
}

/// Asks the remote at this destination what a branch is there, for a node.
///
/// # Errors
/// Git's: the remote does not answer, or does not let us in.
pub async fn remote_branch(
    node: NodeId,
    repository: &Path,
    destination: &str,
    branch: &str,
) -> Result<RemoteBranch, GitError> {
    let git = Git::within(repository).with_remotes(node, LOOK_LIMIT);
    let reference = format!("refs/heads/{branch}");
    let answer = git.line(["ls-remote", "--symref", "--", destination, "HEAD", &reference]).await?;
    let mut found = RemoteBranch { commit: None, default: None };
    for (value, name) in answer.lines().filter_map(|line| line.split_once('\t')) {
        if let Some(default) = value.strip_prefix("ref: refs/heads/").filter(|_| name == "HEAD") {
            found.default = Some(default.to_owned());
        } else if name == reference {
            let commit = value.parse();
            found.commit = Some(commit.map_err(|_| GitError::Answer {
                command: "ls-remote".to_owned(),
                answer: value.to_owned(),
            })?);
        }
    }
    Ok(found)
}

/// Makes a branch on the remote that is not there yet, for a node.
///
/// # Errors
/// Git's; also where a branch of that name is there, whatever it is at. Whether it arrived is then not known.
pub async fn push(node: NodeId, repository: &Path, pushing: Pushing<'_>) -> Result<(), GitError> {
    let git = Git::within(repository).with_remotes(node, PUSH_LIMIT);
    let Pushing { destination, branch, commit } = pushing;
    // The lease of nothing: what is there, and be it an ancestor, is not moved.
    let absent = format!("--force-with-lease=refs/heads/{branch}:");
    let what = format!("{commit}:refs/heads/{branch}");
    let options = ["push", "--quiet", "--no-follow-tags", "--recurse-submodules=no", &absent];
    git.run(options.into_iter().chain(["--", destination, &what])).await?;
    Ok(())
}
