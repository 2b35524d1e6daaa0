//! The daemon's Unix socket: in a folder that only its user can enter, named by the data folder.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The socket's path. Its folder is made; one that somebody else owns is refused.
pub fn path(data: &Path) -> io::Result<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let folder = runtime
        .filter(|folder| fs::metadata(folder).is_ok_and(|found| found.uid() == user))
        .filter(|folder| folder.as_os_str().len() < 64)
        .map_or_else(
            || PathBuf::from(format!("/tmp/journeyman-{user}")),
            |folder| folder.join("journeyman"),
        );
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(&folder)?;
    if !found.is_dir() || found.uid() != user {
        return Err(io::Error::other(format!("{} is not ours", folder.display())));
    }
    let data = fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    let mut name = String::new();
    for byte in Sha256::digest(data.as_os_str().as_bytes()).iter().take(8) {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    Ok(folder.join(format!("{name}.sock")))
}
