//! The keeper: the process that is the server's parent, and outlives every single user of the
//! cluster.
//!
//! It owns the life of the server: makes the cluster's files, starts the server, starts it again
//! when it was killed, and stops it when the last user is gone. When the keeper itself is killed,
//! the kernel interrupts the server.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, setsid};

use super::error::{ClusterError, at};
use super::folder::Folder;
use super::identity::{Identity, become_program};
use super::lock::{self, Mode};
use super::programs::newest_first;
use super::server::{Postmaster, reclaim, signal};
use super::{NAME, POLL, sockets, start};

/// The hidden subcommand whose arguments [`run`] takes.
pub const SUBCOMMAND: &str = "cluster-keeper";
pub(super) const SERVE: &str = "serve";
pub(super) const EXEC: &str = "exec";

/// How long the server may take to write everything down at its end before it is made to leave.
const STOP_LIMIT: Duration = Duration::from_mins(1);
/// How long a server that nobody waits for any more may take to get ready.
const RECOVERY_LIMIT: Duration = Duration::from_mins(10);
/// How often a running server is looked at.
const WATCH: Duration = Duration::from_millis(250);
const SERVER_LOG_BYTES_MAX: u64 = 4 << 20;

/// Does what the hidden subcommand was called for; the arguments are those behind its name.
///
/// Call it from the main thread, before any runtime is started: the server is interrupted when the
/// calling thread ends. It writes only to the standard error, which is a log; the caller does the
/// same with the error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), ClusterError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let words: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    match words.as_slice() {
        [role, program, ..] if *role == EXEC => Err(become_program(program, &arguments[2..])),
        [role, folder, bin, runtime, fsync, ..] if *role == SERVE => {
            // Not the terminal's: its signals are for the users. It fails only for the leader of a
            // group.
            let _ = setsid();
            let folder = Folder::at(Path::new(folder))?;
            let deadline = Instant::now() + Duration::from_secs(2);
            let mut held = lock::take(&folder.keeper_lock(), Mode::Exclusive, deadline)?
                .ok_or(ClusterError::Arguments)?;
            held.set_len(0)
                .and_then(|()| writeln!(held, "{}", std::process::id()))
                .map_err(at(&folder.keeper_lock()))?;
            let users = wait_for_users(&folder)?;
            let identity = Identity::choose(&arguments[5..], folder.path(), Path::new(bin))?;
            let runtime = Some(Path::new(runtime)).filter(|runtime| runtime.is_absolute());
            let keeper = Keeper {
                bin: PathBuf::from(bin),
                runtime: runtime.map(Path::to_owned),
                fsync: *fsync != "false",
                identity,
                folder,
                users,
            };
            let unused = keeper.serve()?;
            // In this order: a user that gets its claim now must not take us for alive.
            drop(held);
            drop(unused);
            Ok(())
        }
        _ => Err(ClusterError::Arguments),
    }
}

/// Waits in a thread for the last user to leave; sends the lock that keeps new ones out.
fn wait_for_users(folder: &Folder) -> Result<Receiver<File>, ClusterError> {
    let path = folder.users_lock();
    let users = lock::open(&path)?;
    let (sender, receiver) = mpsc::channel();
    let wait = move || {
        loop {
            match users.lock() {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    note(&format!("cannot wait for the users: {error}"));
                    thread::sleep(WATCH);
                }
            }
        }
        let _ = sender.send(users);
    };
    thread::Builder::new().spawn(wait).map_err(at(&path))?;
    Ok(receiver)
}

struct Keeper {
    folder: Folder,
    bin: PathBuf,
    runtime: Option<PathBuf>,
    identity: Identity,
    fsync: bool,
    users: Receiver<File>,
}

/// Why a child is no longer watched.
enum End {
    /// It ended by itself.
    Child(ExitStatus),
    /// Nobody uses the cluster; the lock that keeps it so. The child still runs.
    Unused(File),
}

impl Keeper {
    /// Runs the server until nobody uses it; returns the lock that keeps users out.
    fn serve(&self) -> Result<File, ClusterError> {
        if self.identity.is_other() {
            let open = fs::Permissions::from_mode(0o711);
            fs::set_permissions(self.folder.path(), open).map_err(at(self.folder.path()))?;
        }
        if !self.folder.has_data()
            && let Some(unused) = self.make_data()?
        {
            return Ok(unused);
        }
        loop {
            reclaim(&self.folder.data())?;
            let log = self.server_log()?;
            let log_start = log.metadata().map_or(0, |found| found.len());
            let (mut server, sockets) = self.start_server(log)?;
            let mut was_ready = false;
            let end = self.watch(&mut server, || {
                was_ready = was_ready || Postmaster::ready(&self.folder.data()).is_some();
                if was_ready { WATCH } else { POLL }
            })?;
            match end {
                End::Unused(unused) => {
                    // A long recovery would otherwise begin anew with each user that loses
                    // patience.
                    let deadline = Instant::now() + RECOVERY_LIMIT;
                    while !was_ready
                        && server.try_wait().map_err(at(&self.bin))?.is_none()
                        && Instant::now() < deadline
                    {
                        thread::sleep(POLL);
                        was_ready = Postmaster::ready(&self.folder.data()).is_some();
                    }
                    stop(&mut server, &self.folder)?;
                    // Empty now, and made again at the next start.
                    let _ = fs::remove_dir(sockets);
                    return Ok(unused);
                }
                End::Child(status) if was_ready => {
                    note(&format!("the server ended ({status}); starting it again"));
                }
                End::Child(_) => {
                    return Err(ClusterError::Start {
                        reason: start::last_lines(&self.folder.server_log(), log_start, 4),
                    });
                }
            }
        }
    }

