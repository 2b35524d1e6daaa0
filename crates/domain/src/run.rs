//! A run as a pure function of its journal: what was done, and what is next.
//!
//! The executor (in the agent's actor) asks [`Run::next`], does it, appends the entry, folds it in
//! with [`Run::apply`], and asks again. After a crash the journal is folded from its first entry,
//! and the answer is the same as if nothing had happened, save for a call without a result.

use crate::driver::Observation;
use crate::failure::Policy;
use crate::limits::{LimitHit, Limits, Usage};
use crate::step::{Entry, Outcome};
use crate::tool::{EffectClass, Ended, ToolCall};
use crate::verdict::Verdict;

/// What to do with a call whose result is missing after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It only reads.
    RunAgain,
    /// Its whole effect was inside the workspace: put the last snapshot back, then run it again.
    RestoreAndRunAgain,
    /// It may have touched the world: its result is "interrupted", what changed stays.
    ReportInterrupted,
}

/// What a run does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Make the workspace and find the checks; append `Started`.
    Prepare,
    /// Deal with a call that has an intent and no result; append its `ToolResult`.
    Recover {
        /// The call.
        call: ToolCall,
        /// How.
        recovery: Recovery,
    },
    /// Ask the driver, and do what it says; append `ToolIntent` and `ToolResult`, or `ClaimedDone`.
    Act,
    /// Stop acting: a limit is reached; append `LimitReached`.
    Stop(LimitHit),
    /// Take the diff and judge it; append `Verification`.
    Verify,
    /// Start another round; append `RoundStarted`.
    NextRound {
        /// Its number, from 2.
        round: u32,
        /// What the driver is told.
        evidence: String,
    },
    /// Nothing could be checked: the user decides.
    AwaitApproval,
    /// Hand the change over; append `Delivered`.
    Deliver,
    /// Append this outcome.
    Conclude(Outcome),
    /// Nothing: the outcome is in the journal.
    Ended(Outcome),
}

/// The judged state of a tree.
#[derive(Clone, Debug, PartialEq)]
struct Judgement {
    verdict: Verdict,
    policy: Policy,
    evidence: String,
    nothing_changed: bool,
}

/// A run, folded from its journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    limits: Option<Limits>,
    usage: Usage,
    round: u32,
    open_call: Option<(ToolCall, EffectClass)>,
    claim: Option<bool>,
    /// The driver's own words when it stopped.
    words: String,
    /// The last call's end is unknown, since the runtime died while it ran.
    interrupted: bool,
    limit_hit: Option<LimitHit>,
    calls_since_judgement: u32,
    judgement: Option<Judgement>,
    approved: bool,
    delivered: bool,
    outcome: Option<Outcome>,
}

