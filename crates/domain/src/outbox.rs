//! Effects on foreign systems, and what is done next with one that may have happened already.
//!
//! An attempt looks first, acts only where the look found nothing, and looks again where the answer says that
//! somebody was faster. What the answer to an act was that nobody heard, the next attempt finds by its look.

mod effect;
pub mod git;

use crate::status::vocabulary;

pub use effect::{Effect, PullRequest, PullRequestDraft, Push, draft, follow_up, marker};

vocabulary! {
    /// What an effect is.
    EffectKind, "effect" {
        /// A branch is pushed to a remote.
        Push = "push",
        /// A pull request is opened.
        PullRequest = "pull_request",
    }
}

vocabulary! {
    /// Where an effect is.
    EffectState, "state of an effect" {
        /// Not begun, or to be tried again at a time.
        Pending = "pending",
        /// A node works on it.
        Sending = "sending",
        /// It is there, once.
        Done = "done",
        /// It will not come about by itself.
        Failed = "failed",
    }
}

/// Attempts before an effect is given up: with the pauses between them, about a day.
pub const MOST_ATTEMPTS: u32 = 100;
/// The pause after the first failure, doubled with each further one.
const FIRST_PAUSE_MS: u64 = 1_000;
/// The longest pause.
const LONGEST_PAUSE_MS: u64 = 15 * 60 * 1_000;
/// The longest that a remote may ask to be left alone.
const LONGEST_ASKED_MS: u64 = 2 * 60 * 60 * 1_000;
/// The longest time between two attempts. What waits longer was written under another clock.
pub const LONGEST_WAIT_MS: u64 = LONGEST_ASKED_MS;

/// What a look on the remote found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing of that name.
    Nothing,
    /// What we want is there.
    Ours {
        /// What names it there.
        remote_id: String,
    },
    /// Something else has its place.
    Foreign {
        /// One sentence.
        reason: String,
    },
}

/// What the remote answered to the act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acted {
    /// It is done.
    Done {
        /// What names it there.
        remote_id: String,
    },
    /// Something of that name is there already.
    IsThere {
        /// As the remote said it.
        reason: String,
    },
}

/// Why a look or an act gave no answer that counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Another attempt may succeed. Whether the act took place is not known.
    #[error("{reason}")]
    Passing {
        /// One sentence.
        reason: String,
        /// Milliseconds that the remote asked to wait.
        wait_ms: Option<u64>,
    },
    /// No attempt will ever succeed as things are.
    #[error("{reason}")]
    Lasting {
        /// One sentence.
        reason: String,
    },
}

impl Fault {
    /// Another attempt may succeed.
    pub fn passing(reason: impl Into<String>) -> Self {
        Self::Passing { reason: reason.into(), wait_ms: None }
    }

    /// No attempt will.
    pub fn lasting(reason: impl Into<String>) -> Self {
        Self::Lasting { reason: reason.into() }
    }
}

/// What came of the last step of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A look.
    Looked(Result<Found, Fault>),
    /// The act.
    Acted(Result<Acted, Fault>),
}

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look on the remote.
    Look,
    /// Do it.
    Act,
    /// It is there: the attempt and the effect are over.
    Done {
        /// What names it on the remote.
        remote_id: String,
    },
    /// The attempt is over; another one follows.
    Retry {
        /// Milliseconds until then.
        in_ms: u64,
        /// One sentence.
        reason: String,
    },
    /// The effect is given up.
    Failed {
        /// One sentence.
        reason: String,
    },
}

/// One attempt at an effect.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its number, from 1.
    number: u32,
    has_acted: bool,
    /// What the remote said, where the act found something there.
    told: Option<String>,
    /// From 0 to 1: spreads those that failed together.
    jitter_unit: f64,
}

impl Attempt {
    /// The attempt of this number. It begins with a look, always: the effect may be the work of an earlier
    /// attempt that nobody heard of, or the place may be taken. One too many begins with the end: what kills its
    /// sender each time would be tried for ever.
    pub fn begin(number: u32, jitter_unit: f64) -> (Self, Next) {
        let attempt = Self { number, has_acted: false, told: None, jitter_unit };
        if number <= MOST_ATTEMPTS {
            return (attempt, Next::Look);
        }
        let reason = format!(
            "given up after {MOST_ATTEMPTS} attempts, the last of which was broken off; whether it arrived is not known"
        );
        (attempt, Next::Failed { reason })
    }

    /// What follows.
    pub fn next(&mut self, input: Input) -> Next {
        match input {
            Input::Looked(Ok(Found::Ours { remote_id }))
            | Input::Acted(Ok(Acted::Done { remote_id })) => Next::Done { remote_id },
            Input::Looked(Ok(Found::Nothing)) if self.has_acted => {
                // It was told that something is there, and sees nothing: one of the two is late.
                let told = self.told.as_deref().unwrap_or("it gave no reason");
                let reason = format!(
                    "the remote says that it is there already, and does not show it: {told}"
                );
                self.retry(&reason, None)
            }
            Input::Looked(Ok(Found::Nothing)) => {
                self.has_acted = true;
                Next::Act
            }
            Input::Acted(Ok(Acted::IsThere { reason })) => {
                self.told = Some(reason);
                Next::Look
            }
            Input::Looked(Ok(Found::Foreign { reason }) | Err(Fault::Lasting { reason }))
            | Input::Acted(Err(Fault::Lasting { reason })) => Next::Failed { reason },
            Input::Looked(Err(Fault::Passing { reason, wait_ms }))
            | Input::Acted(Err(Fault::Passing { reason, wait_ms })) => self.retry(&reason, wait_ms),
        }
    }

    fn retry(&self, reason: &str, wait_ms: Option<u64>) -> Next {
        if self.number >= MOST_ATTEMPTS {
            let reason = format!("given up after {} attempts: {reason}", self.number);
            return Next::Failed { reason };
        }
        let in_ms = pause_ms(self.number, self.jitter_unit);
        let asked = wait_ms.unwrap_or(0).min(LONGEST_ASKED_MS);
        Next::Retry { in_ms: in_ms.max(asked), reason: reason.to_owned() }
    }
}

/// The pause after this failed attempt: doubled each time, between the half and the whole of it.
pub fn pause_ms(attempt: u32, jitter_unit: f64) -> u64 {
    let doubled = FIRST_PAUSE_MS.saturating_mul(1 << attempt.saturating_sub(1).min(20));
    let whole = doubled.min(LONGEST_PAUSE_MS);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most fifteen minutes, and never below 0"
    )]
    let spread = (whole as f64 / 2.0 * jitter_unit.clamp(0.0, 1.0)) as u64;
    whole - spread
}

#[cfg(test)]
mod tests;
