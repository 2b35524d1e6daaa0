//! Edits of files within a workspace: by byte ranges, by exact text, by patches and as a whole.
//!
//! All edits of a call are done, or none: everything is checked and written beside its file
//! before the first file is replaced. No path may leave the workspace, by `..` or by a link, or
//! reach into its `.git`. No process of the run may be at work meanwhile.

mod asked;
mod writing;

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Component, Path, PathBuf};

use journeyman_domain::tool::FileEdit;

use crate::error::{Doing as _, WorkspaceError};
pub use asked::{FILE_BYTES, patch, replace, view, write};
use writing::Change;

/// Applies `edits` below the folder `tree`; the files that changed, relative to it. Blocks.
///
/// # Errors
/// [`WorkspaceError::OutsideWorkspace`], [`WorkspaceError::Edit`] where the file is not what the
/// edit expects, or the system's.
pub fn apply(tree: &Path, edits: &[FileEdit]) -> Result<Vec<PathBuf>, WorkspaceError> {
    let mut files: BTreeMap<PathBuf, Vec<&FileEdit>> = BTreeMap::new();
    for edit in edits {
        files.entry(contained(tree, &edit.path)?).or_default().push(edit);
    }
    let mut prepared = Vec::new();
    for (path, edits) in files {
        let whole = tree.join(&path);
        let old = match fs::read(&whole) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            read => Some(read.doing("read", &whole)?),
        };
        let new = replaced(old.as_deref().unwrap_or_default(), edits)?;
        if old.as_deref() != Some(&new) {
            prepared.push(Change { path, whole, like: None, new: Some(new) });
        }
    }
    writing::commit(&prepared)
}

/// Reads at most `limit` bytes of a file below `tree`; the whole length comes with them. Blocks.
///
/// # Errors
/// [`WorkspaceError::OutsideWorkspace`] or the system's.
pub fn read(tree: &Path, path: &str, limit: u64) -> Result<(Vec<u8>, u64), WorkspaceError> {
    let whole = tree.join(contained(tree, path)?);
    let metadata = fs::metadata(&whole).doing("read", &whole)?;
    if !metadata.is_file() {
        // A pipe would never end.
        return Err(WorkspaceError::Edit { path: path.into(), reason: "it is no file".into() });
    }
    let file = fs::File::open(&whole).doing("read", &whole)?;
    let mut text = Vec::new();
    file.take(limit).read_to_end(&mut text).doing("read", &whole)?;
    Ok((text, metadata.len()))
}

/// The path as one below the tree that no link leads out of.
fn contained(tree: &Path, path: &str) -> Result<PathBuf, WorkspaceError> {
    let outside = || WorkspaceError::OutsideWorkspace(path.to_owned());
    let mut below = PathBuf::new();
    for component in Path::new(path).components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => {
                return Err(outside());
            }
        };
        if name.eq_ignore_ascii_case(".git") {
            return Err(outside());
        }
        below.push(name);
        if fs::symlink_metadata(tree.join(&below)).is_ok_and(|found| found.is_symlink()) {
            return Err(outside());
        }
    }
    if below.as_os_str().is_empty() { Err(outside()) } else { Ok(below) }
}

/// The text with all replacements done.
fn replaced(old: &[u8], mut edits: Vec<&FileEdit>) -> Result<Vec<u8>, WorkspaceError> {
    // Stable, so that insertions at one place keep their order.
    edits.sort_by_key(|edit| (edit.start, edit.end));
    let mut new = Vec::with_capacity(old.len());
    let mut done = 0;
    for edit in edits {
        let refuse = |reason: String| WorkspaceError::Edit { path: edit.path.clone(), reason };
        let Some(standing) = old.get(edit.start..edit.end) else {
            let (start, end, length) = (edit.start, edit.end, old.len());
            return Err(refuse(format!("{start}..{end} is no range of its {length} bytes")));
        };
        if edit.start < done {
            return Err(refuse(format!("two edits overlap at byte {}", edit.start)));
        }
        if let Some(expected) = &edit.expected
            && expected.as_bytes() != standing
        {
            let found = String::from_utf8_lossy(standing);
            let start = edit.start;
            return Err(refuse(format!("at byte {start} stands {found:?}, not {expected:?}")));
        }
        new.extend_from_slice(&old[done..edit.start]);
        new.extend_from_slice(edit.replacement.as_bytes());
        done = edit.end;
    }
    new.extend_from_slice(&old[done..]);
    Ok(new)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn edit(path: &str, range: (usize, usize), expected: &str, replacement: &str) -> FileEdit {
        FileEdit {
            path: path.into(),
            start: range.0,
            end: range.1,
            expected: Some(expected.into()),
            replacement: replacement.into(),
        }
    }

    #[test]
    fn edits_refer_to_the_file_before_any_of_them() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("run.sh");
        fs::write(&path, "let x = 1;\nlet y = 2;\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let edits = [
            edit("run.sh", (15, 16), "y", "_y"),
            edit("run.sh", (4, 5), "x", "_longer"),
            edit("new/file", (0, 0), "", "neu\n"),
        ];
        let changed = apply(tree.path(), &edits).unwrap();
        assert_eq!(changed, [PathBuf::from("new/file"), PathBuf::from("run.sh")]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "let _longer = 1;\nlet _y = 2;\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(tree.path()).unwrap().count(), 2, "nothing is left beside");
    }

    #[test]
    fn one_edit_that_does_not_fit_leaves_every_file_as_it_was() {
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("a"), "aaa").unwrap();
        fs::write(tree.path().join("b"), "bbb").unwrap();
        for wrong in [
            edit("b", (0, 1), "x", ""),
            edit("b", (2, 9), "b", ""),
            edit("b", (2, 1), "", ""),
            edit("missing", (0, 3), "abc", ""),
        ] {
            let edits = [edit("a", (0, 3), "aaa", "A"), wrong];
            assert!(matches!(apply(tree.path(), &edits), Err(WorkspaceError::Edit { .. })));
        }
        let overlapping = [edit("a", (0, 2), "aa", "x"), edit("a", (1, 3), "aa", "y")];
        assert!(matches!(apply(tree.path(), &overlapping), Err(WorkspaceError::Edit { .. })));
        assert_eq!(fs::read_to_string(tree.path().join("a")).unwrap(), "aaa");
    }

    #[test]
    fn no_path_leaves_the_workspace() {
        let tree = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("secret"), "s").unwrap();
        symlink(elsewhere.path(), tree.path().join("folder")).unwrap();
        symlink(elsewhere.path().join("secret"), tree.path().join("link")).unwrap();
        for path in ["../x", "a/../../x", "/etc/x", "folder/secret", "link", ".git/config", ""] {
            let edits = [edit(path, (0, 0), "", "x")];
            let refused = apply(tree.path(), &edits);
            assert!(matches!(refused, Err(WorkspaceError::OutsideWorkspace(_))), "{path}");
            assert!(read(tree.path(), path, 10).is_err(), "{path}");
        }
        assert_eq!(fs::read_to_string(elsewhere.path().join("secret")).unwrap(), "s");
    }
}
