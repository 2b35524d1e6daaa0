//! A user's side: takes its claim, and sees to it that a keeper runs.

use std::env;
use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use super::error::{ClusterError, START_FAILED, at};
use super::folder::Folder;
use super::lock::{self, Mode};
use super::server::Postmaster;
use super::{ClusterOptions, Opened, POLL, identity, keeper, programs};

/// A server that is ready.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) sockets: PathBuf,
    /// The keeper, where we started it: it has to be waited for when it ends.
    pub(super) keeper: Option<Child>,
}

/// Takes a claim to the cluster and waits until its server is ready.
pub(super) fn open(options: &ClusterOptions, deadline: Instant) -> Result<Opened, ClusterError> {
    let folder = match Folder::newest(&options.data_dir)? {
        // One that runs is joined also where its programs would not be found any more.
        Some(folder) if lock::is_held(&folder.keeper_lock())? => folder,
        existing => {
            let found =
                programs::find(options.bin_dir.as_deref(), &options.data_dir, existing.as_ref())?;
            Folder::make(&options.data_dir, found.major)?
        }
    };
    let user = lock::take(&folder.users_lock(), Mode::Shared, deadline)?
        .ok_or_else(|| timeout(&folder))?;
    let started = ensure(&folder, options, deadline)?;
    Ok(Opened { options: options.clone(), folder, user, started })
}

/// Takes a claim to the cluster where it runs.
pub(super) fn attach(
    options: &ClusterOptions,
    deadline: Instant,
) -> Result<Option<Opened>, ClusterError> {
    let Some(folder) = Folder::newest(&options.data_dir)? else {
        return Ok(None);
    };
    if !lock::is_held(&folder.keeper_lock())? {
        return Ok(None);
    }
    // Not granted at once: it is just stopping.
    let Some(user) = lock::take(&folder.users_lock(), Mode::Shared, Instant::now())? else {
        return Ok(None);
    };
    if !lock::is_held(&folder.keeper_lock())? {
        return Ok(None);
    }
    let started = ensure(&folder, options, deadline)?;
    Ok(Some(Opened { options: options.clone(), folder, user, started }))
}

/// Waits until the server is ready; starts a keeper where there is none. The caller holds a claim,
/// so no keeper that is seen here is about to stop.
pub(super) fn ensure(
    folder: &Folder,
    options: &ClusterOptions,
    deadline: Instant,
) -> Result<Started, ClusterError> {
    loop {
        let mut keeper = start_keeper(folder, options, deadline)?;
        loop {
            if let Some(found) = Postmaster::ready(&folder.data()) {
                return Ok(Started { sockets: found.sockets, keeper });
            }
            if Instant::now() > deadline {
                return Err(timeout(folder));
            }
            let Some(child) = &mut keeper else {
                if lock::is_held(&folder.keeper_lock())? {
                    thread::sleep(POLL);
                    continue;
                }
                // That of somebody else ended: it is our turn.
                break;
            };
            if child.try_wait().map_err(at(&options.program))?.is_some() {
                let words = last_lines(&folder.keeper_log(), 0, 1);
                let reason = words.strip_prefix(START_FAILED).unwrap_or(&words).to_owned();
                return Err(ClusterError::Start { reason });
            }
            thread::sleep(POLL);
        }
    }
}

/// Starts a keeper unless there is one, and returns when it holds its lock, or ended.
fn start_keeper(
    folder: &Folder,
    options: &ClusterOptions,
    deadline: Instant,
) -> Result<Option<Child>, ClusterError> {
    if lock::is_held(&folder.keeper_lock())? {
        return Ok(None);
    }
    let _start = lock::take(&folder.start_lock(), Mode::Exclusive, deadline)?
        .ok_or_else(|| timeout(folder))?;
    if lock::is_held(&folder.keeper_lock())? {
        return Ok(None);
    }
    let found = programs::find(options.bin_dir.as_deref(), &options.data_dir, Some(folder))?;
    let log = File::create(folder.keeper_log()).map_err(at(&folder.keeper_log()))?;
    let mut command = Command::new(&options.program);
    identity::clear_environment(&mut command);
    let mut keeper = command
        .args([keeper::SUBCOMMAND, keeper::SERVE])
        .arg(folder.path())
        .arg(found.bin)
        .arg(env::var_os("XDG_RUNTIME_DIR").unwrap_or_default())
        .arg(options.fsync.to_string())
        .args(&options.as_user)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(at(&folder.keeper_log()))?)
        .stderr(log)
        .spawn()
        .map_err(at(&options.program))?;
    while !lock::is_held(&folder.keeper_lock())?
        && keeper.try_wait().map_err(at(&options.program))?.is_none()
        && Instant::now() < deadline
    {
        thread::sleep(POLL);
    }
    Ok(Some(keeper))
}

fn timeout(folder: &Folder) -> ClusterError {
    ClusterError::Timeout { log: folder.server_log() }
}

/// The last lines, in one, of what a log has from a byte on.
pub(super) fn last_lines(log: &Path, from: u64, count: usize) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let bytes = usize::try_from(from).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // What follows from a full disk is long and says less.
    if let Some(line) = lines.iter().rfind(|line| line.contains("No space left on device")) {
        let (_, words) = line.split_once("FATAL:").unwrap_or(("", line));
        return words.trim().to_owned();
    }
    match lines.len() {
        0 => format!("no reason was given; see {}", log.display()),
        found => lines[found.saturating_sub(count)..].join("; "),
    }
}