    /// Makes the files of a new cluster beside their place, and then moves them there: they are
    /// whole, or not there.
    fn make_data(&self) -> Result<Option<File>, ClusterError> {
        const NEW: &str = "new-";
        for left in newest_first(self.folder.path(), NEW, "") {
            // A killed keeper's, in which a killed initdb may still be at work: then it goes at the
            // next time.
            let _ = fs::remove_dir_all(&left);
        }
        let new = self.folder.path().join(format!("{NEW}{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&new).map_err(at(&new))?;
        self.identity.own(&new)?;
        let mut command = self.identity.command(&self.bin.join("initdb"))?;
        command.args([
            "-U",
            NAME,
            "--auth=trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
            "-k",
            "-D",
        ]);
        command.arg(&new).args((!self.fsync).then_some("--no-sync"));
        let mut initdb = command.current_dir("/").spawn().map_err(at(&self.bin))?;
        match self.watch(&mut initdb, || POLL)? {
            End::Child(status) if status.success() => {
                let data = self.folder.data();
                fs::rename(&new, &data).map_err(at(&data))?;
                File::open(self.folder.path())
                    .and_then(|folder| folder.sync_all())
                    .map_err(at(self.folder.path()))?;
                Ok(None)
            }
            End::Child(_) => Err(ClusterError::Start {
                reason: start::last_lines(&self.folder.keeper_log(), 0, 4),
            }),
            End::Unused(unused) => {
                stop(&mut initdb, &self.folder)?;
                fs::remove_dir_all(&new).map_err(at(&new))?;
                Ok(Some(unused))
            }
        }
    }

    fn start_server(&self, log: File) -> Result<(Child, PathBuf), ClusterError> {
        let data = self.folder.data();
        self.identity.own(&data)?;
        let sockets =
            sockets::prepare(self.runtime.as_deref(), self.folder.path(), &self.identity)?;
        sockets::remove_leftovers(&sockets)?;
        let mut command = self.identity.command(&self.bin.join("postgres"))?;
        command
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(&sockets)
            .args(["-p", &sockets::PORT.to_string()]);
        for setting in settings(self.fsync) {
            command.args(["-c", setting]);
        }
        let again = log.try_clone().map_err(at(&self.folder.server_log()))?;
        let server = command.current_dir("/").stdout(again).stderr(log).spawn();
        Ok((server.map_err(at(&self.bin))?, sockets))
    }

    fn server_log(&self) -> Result<File, ClusterError> {
        let path = self.folder.server_log();
        if fs::metadata(&path).is_ok_and(|found| found.len() > SERVER_LOG_BYTES_MAX) {
            fs::rename(&path, path.with_extension("log.old")).map_err(at(&path))?;
        }
        File::options().create(true).append(true).open(&path).map_err(at(&path))
    }

    /// Watches a child; `pause` says how long until the next look.
    fn watch(
        &self,
        child: &mut Child,
        mut pause: impl FnMut() -> Duration,
    ) -> Result<End, ClusterError> {
        loop {
            if let Some(status) = child.try_wait().map_err(at(&self.bin))? {
                return Ok(End::Child(status));
            }
            match self.users.recv_timeout(pause()) {
                Ok(unused) => return Ok(End::Unused(unused)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }
}

/// Settings of the server that its files do not hold.
fn settings(fsync: bool) -> impl Iterator<Item = &'static str> {
    const ALWAYS: [&str; 9] = [
        "listen_addresses=",
        "unix_socket_permissions=0700",
        "shared_buffers=32MB",
        "max_connections=100",
        "jit=off",
        "timezone=UTC",
        "log_timezone=UTC",
        // The log holds the life of the server. Errors of statements go to whoever sent them: they
        // may quote secrets.
        "log_min_messages=log",
        "log_checkpoints=off",
    ];
    const UNSAFE: [&str; 3] = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];
    ALWAYS.into_iter().chain(UNSAFE.into_iter().filter(move |_| !fsync))
}

/// Stops a child of ours: cleanly (a "fast shutdown" of the server), and by force when that takes
/// too long.
fn stop(child: &mut Child, folder: &Folder) -> Result<(), ClusterError> {
    signal(child.id(), Signal::INT);
    let deadline = Instant::now() + STOP_LIMIT;
    while child.try_wait().map_err(at(folder.path()))?.is_none() {
        if Instant::now() > deadline {
            note(
                "the server did not stop in time; it is made to leave and recovers at its next start",
            );
            signal(child.id(), Signal::QUIT);
            child.wait().map_err(at(folder.path()))?;
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// Writes to the keeper's log.
fn note(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}
