//! Everything that can go wrong with the embedded cluster.

use std::io;
use std::path::{Path, PathBuf};

/// Why the embedded cluster could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No PostgreSQL server programs were found.
    #[error(
        "the server programs of PostgreSQL {} or later are missing; `journeyman setup` installs them",
        super::programs::OLDEST
    )]
    ProgramsMissing,
    /// The cluster was made by a version whose programs are gone.
    #[error(
        "the database in {} was made by PostgreSQL {major}, whose server programs were not found; install that version \
         again, or set database.bin_dir to its folder",
        folder.display()
    )]
    MajorMissing {
        /// The folder of the cluster.
        folder: PathBuf,
        /// The version that made it.
        major: u32,
    },
    /// The folder that was set holds no programs that can be run.
    #[error("{} holds no server programs of PostgreSQL {} or later", bin.display(), super::programs::OLDEST)]
    ProgramsUnusable {
        /// The folder that was looked at.
        bin: PathBuf,
        /// Why, where the system said so.
        source: Option<io::Error>,
    },
    /// A file or folder could not be read, made or locked.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder that must be ours belongs to somebody else.
    #[error("{} belongs to another user (id {owner})", path.display())]
    ForeignFolder {
        /// The folder.
        path: PathBuf,
        /// User id of its owner.
        owner: u32,
    },
    /// The path of the socket is longer than the system permits.
    #[error("the socket path {} has more than {} bytes", path.display(), super::sockets::PATH_BYTES_MAX)]
    SocketPathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// The server refuses to run as root, and there is no other way to run it here.
    #[error(
        "PostgreSQL does not run as root, user namespaces are refused here, and {reason}; run journeyman as an ordinary \
         user, or set DATABASE_URL"
    )]
    Root {
        /// What is wrong with the unprivileged account.
        reason: String,
    },
    /// The server did not start.
    #[error("{START_FAILED}{reason}")]
    Start {
        /// The last lines that it, or its keeper, wrote.
        reason: String,
    },
    /// The server did not get ready, or an older one did not go away, in time.
    #[error("the database server was not ready after {} seconds; its log is {}", super::START_LIMIT.as_secs(), log.display())]
    Timeout {
        /// The log of the server.
        log: PathBuf,
    },
    /// The server runs and refuses us.
    #[error("cannot connect to the embedded database")]
    Connect {
        /// What it said.
        source: sqlx::Error,
    },
    /// The keeper was called with other arguments than this program gives it.
    #[error("the keeper of the database server was called wrongly")]
    Arguments,
    /// The work was dropped because the program ends.
    #[error("the start of the database server was interrupted")]
    Interrupted {
        /// The task's end.
        source: tokio::task::JoinError,
    },
}

/// The keeper's message of the same kind is cut out of ours.
pub(super) const START_FAILED: &str = "the database server did not start: ";

/// Names the file in an error of the system.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> ClusterError + '_ {
    move |source| ClusterError::File { path: path.to_owned(), source }
}
