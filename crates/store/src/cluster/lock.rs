//! Advisory locks on files. The kernel drops them with their holder.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Instant;

use super::POLL;
use super::error::{ClusterError, at};

/// How a lock is held.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    Shared,
    Exclusive,
}

/// Opens the file of a lock; made where it is missing.
pub(super) fn open(path: &Path) -> Result<File, ClusterError> {
    File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(at(path))
}

/// Takes a lock, or gives up at the deadline with `None`.
pub(super) fn take(
    path: &Path,
    mode: Mode,
    deadline: Instant,
) -> Result<Option<File>, ClusterError> {
    let file = open(path)?;
    loop {
        if attempt(&file, mode).map_err(at(path))? {
            return Ok(Some(file));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Whether some process holds the lock exclusively.
pub(super) fn is_held(path: &Path) -> Result<bool, ClusterError> {
    match File::open(path) {
        Ok(file) => attempt(&file, Mode::Shared).map(|taken| !taken).map_err(at(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(path)(error)),
    }
}

fn attempt(file: &File, mode: Mode) -> io::Result<bool> {
    let result = match mode {
        Mode::Shared => file.try_lock_shared(),
        Mode::Exclusive => file.try_lock(),
    };
    match result {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
