//! What the user's repository is; reads only.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::WorkspaceError;
use crate::git::{Git, ObjectId};

/// What a repository with a working tree is at the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepositoryFacts {
    /// The top folder of its working tree, absolute.
    pub root: PathBuf,
    /// The commit that is checked out.
    pub head_commit: ObjectId,
    /// The branch that is checked out; `None` when the head is detached.
    pub branch: Option<String>,
    /// Changed, staged and untracked files, relative to the root; ignored ones are left out.
    pub dirty: Vec<PathBuf>,
    /// Paths of submodules in the commit that is checked out.
    pub submodules: Vec<PathBuf>,
    /// Whether the history was cut when it was cloned.
    pub shallow: bool,
}

impl RepositoryFacts {
    /// Whether no branch is checked out.
    pub fn detached(&self) -> bool {
        self.branch.is_none()
    }
}

/// Looks at the repository in which `path` lies.
///
/// # Errors
/// [`WorkspaceError::NoSuchFolder`], `NotARepository`, `Bare`, `Empty`, or a failure of git.
pub async fn inspect(path: &Path) -> Result<RepositoryFacts, WorkspaceError> {
    if !path.is_dir() {
        return Err(WorkspaceError::NoSuchFolder(path.into()));
    }
    let Some(Head { root, commit, branch, shallow }) = head(path).await else {
        return Err(obstacle(path).await?);
    };
    let git = Git::within(&root);
    let (submodules, dirty) = tokio::try_join!(gitlinks(&git, &commit), dirty(&git, "all"))?;
    Ok(RepositoryFacts {
        dirty,
        root,
        head_commit: commit,
        branch,
        submodules: submodules.into_iter().map(|link| link.path).collect(),
        shallow,
    })
}

/// How many files a run will not see, since they are not committed as they are.
///
/// # Errors
/// Git's.
pub async fn uncommitted(repository: &Path) -> Result<usize, WorkspaceError> {
    Ok(dirty(&Git::within(repository), "all").await?.len())
}

/// What is checked out.
struct Head {
    root: PathBuf,
    commit: ObjectId,
    branch: Option<String>,
    shallow: bool,
}

/// All of it by one question; `None` where there is an obstacle.
async fn head(path: &Path) -> Option<Head> {
    let question = [
        "rev-parse",
        "--is-shallow-repository",
        "--show-toplevel",
        "HEAD^{commit}",
        "--symbolic-full-name",
        "HEAD",
    ];
    let answer = Git::within(path).run(question).await.ok()?;
    // The root stands between the lines of the others, and may itself have several.
    let (shallow, answer) = split_at_line(&answer)?;
    let mut from_end = answer.trim_ascii_end().rsplitn(3, |byte| *byte == b'\n');
    let (name, commit, root) = (from_end.next()?, from_end.next()?, from_end.next()?);
    let branch = std::str::from_utf8(name).ok()?.strip_prefix("refs/heads/");
    Some(Head {
        root: path_of(root),
        commit: std::str::from_utf8(commit).ok()?.parse().ok()?,
        branch: branch.map(str::to_owned),
        shallow: shallow == b"true",
    })
}

fn split_at_line(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = answer.iter().position(|byte| *byte == b'\n')?;
    Some((&answer[..end], &answer[end + 1..]))
}

/// Why nothing is checked out here.
async fn obstacle(path: &Path) -> Result<WorkspaceError, WorkspaceError> {
    let git = Git::within(path);
    let Ok(bare) = git.line(["rev-parse", "--is-bare-repository"]).await else {
        // Without git itself the user shall read about that.
        git.run(["version"]).await?;
        return Ok(WorkspaceError::NotARepository(path.into()));
    };
    if bare == "true" {
        return Ok(WorkspaceError::Bare(path.into()));
    }
    let Ok(root) = git.run(["rev-parse", "--show-toplevel"]).await else {
        // Within the `.git` folder itself.
        return Ok(WorkspaceError::NotARepository(path.into()));
    };
    Ok(WorkspaceError::Empty(path_of(root.strip_suffix(b"\n").unwrap_or(&root))))
}

/// The commit that `revision` names in the repository.
///
/// # Errors
/// [`WorkspaceError::NoSuchRevision`].
pub async fn resolve(repository: &Path, revision: &str) -> Result<ObjectId, WorkspaceError> {
    let name = format!("{revision}^{{commit}}");
    let arguments = ["rev-parse", "--verify", "--quiet", "--end-of-options", name.as_str()];
    Git::within(repository).object(arguments).await.map_err(|_| WorkspaceError::NoSuchRevision {
        revision: revision.to_owned(),
        repository: repository.into(),
    })
}

/// Changed and staged files, with the untracked ones (`all`) or without them (`no`).
pub(crate) async fn dirty(git: &Git, untracked: &str) -> Result<Vec<PathBuf>, WorkspaceError> {
    let untracked = format!("--untracked-files={untracked}");
    let arguments =
        ["status", "--porcelain=v1", "-z", "--no-renames", &untracked, "--ignore-submodules=dirty"];
    let answer = git.run(arguments).await?;
    // Two letters and a space stand before each path.
    Ok(entries(&answer).filter_map(|entry| entry.get(3..)).map(path_of).collect())
}

/// A submodule as a commit records it.
#[derive(Clone, Debug)]
pub(crate) struct Gitlink {
    pub(crate) path: PathBuf,
    pub(crate) commit: ObjectId,
}

/// The submodules of a commit.
pub(crate) async fn gitlinks(git: &Git, commit: &ObjectId) -> Result<Vec<Gitlink>, WorkspaceError> {
    let answer = git.run(["ls-tree", "-r", "-z", "--full-tree", commit.as_str()]).await?;
    let links = entries(&answer).filter_map(|entry| {
        let tab = entry.iter().position(|byte| *byte == b'\t')?;
        let commit = std::str::from_utf8(entry[..tab].strip_prefix(b"160000 commit ")?).ok()?;
        Some(Gitlink { path: path_of(&entry[tab + 1..]), commit: commit.parse().ok()? })
    });
    Ok(links.collect())
}

/// The entries of an answer that ends each of them with a zero byte.
pub(crate) fn entries(answer: &[u8]) -> impl Iterator<Item = &[u8]> {
    answer.split(|byte| *byte == 0).filter(|entry| !entry.is_empty())
}

/// A path from git's bytes.
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}