impl Run {
    /// Folds a journal.
    pub fn from_journal<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut run = Self { round: 1, ..Self::default() };
        for entry in entries {
            run.apply(entry);
        }
        run
    }

    /// Folds one more entry in.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Started { limits, .. } => self.limits = Some(limits.clone()),
            // It changes what a judgement is made of, not what is next.
            Entry::BaseChecked { .. } => {}
            Entry::ToolIntent { call, effect } => {
                self.usage.steps += 1;
                self.calls_since_judgement += 1;
                self.open_call = Some((call.clone(), *effect));
            }
            Entry::ToolResult { result } => {
                self.usage.output_bytes += result.output_bytes;
                self.open_call = None;
                self.interrupted = result.ended == Ended::Interrupted;
            }
            Entry::ClaimedDone { finished, summary } => {
                self.claim = Some(*finished);
                self.words.clone_from(summary);
            }
            Entry::LimitReached { hit } => self.limit_hit = Some(*hit),
            Entry::Verification { verdict, policy, evidence, files_changed, .. } => {
                self.calls_since_judgement = 0;
                self.judgement = Some(Judgement {
                    verdict: verdict.clone(),
                    policy: *policy,
                    evidence: evidence.clone(),
                    nothing_changed: *files_changed == 0,
                });
            }
            Entry::RoundStarted { round, .. } => {
                self.round = *round;
                self.claim = None;
                self.interrupted = false;
            }
            Entry::Approved => self.approved = true,
            Entry::Delivered { .. } => self.delivered = true,
            Entry::Outcome { outcome } => self.outcome = Some(outcome.clone()),
        }
    }

    /// Whether a call without a result may have touched the world: it is not run again.
    pub fn is_open_call_interrupted(&self) -> bool {
        self.open_call
            .as_ref()
            .is_some_and(|(_, effect)| matches!(effect, EffectClass::Open | EffectClass::External))
    }

    /// The round that the run is in, from 1.
    pub const fn round(&self) -> u32 {
        self.round
    }

    /// Whether the driver said in this round that it is finished (`true`) or can do no more; `None`
    /// while it acts, and where a limit stopped it.
    pub const fn claim(&self) -> Option<bool> {
        self.claim
    }

    /// What was used so far, but for the wall time, which the executor knows.
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// What is next, given the wall time of all lives so far and the user's wishes.
    pub fn next(&self, elapsed_ms: u64, wishes: Wishes) -> Next {
        if let Some(outcome) = &self.outcome {
            return Next::Ended(outcome.clone());
        }
        let Some(limits) = &self.limits else {
            return Next::Prepare;
        };
        if let Some((call, effect)) = &self.open_call {
            let recovery = match effect {
                EffectClass::Read => Recovery::RunAgain,
                EffectClass::Workspace => Recovery::RestoreAndRunAgain,
                EffectClass::Open | EffectClass::External => Recovery::ReportInterrupted,
            };
            return Next::Recover { call: call.clone(), recovery };
        }
        if self.claim.is_none() && self.limit_hit.is_none() {
            let usage = Usage { wall_time_ms: elapsed_ms, ..self.usage };
            return limits.hit_by(&usage).map_or(Next::Act, Next::Stop);
        }
        self.after_acting(limits, wishes)
    }

    fn after_acting(&self, limits: &Limits, wishes: Wishes) -> Next {
        let current = self.judgement.as_ref().filter(|_| self.calls_since_judgement == 0);
        let Some(judgement) = current else {
            return Next::Verify;
        };
        if judgement.verdict.verified || !judgement.verdict.checked {
            // What was fine before is no result of an agent that did not finish.
            if let Some(outcome) = self.undone(judgement) {
                return Next::Conclude(outcome);
            }
            return self.handed_over(judgement, wishes);
        }
        if let Some(hit) = self.limit_hit {
            return Next::Conclude(stopped_by(hit));
        }
        let repeats_itself = self.round_was_idle();
        if matches!(judgement.policy, Policy::RetryWithEvidence)
            && self.round < limits.rounds
            && !repeats_itself
        {
            return Next::NextRound { round: self.round + 1, evidence: judgement.evidence.clone() };
        }
        let waits = matches!(judgement.policy, Policy::Wait { .. } | Policy::Ask);
        let policy = match judgement.policy {
            _ if self.stuck_by_interruption() && !waits => INTERRUPTED,
            // The agent can do no more; one that works otherwise may.
            Policy::RetryWithEvidence if repeats_itself => Policy::OtherAgent,
            Policy::RetryWithEvidence => Policy::Stop,
            other @ (Policy::Wait { .. } | Policy::OtherAgent | Policy::Stop | Policy::Ask) => {
                other
            }
        };
        Next::Conclude(Outcome::Failed { reason: judgement.verdict.reasons.join("; "), policy })
    }

    /// How the run ends where no check speaks against the tree, but the driver did not do its work:
    /// it said so itself or a limit stopped it, and nothing changed; or a crash cut it off.
    fn undone(&self, judgement: &Judgement) -> Option<Outcome> {
        if self.stuck_by_interruption() {
            return Some(Outcome::Failed { reason: self.words.clone(), policy: INTERRUPTED });
        }
        if !judgement.nothing_changed {
            return None;
        }
        match (self.claim, self.limit_hit) {
            (Some(true), _) => None,
            (Some(false), _) => {
                Some(Outcome::Failed { reason: self.words.clone(), policy: Policy::OtherAgent })
            }
            (None, hit) => hit.map(stopped_by),
        }
    }

    /// A crash cut the driver's last call off, and it could not go on. That is no fault of the
    /// driver, and what half a call left behind is not its work.
    fn stuck_by_interruption(&self) -> bool {
        self.interrupted && self.claim == Some(false)
    }

    /// In a later round nothing was called before the driver stopped: the tree is the judged one,
    /// so another round would get the same answer.
    fn round_was_idle(&self) -> bool {
        self.round > 1 && self.calls_since_judgement == 0 && self.claim == Some(false)
    }

    /// A change that is verified, or that nothing could check and the user wants.
    fn handed_over(&self, judgement: &Judgement, wishes: Wishes) -> Next {
        let verified = judgement.verdict.verified;
        // The wish is about missing checks; anything else that speaks against the change is asked.
        let suffices = wishes.allow_unverified && judgement.verdict.reasons.len() <= 1;
        if !verified && !self.approved && !suffices {
            return Next::AwaitApproval;
        }
        if !self.delivered && !judgement.nothing_changed {
            return Next::Deliver;
        }
        Next::Conclude(if verified { Outcome::Verified } else { Outcome::Unverified })
    }
}

/// Another attempt soon: the machine or the runtime may just come back.
const INTERRUPTED: Policy = Policy::Wait { delay_ms: 1_000 };

/// The end of a run that a limit stopped.
fn stopped_by(hit: LimitHit) -> Outcome {
    let reason = hit.to_string();
    match hit {
        LimitHit::WallTime { .. } => Outcome::TimedOut { reason },
        LimitHit::Steps { .. } | LimitHit::Output { .. } => {
            Outcome::Failed { reason, policy: Policy::Stop }
        }
    }
}

/// What the user allows for this task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// A change that nothing could check may be delivered.
    pub allow_unverified: bool,
}

/// What a fresh driver is told of an entry, so that after all of them it is where the journal ends.
/// `output` is the whole output of a call.
pub fn observation(entry: &Entry, output: String) -> Option<Observation> {
    match entry {
        Entry::ToolResult { result } => {
            Some(Observation::CallEnded { result: result.clone(), output })
        }
        Entry::RoundStarted { evidence, .. } => {
            Some(Observation::RoundFailed { evidence: evidence.clone() })
        }
        Entry::Started { .. }
        | Entry::BaseChecked { .. }
        | Entry::ToolIntent { .. }
        | Entry::ClaimedDone { .. }
        | Entry::Verification { .. }
        | Entry::Approved
        | Entry::Delivered { .. }
        | Entry::LimitReached { .. }
        | Entry::Outcome { .. } => None,
    }
}

#[cfg(test)]
mod tests;
