//! All changes of a call, or none.
//!
//! It owns how files are replaced. It must never replace a file before all the others are written
//! beside theirs.

use std::fs;
use std::path::{Path, PathBuf};

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
    let mut written: Vec<(PathBuf, &Path)> = Vec::new();
    let result = changes.iter().enumerate().try_for_each(|(number, change)| {
        let Some(new) = &change.new else {
            return Ok(());
        };
        let beside = beside(&change.whole, number)?;
        written.push((beside.clone(), &change.whole));
        fs::write(&beside, new).doing("write", &beside)?;
        if let Ok(metadata) = fs::metadata(change.like.as_ref().unwrap_or(&change.whole)) {
            fs::set_permissions(&beside, metadata.permissions()).doing("write", &beside)?;
        }
        Ok(())
    });
    if let Err(error) = result {
        for (beside, _) in written {
            // What is left behind is at most a file that a restore removes.
            let _ = fs::remove_file(beside);
        }
        return Err(error);
    }
    for (beside, whole) in written {
        fs::rename(&beside, whole).doing("write", whole)?;
    }
    for change in changes.iter().filter(|change| change.new.is_none()) {
        fs::remove_file(&change.whole).doing("remove", &change.whole)?;
    }
    Ok(changes.iter().map(|change| change.path.clone()).collect())
}

/// A name in the file's own folder, which is made where it is missing.
fn beside(path: &Path, number: usize) -> Result<PathBuf, WorkspaceError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).doing("make", folder)?;
    Ok(folder.join(format!(".journeyman-edit-{}-{number}", std::process::id())))
}
