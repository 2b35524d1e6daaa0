//! All changes of a call, or none.
//!
//! It owns how files are replaced. It must never replace a file before all the others are written
//! beside theirs, and never write through a link that an agent has laid.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::error::{Doing as _, WorkspaceError};

/// What happens to one file.
pub(super) struct Change {
    /// Relative to the workspace.
    pub(super) path: PathBuf,
    /// Where it is.
    pub(super) whole: PathBuf,
    /// The file whose mode it gets, where it is not its own.
    pub(super) like: Option<PathBuf>,
    /// All that it shall hold; `None` removes it.
    pub(super) new: Option<Vec<u8>>,
}

/// Does all changes; the paths that changed.
pub(super) fn commit(changes: &[Change]) -> Result<Vec<PathBuf>, WorkspaceError> {
    let written = changes.iter().filter_map(|change| Some((change, change.new.as_ref()?)));
    let written = written.map(|(change, new)| Ok((beside(change, new)?, &change.whole)));
    // Where one cannot be written, those before it are removed as they are dropped.
    let written = written.collect::<Result<Vec<_>, WorkspaceError>>()?;
    for (beside, whole) in written {
        beside.persist(whole).map_err(|error| error.error).doing("write", whole)?;
    }
    for change in changes.iter().filter(|change| change.new.is_none()) {
        fs::remove_file(&change.whole).doing("remove", &change.whole)?;
    }
    Ok(changes.iter().map(|change| change.path.clone()).collect())
}

/// The new content in the file's own folder, which is made where it is missing, with the file's
/// mode. The file is a new one under a random name: nobody can have laid a link there.
fn beside(change: &Change, new: &[u8]) -> Result<TempPath, WorkspaceError> {
    let Change { whole, like, .. } = change;
    let folder = whole.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).doing("make", folder)?;
    let mut builder = tempfile::Builder::new();
    // As any new file: what the process masks is taken off.
    builder.prefix(".journeyman-edit-").permissions(Permissions::from_mode(0o666));
    let mut beside = builder.tempfile_in(folder).doing("write", whole)?;
    beside.write_all(new).doing("write", whole)?;
    if let Ok(metadata) = fs::metadata(like.as_ref().unwrap_or(whole)) {
        beside.as_file().set_permissions(metadata.permissions()).doing("write", whole)?;
    }
    // Closed, since a patch may have more files than a process may have open.
    Ok(beside.into_temp_path())
}
