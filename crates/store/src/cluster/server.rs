//! What the server's files and processes say of it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::POLL;
use super::error::{ClusterError, at};

/// How long an older server may take to end before it is killed.
const END_LIMIT: Duration = Duration::from_secs(30);

/// What `postmaster.pid` says (its format is PostgreSQL's `src/include/utils/pidfile.h`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Postmaster {
    pub(super) pid: u32,
    /// The folder of its Unix socket.
    pub(super) sockets: PathBuf,
    is_ready: bool,
}

impl Postmaster {
    /// The server of a data folder, when it lives and accepts connections.
    pub(super) fn ready(data: &Path) -> Option<Self> {
        let found = Self::parse(&fs::read(data.join("postmaster.pid")).ok()?)?;
        (found.is_ready && lives_in(found.pid, data)).then_some(found)
    }

    fn parse(file: &[u8]) -> Option<Self> {
        // Process id, data folder, start time, port, socket folder, TCP address, shared memory,
        // status.
        let mut lines = file.split(|&byte| byte == b'\n');
        let pid = str::from_utf8(lines.next()?).ok()?.trim().parse().ok()?;
        let sockets = lines.nth(3).unwrap_or_default();
        let is_ready = lines.nth(2).is_some_and(|status| status.trim_ascii() == b"ready");
        Some(Self { pid, sockets: PathBuf::from(std::ffi::OsStr::from_bytes(sockets)), is_ready })
    }
}

/// Ends what an older keeper left running in a data folder, and removes the files by which a server
/// would believe that another one runs. Only the holder of the keeper's lock may call it.
///
/// The process id in such a file may belong to another program by now, after a power cut even most
/// likely: PostgreSQL itself then refuses to start.
pub(super) fn reclaim(data: &Path) -> Result<(), ClusterError> {
    let file = data.join("postmaster.pid");
    let Ok(content) = fs::read(&file) else {
        return Ok(());
    };
    let Some(found) = Postmaster::parse(&content) else {
        return fs::remove_file(&file).map_err(at(&file));
    };
    if lives_in(found.pid, data) {
        signal(found.pid, Signal::INT);
        wait_until(END_LIMIT, || !lives_in(found.pid, data));
    }
    // Also a killed server's children, of which each one would make the next start fail as long as
    // it lives. The log of the database makes a kill harmless.
    let is_gone = wait_until(END_LIMIT, || {
        let left = processes_in(data);
        for pid in &left {
            signal(*pid, Signal::KILL);
        }
        left.is_empty()
    });
    if is_gone {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(at(&file)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn wait_until(limit: Duration, mut is_done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if is_done() {
            return true;
        }
        thread::sleep(POLL);
    }
    is_done()
}

/// Sends a signal to a process; one that is gone already is no error.
pub(super) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Whether a process is a server process of this data folder: each of them works in it.
fn lives_in(pid: u32, data: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let is_server =
        fs::read_to_string(process.join("comm")).is_ok_and(|name| name.starts_with("post"));
    is_server && fs::read_link(process.join("cwd")).is_ok_and(|folder| folder == data)
}

fn processes_in(data: &Path) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| lives_in(*pid, data))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_is_read_at_each_stage_of_its_life() {
        let head = "417\n/data/ü x\n1700000000\n5432\n/tmp/s\n\n";
        let read = |text: &str| Postmaster::parse(text.as_bytes());
        let expect =
            |is_ready| Some(Postmaster { pid: 417, sockets: PathBuf::from("/tmp/s"), is_ready });
        assert_eq!(read(&format!("{head}  917506 5\nready   \n")), expect(true));
        assert_eq!(read(&format!("{head}  917506 5\nstarting\n")), expect(false));
        assert_eq!(read(head), expect(false));
        assert_eq!(read("417\n").map(|found| found.pid), Some(417));
        assert_eq!(read(""), None);
        assert_eq!(read("\0\0\0\0"), None);
    }
}
