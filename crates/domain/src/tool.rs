//! Tool calls: what a driver asks the runtime to do in a workspace, and what comes back.
//!
//! A call is plain data. It is journaled before anything starts and its result after it ended,
//! so that a run can be followed, repeated and recovered from its journal alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::status::vocabulary;

vocabulary! {
    /// What a call may touch; it decides what recovery does with a call that has no result.
    EffectClass, "effect class" {
        /// Reads only: run again.
        Read = "read",
        /// All its effect is inside the workspace: restore the last snapshot, run again.
        Workspace = "workspace",
        /// It had network or could write elsewhere: never run again, reported as interrupted.
        Open = "open",
        /// It reaches others (push, comment): goes through the outbox, reconciled by its key.
        External = "external",
    }
}

/// One call of a driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Unique within the run and the same whenever the same history is replayed.
    pub call_id: String,
    /// What a person reads in the live view: "clippy", "apply 3 suggestions".
    pub title: String,
    /// What to do.
    pub tool: Tool,
}

/// What a call does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Tool {
    /// Starts a program in the sandbox, the workspace its folder.
    Exec(Exec),
    /// Changes files by exact replacements; all of them, or none.
    Edit {
        /// In the order of application; edits of one file must not overlap.
        edits: Vec<FileEdit>,
    },
    /// Puts the workspace back to what it was after an earlier call.
    Restore {
        /// The call whose snapshot is meant; `None` is the state at the start of the run.
        after_call: Option<String>,
    },
    /// Reads one file, bounded by the output limit.
    Read {
        /// Relative to the workspace.
        path: String,
    },
    /// Reads lines of one file, each with its number.
    View {
        /// Relative to the workspace; a directory is listed.
        path: String,
        /// The first line, from 1.
        offset: u64,
        /// How many lines.
        limit: u64,
    },
    /// Replaces a text that must be in the file once, or each of its places.
    Replace {
        /// Relative to the workspace.
        path: String,
        /// What stands there.
        old: String,
        /// What shall stand there.
        new: String,
        /// Whether each place is meant; else there must be just one.
        all: bool,
    },
    /// Writes a whole file, which need not exist; folders are made.
    Write {
        /// Relative to the workspace.
        path: String,
        /// All that it shall hold.
        content: String,
    },
    /// Applies a patch between `*** Begin Patch` and `*** End Patch`; all of it, or nothing.
    Patch {
        /// The patch.
        patch: String,
    },
}

/// A program to start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The program and its arguments; no shell unless it is the program.
    pub argv: Vec<String>,
    /// Added to the sandbox's small environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Whether it may use the network.
    #[serde(default)]
    pub network: bool,
    /// Milliseconds until it is stopped; `None` takes the run's limit.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// One exact replacement within a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEdit {
    /// Relative to the workspace, with forward slashes.
    pub path: String,
    /// Where, in bytes of the file as it is before any edit of this call; `start == end` inserts.
    pub start: usize,
    /// One past the last byte that is replaced.
    pub end: usize,
    /// What must stand there now, else nothing of the call is done; `None` where unknown.
    pub expected: Option<String>,
    /// What shall stand there.
    pub replacement: String,
}

impl Tool {
    /// The name that spans and the journal show.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Edit { .. } => "edit",
            Self::Restore { .. } => "restore",
            Self::Read { .. } | Self::View { .. } => "read",
            Self::Replace { .. } => "replace",
            Self::Write { .. } => "write",
            Self::Patch { .. } => "patch",
        }
    }

    /// The effect class, given whether the sandbox confines writes to the workspace.
    pub const fn effect_class(&self, confined: bool) -> EffectClass {
        match self {
            Self::Exec(exec) if exec.network || !confined => EffectClass::Open,
            Self::Exec(_)
            | Self::Edit { .. }
            | Self::Restore { .. }
            | Self::Replace { .. }
            | Self::Write { .. }
            | Self::Patch { .. } => EffectClass::Workspace,
            Self::Read { .. } | Self::View { .. } => EffectClass::Read,
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ended", rename_all = "snake_case")]
pub enum Ended {
    /// The program ended by itself with this code; edits and reads that worked have code 0.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// A signal ended it.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// The time limit ended it.
    TimedOut {
        /// The limit, in milliseconds.
        after_ms: u64,
    },
    /// It could not be done at all.
    Refused {
        /// One sentence.
        reason: String,
    },
    /// The runtime died while it ran; what it did is unknown.
    Interrupted,
}

impl Ended {
    /// Whether the program ended by itself with code 0.
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Exited { code: 0 })
    }
}

/// The result of a call as it is journaled; the whole output is in a blob beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The call that this answers.
    pub call_id: String,
    /// How it ended.
    pub ended: Ended,
    /// The first part of the output; all of it where it is short.
    pub head: String,
    /// The last part, where the output was cut.
    pub tail: Option<String>,
    /// Bytes of the whole output.
    pub output_bytes: u64,
    /// Milliseconds of wall time.
    pub duration_ms: u64,
    /// Whether the workspace is another one than before.
    pub changed: bool,
}

/// Cuts an output to its head and tail of at most `limit` bytes each, on character borders.
pub fn head_and_tail(output: &str, limit: usize) -> (String, Option<String>) {
    if output.len() <= limit.saturating_mul(2) {
        return (output.to_owned(), None);
    }
    let head = &output[..floor_char_boundary(output, limit)];
    let tail = &output[ceil_char_boundary(output, output.len() - limit)..];
    (head.to_owned(), Some(tail.to_owned()))
}

fn floor_char_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceil_char_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_cut_on_character_borders() {
        assert_eq!(head_and_tail("short", 4), ("short".to_owned(), None));
        let (head, tail) = head_and_tail("ääääää", 3);
        assert_eq!((head.as_str(), tail.as_deref()), ("ä", Some("ä")));
    }

    #[test]
    fn network_and_missing_confinement_make_a_command_open() {
        let quiet = Tool::Exec(Exec { argv: vec!["true".into()], ..Exec::default() });
        let loud = Tool::Exec(Exec { network: true, ..Exec::default() });
        assert_eq!(quiet.effect_class(true), EffectClass::Workspace);
        assert_eq!(quiet.effect_class(false), EffectClass::Open);
        assert_eq!(loud.effect_class(true), EffectClass::Open);
    }
}
