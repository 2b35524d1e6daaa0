//! The journal's entries: everything that a run has decided and learned, in order.
//!
//! The journal is append-only, and the state of a run is a pure function of it (`run`).

mod reading;

use serde::{Deserialize, Serialize};

use crate::check::{CheckOutcome, CheckPlan};
use crate::driver::Assignment;
use crate::failure::{Classification, Policy};
use crate::limits::{LimitHit, Limits};
use crate::model::{ModelFailure, ModelTurn};
use crate::status::DriverKind;
use crate::tool::{EffectClass, ToolCall, ToolResult};
use crate::verdict::Verdict;

pub use reading::{Damage, Row, read};

/// One entry. The large parts (output, pack of a snapshot) are blobs beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// The workspace stands, the checks are known.
    Started {
        /// The driver that acts.
        driver: DriverKind,
        /// What it is told.
        assignment: Box<Assignment>,
        /// How the change will be judged.
        plan: CheckPlan,
        /// What the run may use.
        limits: Limits,
        /// The commit that the workspace starts from.
        base_commit: String,
        /// Whether the sandbox confines writes to the workspace on this machine.
        confined: bool,
        /// Paths that the change must not touch, as prefixes.
        #[serde(default)]
        forbidden: Vec<String>,
        /// Files of the user's working tree that were changed and not committed: they are no part
        /// of the work.
        #[serde(default)]
        uncommitted: usize,
    },
    /// The base was judged; once is enough for all rounds.
    BaseChecked {
        /// Its checks.
        checks: Vec<CheckOutcome>,
    },
    /// Committed before the model is asked. The request itself is a function of what stands before.
    ModelRequest {
        /// Hexadecimal SHA-256 of the request as it is sent.
        hash: String,
        /// The model that is asked.
        model: String,
        /// Tokens that the answer may have.
        max_output_tokens: u32,
        /// Roughly the tokens of the request.
        input_tokens: u64,
    },
    /// The model's answer: it is never asked for again.
    ModelResponse {
        /// The answer.
        turn: ModelTurn,
        /// What it cost, in billionths of a US dollar; `None` where nobody knows.
        cost_nanousd: Option<u64>,
        /// The version of the price table.
        price_version: Option<String>,
        /// How often it was asked until it answered.
        attempts: u32,
        /// Milliseconds from the first try to the end of the answer.
        duration_ms: u64,
        /// Milliseconds that the run has taken so far, over all its lives.
        elapsed_ms: u64,
        /// What the failed tries before it cost, in billionths of a US dollar.
        #[serde(default)]
        failed_nanousd: u64,
        /// Tokens that the failed tries used.
        #[serde(default)]
        failed_tokens: u64,
    },
    /// The model did not answer, however often it was asked.
    ModelFailed {
        /// The last failure.
        failure: ModelFailure,
        /// What follows.
        policy: Policy,
        /// Milliseconds since 1970 from when on it may be asked again, where waiting helps.
        until_ms: Option<u64>,
        /// What the failed tries cost, in billionths of a US dollar.
        #[serde(default)]
        cost_nanousd: u64,
        /// Tokens that the failed tries used.
        #[serde(default)]
        tokens: u64,
    },
    /// The run goes on after it was put aside.
    Resumed {
        /// The limits from here on.
        limits: Limits,
    },
    /// Committed before anything starts.
    ToolIntent {
        /// What is about to be done.
        call: ToolCall,
        /// What it may touch.
        effect: EffectClass,
    },
    /// The call ended; the snapshot's tree is beside it when the workspace changed.
    ToolResult {
        /// How.
        result: ToolResult,
    },
    /// The driver stopped by its own word.
    ClaimedDone {
        /// Whether it says that the work is finished, or that it can do no more.
        finished: bool,
        /// Its words.
        summary: String,
    },
    /// The runtime's own judgement of a tree.
    Verification {
        /// The judged tree.
        tree: String,
        /// Base and candidate compared.
        verdict: Verdict,
        /// The candidate's checks.
        checks: Vec<CheckOutcome>,
        /// What the classifier says of each failure.
        failures: Vec<Classification>,
        /// What follows, where it is not verified.
        policy: Policy,
        /// What the driver is told in the next round; empty where it is verified.
        evidence: String,
        /// The diff's size: files changed.
        files_changed: usize,
    },
    /// Evidence went back; another round begins.
    RoundStarted {
        /// From 2.
        round: u32,
        /// What the driver is told.
        evidence: String,
    },
    /// The user consented to an unverified change.
    Approved,
    /// The change left the runtime.
    Delivered {
        /// The branch, where one was made.
        branch: Option<String>,
        /// The commit, where one was made.
        commit: Option<String>,
        /// The patch file, where one was written.
        patch: Option<String>,
    },
    /// A limit ended the acting.
    LimitReached {
        /// Which.
        hit: LimitHit,
    },
    /// The machine refused what the runtime itself needed, as room on the disk: no failure of the work, which goes on
    /// from here.
    Refused {
        /// One sentence.
        reason: String,
        /// Milliseconds since 1970 from when on it is tried again; `None` waits for the user.
        until_ms: Option<u64>,
    },
    /// The end.
    Outcome {
        /// How it ended.
        outcome: Outcome,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Verified; delivered unless nothing changed.
    Verified,
    /// Completed at the user's wish without a check.
    Unverified,
    /// Given up.
    Failed {
        /// One sentence.
        reason: String,
        /// What the scheduler does with the task.
        policy: Policy,
    },
    /// Out of time.
    TimedOut {
        /// One sentence.
        reason: String,
    },
}

impl Entry {
    /// The word in the column `run_steps.kind`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::BaseChecked { .. } => "base_checked",
            Self::ModelRequest { .. } => "model_request",
            Self::ModelResponse { .. } => "model_response",
            Self::ModelFailed { .. } => "model_failed",
            Self::Resumed { .. } => "resumed",
            Self::ToolIntent { .. } => "tool_intent",
            Self::ToolResult { .. } => "tool_result",
            Self::ClaimedDone { .. } => "claimed_done",
            Self::Verification { .. } => "verification",
            Self::RoundStarted { .. } => "round_started",
            Self::Approved => "approved",
            Self::Delivered { .. } => "delivered",
            Self::LimitReached { .. } => "limit_reached",
            Self::Refused { .. } => "refused",
            Self::Outcome { .. } => "outcome",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_the_tag_of_the_payload() {
        let entry = Entry::ClaimedDone { finished: true, summary: "done".into() };
        let json = serde_json::to_value(&entry).unwrap();
        assert_eq!(json["kind"], entry.kind());
        assert_eq!(serde_json::from_value::<Entry>(json).unwrap(), entry);
    }
}
