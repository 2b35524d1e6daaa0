//! Writing what must be there after a power cut.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use crate::error::{Doing as _, WorkspaceError};

/// Writes a file as a whole or not at all; it is on the disk when this returns. The folder is made.
///
/// # Errors
/// The system's.
pub async fn write_durably(path: &Path, bytes: Vec<u8>) -> Result<(), WorkspaceError> {
    let target = path.to_owned();
    let written = tokio::task::spawn_blocking(move || {
        let folder = target.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let temporary = folder.join(name);
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &target)?;
        File::open(folder)?.sync_all()
    });
    written.await.map_err(std::io::Error::other).and_then(|done| done).doing("write", path)
}

/// Has everything that was written to the file system of a folder on the disk.
///
/// # Errors
/// The system's.
pub async fn settle(folder: &Path) -> Result<(), WorkspaceError> {
    let of = folder.to_owned();
    let settled =
        tokio::task::spawn_blocking(move || Ok(rustix::fs::syncfs(File::open(of)?)?)).await;
    settled.map_err(std::io::Error::other).and_then(|done| done).doing("write to disk", folder)
}

/// Whether the disk of a folder has room for more than a little: a tenth of it, or a gibibyte.
pub fn has_room(folder: &Path) -> bool {
    let Ok(found) = rustix::fs::statvfs(folder) else { return false };
    found.f_bavail >= found.f_blocks / 10 || found.f_bavail * found.f_frsize >= 1 << 30
}
