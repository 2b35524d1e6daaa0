//! The border between an agent's way of acting and the runtime.
//!
//! A driver decides, the runtime executes. A driver holds no handle, reads no file and starts no
//! program: its next action is a function of what it has observed, so replaying the journal into a
//! fresh driver brings it exactly where it was.

use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::limits::{LimitHit, Limits};
use crate::model::{ModelFailure, ModelRequest, ModelSettings, ModelTurn};
use crate::tool::{ToolCall, ToolResult};

/// What a driver is told when a run starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// What the user asked for.
    pub prompt: String,
    /// The codebase's checks.
    pub checks: Vec<Check>,
    /// Files of the workspace, relative, sorted; directories are not listed. Bounded.
    pub files: Vec<String>,
    /// The program and arguments of the driver `command`.
    pub command: Vec<String>,
    /// The absolute path of the workspace, as programs in it see it.
    pub workspace: String,
    /// Whether the program of the driver `command` may use the network.
    #[serde(default)]
    pub network: bool,
    /// The model of the driver `native`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSettings>,
    /// The system prompt of the agent's role.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instructions: String,
    /// What the repository tells agents (`AGENTS.md` and the like): path and text. Bounded;
    /// untrusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guides: Vec<(String, String)>,
}

/// Something that a driver learns.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// Its last call ended.
    CallEnded {
        /// As journaled.
        result: ToolResult,
        /// The whole output (standard output and error), up to the run's output limit.
        output: String,
    },
    /// The model answered.
    ModelAnswered {
        /// What.
        turn: ModelTurn,
        /// What it and the tries before it cost, in billionths of a US dollar; 0 where nobody knows.
        cost_nanousd: u64,
        /// Tokens that failed tries before it have used, beside those of the turn.
        failed_tokens: u64,
        /// Milliseconds that the run has taken so far, over all its lives.
        elapsed_ms: u64,
    },
    /// The model did not answer; the tries are billed all the same.
    ModelFailed {
        /// Why, where asking the same again will not help; else the runtime deals with it.
        failure: Option<ModelFailure>,
        /// What the tries cost, in billionths of a US dollar.
        cost_nanousd: u64,
        /// Tokens that they used.
        tokens: u64,
    },
    /// The run goes on after it was put aside, with these limits.
    Resumed {
        /// The limits from here on.
        limits: Limits,
    },
    /// The change was verified and found wanting; another round begins.
    RoundFailed {
        /// The evidence, cut to what matters.
        evidence: String,
    },
}

/// What a driver wants next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Do this and tell me.
    Call(ToolCall),
    /// Do these at once, which all only read, and tell me of each in this order.
    Reads {
        /// The calls.
        calls: Vec<ToolCall>,
    },
    /// Ask the model and tell me what it answers.
    Ask(ModelRequest),
    /// There is no room left within this limit for what it would do next.
    Exhausted {
        /// The limit.
        hit: LimitHit,
    },
    /// Done, by its word. Whether it is, verification says.
    Finished {
        /// What was done, for a person.
        summary: String,
    },
    /// It can do no more; what it mended so far is still verified.
    Stuck {
        /// What is left, for a person.
        reason: String,
    },
}

/// An agent's way of acting.
pub trait Driver: Send + Sync {
    /// The next action. Called again without a new observation it answers the same.
    fn next(&mut self) -> Action;

    /// Takes in what happened.
    fn observe(&mut self, observation: Observation);
}
