//! The private PostgreSQL cluster in the data folder, for users who configured no database.
//!
//! It owns who uses the cluster. Three locks in `<data>/postgres-<major>/` say it all, and the
//! kernel drops each with the process that held it, however that process ended:
//! - `users.lock`, shared: held by every process that uses the cluster. The keeper waits for it
//!   exclusively; when it is granted, nobody uses the cluster any more.
//! - `keeper.lock`, exclusive: held by the keeper, the one process that starts, watches and stops
//!   the server.
//! - `start.lock`, exclusive: held for the moment in which a user looks for a keeper and starts
//!   one.
//!
//! A user takes its shared lock first. It is granted unless a keeper is about to stop, and then
//! only when that keeper is gone: so a user never meets a server that is going away.
//!
//! It must never listen on TCP, start a server that has no keeper, or leave one running that nobody
//! uses.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

mod error;
mod folder;
mod guard;
mod identity;
pub mod install;
pub mod keeper;
mod lock;
mod programs;
mod server;
mod sockets;
mod start;

pub use error::ClusterError;
use folder::Folder;
use server::Postmaster;

/// The database, and the superuser, of the cluster.
const NAME: &str = "journeyman";
/// How long a start may take on a loaded machine before it counts as failed.
const START_LIMIT: Duration = Duration::from_mins(1);
/// Pause between two looks at something that is about to happen.
const POLL: Duration = Duration::from_millis(5);

/// What is needed to open the cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The data folder; the cluster lives in `postgres-<major>` below it.
    pub data_dir: PathBuf,
    /// The folder of PostgreSQL's server programs; found by itself where it is not set.
    pub bin_dir: Option<PathBuf>,
    /// The program that has the hidden subcommand `cluster-keeper`: our own.
    pub program: PathBuf,
    /// As root, words before a command that let it run as an ordinary user in a user namespace.
    /// They must replace themselves by the command (`exec`). Without effect for ordinary users.
    pub as_user: Vec<OsString>,
    /// Whether commits survive a power cut. `false` is for tests.
    pub fsync: bool,
}

/// A running cluster, and this process's claim to it: the server runs at least until this is
/// dropped.
///
/// When the server or its keeper ends before, they are started again under the same address;
/// connections have to be made anew.
#[derive(Debug)]
pub struct Cluster {
    folder: Folder,
    sockets: PathBuf,
    _guard: mpsc::Sender<()>,
    _user: File,
}

impl Cluster {
    /// Attaches to the cluster of a data folder; starts it where it does not run, and makes it
    /// where there is none. Returns when the database answers.
    pub async fn open(options: ClusterOptions) -> Result<Self, ClusterError> {
        let deadline = Instant::now() + START_LIMIT;
        blocking(move || start::open(&options, deadline)).await?.connected(deadline).await
    }

    /// Attaches to the cluster of a data folder where it runs; starts nothing.
    pub async fn attach_if_running(options: ClusterOptions) -> Result<Option<Self>, ClusterError> {
        let deadline = Instant::now() + START_LIMIT;
        match blocking(move || start::attach(&options, deadline)).await? {
            Some(opened) => opened.connected(deadline).await.map(Some),
            None => Ok(None),
        }
    }

    /// The address of the database, for sqlx and for `psql`.
    pub fn url(&self) -> String {
        url(&self.sockets)
    }

    /// The address of the database, as sqlx takes it.
    pub fn connect_options(&self) -> PgConnectOptions {
        connect_options(&self.sockets, NAME)
    }

    /// The folder of the server programs and files of this cluster's major version:
    /// `<data>/postgres-<major>`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// What is known of the cluster of a data folder, without touching it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterStatus {
    /// There is none yet.
    Absent,
    /// It is there and does not run.
    Stopped {
        /// PostgreSQL's major version.
        major: u32,
        /// `<data>/postgres-<major>`.
        folder: PathBuf,
    },
    /// A keeper runs; the server may still be starting.
    Running {
        /// PostgreSQL's major version.
        major: u32,
        /// `<data>/postgres-<major>`.
        folder: PathBuf,
        /// Process id of the keeper.
        keeper: Option<u32>,
        /// Process id of the server, and the address of the database, once it accepts connections.
        server: Option<(u32, String)>,
    },
}

