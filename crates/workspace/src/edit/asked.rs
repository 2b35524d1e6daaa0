//! The file tools that a model asks for, done on a workspace.
//!
//! It owns which files they take: text in UTF-8, of bounded size. What they mean is `text` of the
//! domain. Reasons are sentences for the model, which tries again by them.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use journeyman_domain::text::patch::{FileChange, PatchError, apply as apply_change, parse};
use journeyman_domain::text::replace::replace as replace_text;
use journeyman_domain::text::view::view as view_text;

use super::contained;
use super::writing::{Change, commit};
use crate::error::{Doing as _, WorkspaceError};

/// Bytes of the largest file that these tools take.
pub const FILE_BYTES: u64 = 10 * 1024 * 1024;

/// Names of a directory that are listed.
const LISTED: u64 = 500;

/// Lines of a text file with their numbers, `limit` of them from line `offset` (from 1) on; of a
/// directory its sorted names, those of directories with a slash. Bounded. Blocks.
///
/// # Errors
/// [`WorkspaceError::OutsideWorkspace`], [`WorkspaceError::Edit`] where it is no text or too large,
/// or the system's.
pub fn view(tree: &Path, path: &str, offset: u64, limit: u64) -> Result<String, WorkspaceError> {
    let is_root = matches!(path.trim_end_matches('/'), "." | "");
    let is_root = is_root && !path.starts_with('/');
    let whole = if is_root { tree.to_owned() } else { tree.join(contained(tree, path)?) };
    if whole.is_dir() {
        return listing(&whole, offset, limit);
    }
    let Some(bytes) = bytes_of(&whole, path)? else {
        return Err(refused(path, "there is no such file"));
    };
    if bytes.contains(&0) {
        return Err(refused(path, format!("it is a binary file of {} bytes", bytes.len())));
    }
    Ok(view_text(&String::from_utf8_lossy(&bytes), offset, limit))
}

/// Replaces `old`, which must be in the file once, or everywhere with `all`; the files that
/// changed. Blocks.
///
/// # Errors
/// [`WorkspaceError::OutsideWorkspace`], [`WorkspaceError::Edit`] where the file is not what the
/// edit expects, or the system's.
pub fn replace(
    tree: &Path,
    path: &str,
    old: &str,
    new: &str,
    all: bool,
) -> Result<Vec<PathBuf>, WorkspaceError> {
    let below = contained(tree, path)?;
    let whole = tree.join(&below);
    let Some(content) = text_of(&whole, path)? else {
        return Err(refused(path, "there is no such file"));
    };
    let new =
        replace_text(&content, old, new, all).map_err(|miss| refused(path, miss.to_string()))?;
    let new = bounded(path, new)?;
    commit(&[Change { path: below, whole, like: None, new: Some(new) }])
}

/// Writes a whole file, whose folders are made and whose mode is kept; the files that changed.
/// Blocks.
///
/// # Errors
/// [`WorkspaceError::OutsideWorkspace`], [`WorkspaceError::Edit`] where it is no file or the
/// content is too large, or the system's.
pub fn write(tree: &Path, path: &str, content: &str) -> Result<Vec<PathBuf>, WorkspaceError> {
    let below = contained(tree, path)?;
    let whole = tree.join(&below);
    let new = bounded(path, content.to_owned())?;
    writable(tree, &below, path)?;
    if fs::read(&whole).is_ok_and(|old| old == new) {
        return Ok(Vec::new());
    }
    commit(&[Change { path: below, whole, like: None, new: Some(new) }])
}

/// Applies a patch between `*** Begin Patch` and `*** End Patch`; the files that changed. Blocks.
///
/// # Errors
/// [`WorkspaceError::OutsideWorkspace`], [`WorkspaceError::Edit`] where it is no patch or does not
/// fit, or the system's.
pub fn patch(tree: &Path, text: &str) -> Result<Vec<PathBuf>, WorkspaceError> {
    let mut touched = Touched { tree, files: BTreeMap::new() };
    for change in parse(text).map_err(unfit)? {
        let path = change.path();
        let old = touched.text(path)?;
        let new = apply_change(&change, old.as_deref()).map_err(unfit)?;
        match &change {
            FileChange::Update { move_to: Some(target), .. } if target != path => {
                if touched.text(target)?.is_some() {
                    return Err(refused(target, "it exists already, so nothing can move there"));
                }
                touched.put(path, None)?;
                touched.put(target, new)?;
                touched.file(target)?.like = Some(tree.join(contained(tree, path)?));
            }
            FileChange::Add { .. } | FileChange::Delete { .. } | FileChange::Update { .. } => {
                touched.put(path, new)?;
            }
        }
    }
    commit(&touched.changes()?)
}

/// The files that a patch has to do with, as they were and as they shall be.
struct Touched<'a> {
    tree: &'a Path,
    files: BTreeMap<PathBuf, File>,
}

