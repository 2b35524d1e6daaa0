//! What can go wrong with a workspace.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::git::{GitError, ObjectId};

/// What can go wrong with a workspace, a delivery or an edit.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// There is no such folder.
    #[error("there is no folder {}", .0.display())]
    NoSuchFolder(PathBuf),
    /// The folder is in no git repository.
    #[error("{} is in no git repository", .0.display())]
    NotARepository(PathBuf),
    /// The repository has no working tree.
    #[error("{} is a bare repository; name a clone with a working tree", .0.display())]
    Bare(PathBuf),
    /// The repository has no commit.
    #[error("{} has no commit yet; make a first one", .0.display())]
    Empty(PathBuf),
    /// A revision that names no commit.
    #[error("'{revision}' names no commit in {}", repository.display())]
    NoSuchRevision {
        /// As it was given.
        revision: String,
        /// Where it was looked for.
        repository: PathBuf,
    },
    /// A submodule whose commit is not on this machine.
    #[error(
        "the submodule {} is not checked out; run `git submodule update --init --recursive` first",
        .0.display()
    )]
    SubmoduleMissing(PathBuf),
    /// No workspace was completed in the folder.
    #[error("{} holds no complete workspace", .0.display())]
    Incomplete(PathBuf),
    /// The files are not what they must be after a restore.
    #[error("the workspace has the tree {found} after restoring {wanted}")]
    NotRestored {
        /// The tree that was asked for.
        wanted: ObjectId,
        /// The tree that came about.
        found: ObjectId,
    },
    /// The working tree has changes, so nothing can be applied to it.
    #[error("the working tree has uncommitted changes ({}); commit or stash them first", listed(.0))]
    NotClean(Vec<PathBuf>),
    /// Files of the working tree that git does not know are where a commit adds its own.
    #[error("files that are not committed are where the commit adds its own ({}); move them away first", listed(.0))]
    InTheWay(Vec<PathBuf>),
    /// The task's work was delivered before, and not this.
    #[error(
        "the branch {0} has other work of this task, which this database does not know of; take that and \
         cancel the task, or remove the branch and try again"
    )]
    DeliveredBefore(String),
    /// Something is where a folder shall be made.
    #[error("{} is there already, and is no empty folder; name a new one", .0.display())]
    NotEmpty(PathBuf),
    /// A commit does not apply to the current branch.
    #[error("the commit does not apply to the current branch; it conflicts in {}", listed(.0))]
    Conflict(Vec<PathBuf>),
    /// A path that does not lie in the workspace, or that would leave it.
    #[error("'{0}' is no path within the workspace")]
    OutsideWorkspace(String),
    /// A file is not such that the tool can read or change it as it was asked to.
    #[error("{path}: {reason}")]
    Edit {
        /// As it was given.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// Processes that could not be ended.
    #[error("processes are still alive: {0:?}")]
    StillAlive(Vec<i32>),
    /// A git command failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The system refused something.
    #[error("cannot {doing}")]
    Io {
        /// What was tried, as "write the file x".
        doing: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl WorkspaceError {
    /// Whether it is the machine that refuses, now: no room, no memory, no files, a disk that fails, git ended by
    /// somebody's signal. What was asked for is right, and may be done later.
    pub fn is_of_the_machine(&self) -> bool {
        if let Self::Git(GitError::Failed { status, message, .. }) = self {
            return status.code().is_none() || message.lines().any(is_the_machines);
        }
        let (Self::Io { source, .. } | Self::Git(GitError::NotStarted(source))) = self else {
            return false;
        };
        refuses_for_now(source)
    }

    /// Whether git may not write where it was told to, which does not pass by itself.
    pub fn is_of_the_folder(&self) -> bool {
        let Self::Git(GitError::Failed { message, .. }) = self else { return false };
        message.lines().any(|line| line.contains(NOT_WRITTEN) && is_lasting(line))
    }

    /// Whether the system refused the very path that was asked for: too long, no folder, not
    /// permitted. Another path may do; a full disk, for one, is nobody's path.
    pub fn is_of_the_path(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(
            source.kind(),
            ErrorKind::NotFound
                | ErrorKind::PermissionDenied
                | ErrorKind::NotADirectory
                | ErrorKind::IsADirectory
                | ErrorKind::InvalidFilename
                | ErrorKind::InvalidInput
        )
    }
}

/// What git says where it is the machine that refuses.
const MACHINES: [&str; 6] = [
    "No space left on device",
    "Disk quota exceeded",
    "Input/output error",
    "Too many open files",
    "Cannot allocate memory",
    "Resource temporarily unavailable",
];

/// What git says where it does not say why; and the causes, where it does, that do not pass by themselves.
const NOT_WRITTEN: &str = "nable to write";
const LASTING: [&str; 5] = [
    "Permission denied",
    "Operation not permitted",
    "Not a directory",
    "Is a directory",
    "File name too long",
];

fn is_the_machines(line: &str) -> bool {
    MACHINES.iter().any(|words| line.contains(words))
        || (line.contains(NOT_WRITTEN) && !is_lasting(line))
}

fn is_lasting(line: &str) -> bool {
    LASTING.iter().any(|words| line.contains(words))
}

fn refuses_for_now(error: &io::Error) -> bool {
    let of_the_machine = [Errno::IO, Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    matches!(
        error.kind(),
        ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::OutOfMemory
            | ErrorKind::WouldBlock
    ) || error.raw_os_error().is_some_and(|number| of_the_machine.contains(&number))
}

/// At most five paths, for a sentence.
fn listed(paths: &[PathBuf]) -> String {
    let mut names: Vec<_> = paths.iter().take(5).map(|path| path.display().to_string()).collect();
    if paths.len() > names.len() {
        names.push(format!("{} more", paths.len() - names.len()));
    }
    names.join(", ")
}

/// Says what was being done when the system refused.
pub(crate) trait Doing<T> {
    /// `what` completes the sentence "cannot …", followed by the path.
    fn doing(self, what: &str, path: &Path) -> Result<T, WorkspaceError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &str, path: &Path) -> Result<T, WorkspaceError> {
        self.map_err(|source| WorkspaceError::Io {
            doing: format!("{what} {}", path.display()),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_file_that_may_never_be_written_is_no_refusal_for_now() {
        let failed = |message: &str| {
            let (command, status) = ("add".to_owned(), ExitStatus::from_raw(128 << 8));
            WorkspaceError::Git(GitError::Failed { command, status, message: message.to_owned() })
        };
        for of_the_machine in [
            "fatal: unable to write new index file",
            "error: unable to write file a: No space left on device",
            "fatal: write error: Input/output error",
            "warning: could not open directory 'a/': Permission denied\nfatal: unable to write new index file",
        ] {
            let error = failed(of_the_machine);
            assert!(error.is_of_the_machine() && !error.is_of_the_folder(), "{of_the_machine}");
        }
        for lasting in [
            "error: unable to write file a: Permission denied",
            "fatal: Unable to write new index file: Not a directory",
        ] {
            let error = failed(lasting);
            assert!(!error.is_of_the_machine() && error.is_of_the_folder(), "{lasting}");
        }
        let error = failed("fatal: bad object HEAD");
        assert!(!error.is_of_the_machine() && !error.is_of_the_folder());
    }
}
