//! The output of a program: its ends in memory, all of it in a file.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use crate::error::{Doing as _, WorkspaceError};

/// What a program wrote, stdout and stderr in one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The first part; all of it where it is short.
    pub head: String,
    /// The last part, where something between the two was cut.
    pub tail: Option<String>,
    /// Bytes of the whole.
    pub bytes: u64,
    /// Line ends in the whole.
    pub lines: u64,
    /// Where the whole is.
    pub file: Option<PathBuf>,
}

/// Takes output as it comes.
#[derive(Debug, Default)]
pub(super) struct Capture {
    limit: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    bytes: u64,
    lines: u64,
    file: Option<(PathBuf, File)>,
}

impl Capture {
    pub(super) async fn new(limit: usize, path: Option<&Path>) -> Result<Self, WorkspaceError> {
        let file = match path {
            Some(path) => Some((path.into(), File::create(path).await.doing("write", path)?)),
            None => None,
        };
        Ok(Self { limit, file, ..Self::default() })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) async fn add(&mut self, piece: &[u8]) -> Result<(), WorkspaceError> {
        if let Some((path, file)) = &mut self.file {
            file.write_all(piece).await.doing("write", path)?;
        }
        self.keep(piece);
        Ok(())
    }

    fn keep(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.lines += piece.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
        let room = self.limit - self.head.len();
        let (first, rest) = piece.split_at(room.min(piece.len()));
        self.head.extend_from_slice(first);
        self.tail.extend(&rest[rest.len().saturating_sub(self.limit)..]);
        let excess = self.tail.len().saturating_sub(self.limit);
        self.tail.drain(..excess);
    }

    pub(super) async fn finish(mut self) -> Result<Output, WorkspaceError> {
        if let Some((path, file)) = &mut self.file {
            file.flush().await.doing("write", path)?;
        }
        Ok(self.text())
    }

    fn text(self) -> Output {
        let tail = Vec::from(self.tail);
        let kept = self.head.len() + tail.len();
        let (head, tail) = if kept as u64 == self.bytes {
            ([self.head, tail].concat(), None)
        } else {
            // A character that was cut in two would read as damage.
            let whole = tail.iter().take_while(|byte| (0x80..0xc0).contains(*byte)).count();
            (whole_characters(self.head), Some(tail[whole.min(3)..].to_vec()))
        };
        Output {
            head: String::from_utf8_lossy(&head).into_owned(),
            tail: tail.map(|tail| String::from_utf8_lossy(&tail).into_owned()),
            bytes: self.bytes,
            lines: self.lines,
            file: self.file.map(|(path, _)| path),
        }
    }
}

/// Without a character that is cut at the end.
fn whole_characters(mut text: Vec<u8>) -> Vec<u8> {
    if let Err(error) = std::str::from_utf8(&text)
        && error.error_len().is_none()
    {
        text.truncate(error.valid_up_to());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(limit: usize, pieces: &[&str]) -> Output {
        let mut capture = Capture { limit, ..Capture::default() };
        for piece in pieces {
            capture.keep(piece.as_bytes());
        }
        capture.text()
    }

    #[test]
    fn both_ends_are_kept_and_the_middle_counted() {
        let output = captured(4, &["ab\ncd", "efgh", "ijklm\n", "n"]);
        let expected = Output {
            head: "ab\nc".into(),
            tail: Some("lm\nn".into()),
            bytes: 16,
            lines: 2,
            file: None,
        };
        assert_eq!(output, expected);
        let short = captured(4, &["abc", "defgh"]);
        assert_eq!((short.head.as_str(), short.tail), ("abcdefgh", None));
        let umlauts = captured(3, &["ääääää"]);
        assert_eq!((umlauts.head.as_str(), umlauts.tail.as_deref()), ("ä", Some("ä")));
    }
}