struct File {
    /// As the patch has it.
    name: String,
    old: Option<String>,
    new: Option<String>,
    like: Option<PathBuf>,
}

impl Touched<'_> {
    fn file(&mut self, path: &str) -> Result<&mut File, WorkspaceError> {
        let below = contained(self.tree, path)?;
        if !self.files.contains_key(&below) {
            writable(self.tree, &below, path)?;
            let old = text_of(&self.tree.join(&below), path)?;
            let file = File { name: path.to_owned(), new: old.clone(), old, like: None };
            self.files.insert(below.clone(), file);
        }
        self.files.get_mut(&below).ok_or_else(|| refused(path, "there is no such file"))
    }

    fn text(&mut self, path: &str) -> Result<Option<String>, WorkspaceError> {
        Ok(self.file(path)?.new.clone())
    }

    fn put(&mut self, path: &str, new: Option<String>) -> Result<(), WorkspaceError> {
        self.file(path)?.new = new;
        Ok(())
    }

    fn changes(self) -> Result<Vec<Change>, WorkspaceError> {
        let changed = self.files.into_iter().filter(|(_, file)| file.old != file.new);
        changed
            .map(|(path, file)| {
                let new = file.new.map(|new| bounded(&file.name, new)).transpose()?;
                Ok(Change { whole: self.tree.join(&path), path, like: file.like, new })
            })
            .collect()
    }
}

/// Whether a file can stand there: neither a directory is in its place nor a file in that of a
/// directory above it.
fn writable(tree: &Path, below: &Path, path: &str) -> Result<(), WorkspaceError> {
    let whole = tree.join(below);
    if whole.exists() && !whole.is_file() {
        return Err(refused(path, "it is no file"));
    }
    let above = below.ancestors().skip(1).find(|above| {
        !above.as_os_str().is_empty() && tree.join(above).exists() && !tree.join(above).is_dir()
    });
    match above {
        None => Ok(()),
        Some(above) => Err(refused(path, format!("{} is no directory", above.display()))),
    }
}

/// The bytes of a file; `None` where there is none.
fn bytes_of(whole: &Path, path: &str) -> Result<Option<Vec<u8>>, WorkspaceError> {
    let metadata = match fs::metadata(whole) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        metadata => metadata.doing("read", whole)?,
    };
    if !metadata.is_file() {
        return Err(refused(path, "it is no file"));
    }
    too_large(path, metadata.len())?;
    fs::read(whole).doing("read", whole).map(Some)
}

fn text_of(whole: &Path, path: &str) -> Result<Option<String>, WorkspaceError> {
    let Some(bytes) = bytes_of(whole, path)? else {
        return Ok(None);
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(refused(path, "it is no text in UTF-8, so it cannot be edited as text")),
    }
}

fn bounded(path: &str, content: String) -> Result<Vec<u8>, WorkspaceError> {
    too_large(path, content.len() as u64)?;
    Ok(content.into_bytes())
}

fn too_large(path: &str, bytes: u64) -> Result<(), WorkspaceError> {
    if bytes > FILE_BYTES {
        let reason = format!("it has {bytes} bytes, and no more than {FILE_BYTES} are taken");
        return Err(refused(path, reason));
    }
    Ok(())
}

fn listing(folder: &Path, offset: u64, limit: u64) -> Result<String, WorkspaceError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).doing("read", folder)? {
        let entry = entry.doing("read", folder)?;
        let mut name = entry.file_name().to_string_lossy().into_owned();
        if name == ".git" {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            name.push('/');
        }
        names.push(name);
    }
    names.sort_unstable();
    let first = usize::try_from(offset.max(1) - 1).unwrap_or(usize::MAX).min(names.len());
    let count = usize::try_from(limit.clamp(1, LISTED)).unwrap_or(usize::MAX);
    let shown = &names[first..names.len().min(first.saturating_add(count))];
    let mut listing: String = shown.iter().flat_map(|name| [name.as_str(), "\n"]).collect();
    let more = names.len() - first - shown.len();
    if names.is_empty() {
        listing.push_str("[the directory is empty]");
    } else if more > 0 {
        let next = first + shown.len() + 1;
        listing.push_str(&format!("[{more} names more; read on with offset {next}]"));
    }
    Ok(listing)
}

fn refused(path: &str, reason: impl Into<String>) -> WorkspaceError {
    WorkspaceError::Edit { path: path.to_owned(), reason: reason.into() }
}

fn unfit(error: PatchError) -> WorkspaceError {
    match error {
        PatchError::Form { line, reason } => {
            refused("this patch", format!("at its line {line}: {reason}"))
        }
        PatchError::File { path, reason } => WorkspaceError::Edit { path, reason },
        PatchError::Hunk { path, hunk, reason } => {
            WorkspaceError::Edit { path, reason: format!("hunk {hunk}: {reason}") }
        }
    }
}

#[cfg(test)]
mod tests;