/// The folder of PostgreSQL's programs that a data folder's cluster uses, where they are found.
pub fn bin_dir(setting: Option<&Path>, data_dir: &Path) -> Option<PathBuf> {
    let existing = Folder::newest(data_dir).ok().flatten();
    programs::find(setting, data_dir, existing.as_ref()).ok().map(|found| found.bin)
}

/// Says whether a data folder has a cluster and whether that runs.
pub fn status(data_dir: &Path) -> Result<ClusterStatus, ClusterError> {
    let Some(folder) = Folder::newest(data_dir)? else {
        return Ok(ClusterStatus::Absent);
    };
    let (major, path) = (folder.major(), folder.path().to_owned());
    if !lock::is_held(&folder.keeper_lock())? {
        return Ok(ClusterStatus::Stopped { major, folder: path });
    }
    Ok(ClusterStatus::Running {
        major,
        folder: path,
        keeper: std::fs::read_to_string(folder.keeper_lock())
            .ok()
            .and_then(|text| text.trim().parse().ok()),
        server: Postmaster::ready(&folder.data()).map(|found| (found.pid, url(&found.sockets))),
    })
}

/// A claim whose server said that it is ready; nothing was asked of it yet.
#[derive(Debug)]
struct Opened {
    options: ClusterOptions,
    folder: Folder,
    user: File,
    started: start::Started,
}

impl Opened {
    /// Waits for the database to answer, and makes it in a new cluster.
    async fn connected(self, deadline: Instant) -> Result<Cluster, ClusterError> {
        let Self { options, folder, user, mut started } = self;
        while let Err(error) = ensure_database(&started.sockets).await {
            if !is_passing(&error) || Instant::now() > deadline {
                return Err(ClusterError::Connect { source: error });
            }
            tokio::time::sleep(POLL).await;
            let (keeper, next_options, next_folder) =
                (started.keeper.take(), options.clone(), folder.clone());
            let next =
                blocking(move || start::ensure(&next_folder, &next_options, deadline)).await?;
            started = start::Started { keeper: next.keeper.or(keeper), ..next };
        }
        let sockets = started.sockets.clone();
        Ok(Cluster {
            _guard: guard::watch(folder.clone(), options, started.keeper),
            folder,
            sockets,
            _user: user,
        })
    }
}

/// Whether an error only says that the server is not ready yet, or was just replaced.
fn is_passing(error: &sqlx::Error) -> bool {
    // Class 57P: shut down by the operator, crashed, cannot connect now.
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(error, sqlx::Error::Io(_)) || code.is_some_and(|code| code.starts_with("57P"))
}

/// Connects once; makes the database where it is missing.
async fn ensure_database(sockets: &Path) -> Result<(), sqlx::Error> {
    const NO_SUCH_DATABASE: &str = "3D000";
    let code = |error: &sqlx::Error| {
        error.as_database_error().and_then(|error| error.code().map(String::from))
    };
    match connect_options(sockets, NAME).connect().await {
        Ok(connection) => connection.close().await,
        Err(error) if code(&error).as_deref() == Some(NO_SUCH_DATABASE) => {
            let mut connection: PgConnection =
                connect_options(sockets, "postgres").connect().await?;
            match sqlx::raw_sql("CREATE DATABASE journeyman").execute(&mut connection).await {
                // Two commands may do it at once: a duplicate name, found early or by the index.
                Err(error) if !matches!(code(&error).as_deref(), Some("42P04" | "23505")) => {
                    Err(error)
                }
                _ => connection.close().await,
            }
        }
        Err(error) => Err(error),
    }
}

fn connect_options(sockets: &Path, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(sockets)
        .port(sockets::PORT)
        .username(NAME)
        .database(database)
}

fn url(sockets: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut url = format!("postgres://{NAME}@localhost:{}/{NAME}?host=", sockets::PORT);
    for &byte in sockets.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/') {
            url.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClusterError> + Send + 'static,
) -> Result<T, ClusterError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| ClusterError::Interrupted { source })?
}
