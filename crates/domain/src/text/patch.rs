//! Patches between `*** Begin Patch` and `*** End Patch`, the form that OpenAI's models are trained
//! on: hunks are located by their lines, never by numbers.
//!
//! It owns what such a patch means. It must never apply a hunk whose lines are not in the file.

mod apply;
mod parse;

pub use apply::apply;
pub use parse::parse;

/// What a patch does to one file. Paths are as the patch has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// A new file.
    Add {
        /// Its path.
        path: String,
        /// All that it holds.
        content: String,
    },
    /// The file goes.
    Delete {
        /// Its path.
        path: String,
    },
    /// Parts of the file change.
    Update {
        /// Its path.
        path: String,
        /// Its path from then on, where it is another one.
        move_to: Option<String>,
        /// The parts, from the file's begin to its end.
        hunks: Vec<Hunk>,
    },
}

/// One part of a file that changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hunk {
    /// Lines that stand before the part, each after the one before ("fn main() {").
    pub context: Vec<String>,
    /// The lines, in their order.
    pub lines: Vec<HunkLine>,
    /// Whether the part is at the file's end.
    pub at_end: bool,
}

/// One line of a hunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HunkLine {
    /// It stays.
    Keep(String),
    /// It goes.
    Remove(String),
    /// It comes.
    Insert(String),
}

impl FileChange {
    /// The file's path, before any move.
    pub fn path(&self) -> &str {
        match self {
            Self::Add { path, .. } | Self::Delete { path } | Self::Update { path, .. } => path,
        }
    }
}

/// Why a patch is not applied; none of it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It is no patch.
    #[error("the patch cannot be read at its line {line}: {reason}")]
    Form {
        /// The line of the patch, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The file does not allow it.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// A hunk does not fit.
    #[error("{path}, hunk {hunk}: {reason}")]
    Hunk {
        /// The file.
        path: String,
        /// The hunk, from 1.
        hunk: usize,
        /// What does not fit.
        reason: String,
    },
}
