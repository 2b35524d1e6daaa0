//! A run as a pure function of its journal: what was done, and what is next.
//!
//! The executor (in the agent's actor) asks [`Run::next`], does it, appends the entry, folds it in
//! with [`Run::apply`], and asks again. After a crash the journal is folded from its first entry,
//! and the answer is the same as if nothing had happened, save for a call without a result.

use crate::driver::Observation;
use crate::failure::{Policy, backoff_ms};
use crate::limits::{LimitHit, Limits, Usage};
use crate::model::{FailureKind, ModelFailure};
use crate::status::{DriverKind, WaitingFor};
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
    /// Nothing can be done now: leave the run as it is until this is over; then append `Resumed`.
    PutAside(Aside),
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

/// Why a run is left as it is for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// What it waits for.
    pub waiting_for: WaitingFor,
    /// Milliseconds since 1970 from when on it goes on by itself; `None` waits for the user.
    pub until_ms: Option<u64>,
    /// The limit that is reached, where one is.
    pub hit: Option<LimitHit>,
    /// One sentence.
    pub reason: String,
}

impl Aside {
    /// Whether it is over: its time has come, its limit was raised, or the user said so.
    pub const fn is_over(&self, now_ms: u64, limits: &Limits, user_said: bool) -> bool {
        match (self.until_ms, self.hit) {
            (Some(until_ms), _) => now_ms >= until_ms || user_said,
            (None, Some(hit)) => limits.relieves(hit),
            (None, None) => user_said,
        }
    }

    /// Whether the clock has jumped back since it was put aside: more is left to wait than there was
    /// at first. Asking too early costs a refusal, waiting on would cost as much as the jump.
    pub const fn is_of_another_clock(&self, put_aside_at_ms: u64, now_ms: u64) -> bool {
        let Some(until_ms) = self.until_ms else { return false };
        let at_first = until_ms.saturating_sub(put_aside_at_ms);
        until_ms.saturating_sub(now_ms) > at_first.saturating_add(CLOCK_SLACK_MS)
    }
}

/// Clocks of a node and of its database may differ by this much.
const CLOCK_SLACK_MS: u64 = 60_000;

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
    driver: Option<DriverKind>,
    limits: Option<Limits>,
    usage: Usage,
    round: u32,
    /// Calls with an intent and no result; several only where all of them read.
    open_calls: Vec<(ToolCall, EffectClass)>,
    /// The hash of a request that has no answer yet.
    open_request: Option<String>,
    aside: Option<Aside>,
    /// Failed calls of the model since its last answer.
    model_failures: u32,
    /// The model cannot be used any more, and what follows.
    without_model: Option<(String, Policy)>,
    claim: Option<bool>,
    /// The driver's own words when it stopped.
    words: String,
    /// The last call's end is unknown, since the runtime died while it ran.
    interrupted: bool,
    limit_hit: Option<LimitHit>,
    /// Refusals of the machine since anything else came about.
    refusals: u32,
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
        self.refusals = if matches!(entry, Entry::Refused { .. }) { self.refusals + 1 } else { 0 };
        match entry {
            Entry::Started { driver, limits, .. } => {
                self.driver = Some(*driver);
                self.limits = Some(limits.clone());
            }
            Entry::ModelRequest { hash, .. } => self.open_request = Some(hash.clone()),
            Entry::ModelResponse { turn, cost_nanousd, failed_nanousd, failed_tokens, .. } => {
                self.open_request = None;
                self.model_failures = 0;
                self.used(turn.usage.total(), cost_nanousd.unwrap_or_default());
                self.used(*failed_tokens, *failed_nanousd);
            }
            Entry::ModelFailed { failure, policy, until_ms, cost_nanousd, tokens } => {
                self.open_request = None;
                self.model_failures += 1;
                self.used(*tokens, *cost_nanousd);
                self.model_failed(failure, *policy, *until_ms);
            }
            Entry::Resumed { limits } => {
                self.limits = Some(limits.clone());
                self.aside = None;
            }
            // It changes what a judgement is made of, not what is next; after a refusal, next is what was refused.
            Entry::BaseChecked { .. } | Entry::Refused { .. } => {}
            Entry::ToolIntent { call, effect } => {
                self.usage.steps += 1;
                self.calls_since_judgement += 1;
                self.open_calls.push((call.clone(), *effect));
            }
            Entry::ToolResult { result } => {
                self.usage.output_bytes += result.output_bytes;
                self.open_calls.retain(|(call, _)| call.call_id != result.call_id);
                self.interrupted = result.ended == Ended::Interrupted;
            }
            Entry::ClaimedDone { finished, summary } => {
                self.claim = Some(*finished);
                self.words.clone_from(summary);
            }
            // Half of a model's work may well pass the checks: it is no result, and more room mends it.
            Entry::LimitReached { hit } if self.driver == Some(DriverKind::Native) => {
                self.aside = Some(Aside {
                    waiting_for: WaitingFor::Budget,
                    until_ms: None,
                    hit: Some(*hit),
                    reason: hit.to_string(),
                });
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

    fn used(&mut self, tokens: u64, cost_nanousd: u64) {
        self.usage.tokens = self.usage.tokens.saturating_add(tokens);
        self.usage.cost_nanousd = self.usage.cost_nanousd.saturating_add(cost_nanousd);
    }

    fn model_failed(&mut self, failure: &ModelFailure, policy: Policy, until_ms: Option<u64>) {
        let waiting_for = match (policy, failure.kind) {
            // The driver deals with it.
            (Policy::RetryWithEvidence, _) => return,
            (Policy::Stop | Policy::OtherAgent | Policy::CutOff, _) => {
                self.without_model = Some((failure.message.clone(), policy));
                return;
            }
            (_, FailureKind::Quota) => WaitingFor::Budget,
            (Policy::Wait { .. }, FailureKind::RateLimit) => WaitingFor::RateLimit,
            (Policy::Wait { .. }, _) => WaitingFor::Provider,
            (Policy::Ask, _) => WaitingFor::Input,
        };
        let until_ms = until_ms.filter(|_| policy != Policy::Ask);
        let reason = failure.message.clone();
        self.aside = Some(Aside { waiting_for, until_ms, hit: None, reason });
    }

    /// Milliseconds until what the machine refuses now is tried again; `None` where the user is asked. `has_room` says
    /// that there is room on the disk once the run's own files are gone: then it is the run that fills it, and would
    /// again. For room that others take it waits as long as they do.
    pub const fn refused(&self, has_room: bool) -> Option<u64> {
        if has_room && self.refusals > 0 { None } else { Some(backoff_ms(self.refusals + 1)) }
    }

    /// Calls of the model that were given up since its last answer.
    pub const fn model_failures(&self) -> u32 {
        self.model_failures
    }

    /// The hash of a request that was journaled and not answered yet.
    pub fn open_request(&self) -> Option<&str> {
        self.open_request.as_deref()
    }

    /// How the agent acts, once the run has started.
    pub const fn driver(&self) -> Option<DriverKind> {
        self.driver
    }

    /// What the run may use, once it has started.
    pub const fn limits(&self) -> Option<&Limits> {
        self.limits.as_ref()
    }

    /// Whether any call has no result yet.
    pub const fn has_open_call(&self) -> bool {
        !self.open_calls.is_empty()
    }

    /// Whether a call without a result may have touched the world: it is not run again.
    pub fn is_open_call_interrupted(&self) -> bool {
        self.open_calls
            .iter()
            .any(|(_, effect)| matches!(effect, EffectClass::Open | EffectClass::External))
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
        if let Some((call, effect)) = self.open_calls.first() {
            let recovery = match effect {
                EffectClass::Read => Recovery::RunAgain,
                EffectClass::Workspace => Recovery::RestoreAndRunAgain,
                EffectClass::Open | EffectClass::External => Recovery::ReportInterrupted,
            };
            return Next::Recover { call: call.clone(), recovery };
        }
        if let Some((reason, policy)) = &self.without_model {
            let outcome = Outcome::Failed { reason: reason.clone(), policy: *policy };
            return Next::Conclude(outcome);
        }
        if let Some(aside) = &self.aside {
            return Next::PutAside(aside.clone());
        }
        if self.claim.is_none() && self.limit_hit.is_none() {
            let usage = Usage { wall_time_ms: elapsed_ms, ..self.usage };
            return limits.hit_by(&usage).map_or(Next::Act, Next::Stop);
        }
        self.after_acting(limits, wishes)
    }

    fn after_acting(&self, limits: &Limits, wishes: Wishes) -> Next {
        // What half a call left behind is not the driver's work: nothing is to be judged.
        if self.interrupted && self.claim == Some(false) {
            let reason = self.words.clone();
            return Next::Conclude(Outcome::Failed { reason, policy: Policy::CutOff });
        }
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
        let policy = match judgement.policy {
            // The agent can do no more; one that works otherwise may.
            Policy::RetryWithEvidence if repeats_itself => Policy::OtherAgent,
            Policy::RetryWithEvidence => Policy::Stop,
            other @ (Policy::Wait { .. }
            | Policy::OtherAgent
            | Policy::Stop
            | Policy::Ask
            | Policy::CutOff) => other,
        };
        let mut reason = judgement.verdict.reasons.join("; ");
        if self.driver == Some(DriverKind::Native) && self.claim == Some(false) {
            // Why the model gave up says more than what it left undone.
            reason = format!("{}; {reason}", self.words);
        }
        Next::Conclude(Outcome::Failed { reason, policy })
    }

    /// How the run ends where no check speaks against the tree, but the driver did not do its work:
    /// it said so itself or a limit stopped it, and nothing changed.
    fn undone(&self, judgement: &Judgement) -> Option<Outcome> {
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

    /// In a later round nothing was called before the driver stopped: the tree is the judged one,
    /// so another round would get the same answer. A model that turns in a circle or refuses would
    /// do so again, and be paid for it.
    fn round_was_idle(&self) -> bool {
        let is_idle = self.round > 1 && self.calls_since_judgement == 0;
        self.claim == Some(false) && (is_idle || self.driver == Some(DriverKind::Native))
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

/// The end of a run that a limit stopped.
fn stopped_by(hit: LimitHit) -> Outcome {
    let reason = hit.to_string();
    match hit {
        LimitHit::WallTime { .. } => Outcome::TimedOut { reason },
        LimitHit::Steps { .. }
        | LimitHit::Output { .. }
        | LimitHit::Cost { .. }
        | LimitHit::Tokens { .. } => Outcome::Failed { reason, policy: Policy::Stop },
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
        Entry::ModelResponse {
            turn,
            cost_nanousd,
            elapsed_ms,
            failed_nanousd,
            failed_tokens,
            ..
        } => Some(Observation::ModelAnswered {
            turn: turn.clone(),
            cost_nanousd: cost_nanousd.unwrap_or_default().saturating_add(*failed_nanousd),
            failed_tokens: *failed_tokens,
            elapsed_ms: *elapsed_ms,
        }),
        Entry::ModelFailed { failure, policy, cost_nanousd, tokens, .. } => {
            let is_the_drivers = *policy == Policy::RetryWithEvidence;
            Some(Observation::ModelFailed {
                failure: is_the_drivers.then(|| failure.clone()),
                cost_nanousd: *cost_nanousd,
                tokens: *tokens,
            })
        }
        Entry::Resumed { limits } => Some(Observation::Resumed { limits: limits.clone() }),
        Entry::Started { .. }
        | Entry::ModelRequest { .. }
        | Entry::BaseChecked { .. }
        | Entry::ToolIntent { .. }
        | Entry::ClaimedDone { .. }
        | Entry::Verification { .. }
        | Entry::Approved
        | Entry::Delivered { .. }
        | Entry::LimitReached { .. }
        | Entry::Refused { .. }
        | Entry::Outcome { .. } => None,
    }
}

#[cfg(test)]
mod tests;
