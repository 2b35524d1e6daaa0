//! How a call of a model fails, and when it is tried again.

use serde::{Deserialize, Serialize};

use super::TokenUsage;
use crate::failure::{Category, Policy};
use crate::status::vocabulary;

vocabulary! {
    /// The kinds of a failed call.
    FailureKind, "kind of failure" {
        /// The key is missing or wrong, or may not do this: 401, 403.
        Auth = "auth",
        /// Money or quota is used up: 402, and the 429 that says so.
        Quota = "quota",
        /// Too many requests or tokens a minute: 429.
        RateLimit = "rate_limit",
        /// The provider has too much to do: 503, 529.
        Overloaded = "overloaded",
        /// The provider failed: other 5xx, 408, 409, an error inside the stream.
        Transient = "transient",
        /// It could not be reached, or the connection broke.
        Network = "network",
        /// No answer, or no further event, in time.
        Timeout = "timeout",
        /// Request and answer do not fit into the context window.
        ContextOverflow = "context_overflow",
        /// The provider does not take the request as it is: 400, 413, 422.
        Invalid = "invalid",
        /// No such model, or no such address: 404.
        NotFound = "not_found",
        /// A policy of the provider forbids the content.
        ContentPolicy = "content_policy",
        /// The answer is not what the wire format says.
        Protocol = "protocol",
        /// Nobody wanted the answer any more.
        Cancelled = "cancelled",
    }
}

impl FailureKind {
    /// Whether the same request may well work a moment later.
    pub const fn is_transient(self) -> bool {
        match self {
            Self::RateLimit
            | Self::Overloaded
            | Self::Transient
            | Self::Network
            | Self::Timeout
            | Self::Protocol => true,
            Self::Auth
            | Self::Quota
            | Self::ContextOverflow
            | Self::Invalid
            | Self::NotFound
            | Self::ContentPolicy
            | Self::Cancelled => false,
        }
    }

    /// The category that the policies know.
    pub const fn category(self) -> Category {
        match self {
            Self::Auth => Category::ProviderAuth,
            Self::Quota => Category::Budget,
            Self::RateLimit => Category::ProviderRateLimit,
            Self::Overloaded
            | Self::Transient
            | Self::Network
            | Self::Timeout
            | Self::Protocol
            | Self::Cancelled => Category::ProviderTransient,
            Self::ContextOverflow => Category::ContextOverflow,
            Self::Invalid | Self::NotFound => Category::ProviderInvalid,
            Self::ContentPolicy => Category::ModelOutput,
        }
    }
}

/// A call of a model that failed. The message is untrusted text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFailure {
    /// Its kind.
    pub kind: FailureKind,
    /// One sentence, with the provider's own words; no secret.
    pub message: String,
    /// HTTP status, where there was an answer.
    pub http_status: Option<u16>,
    /// What the provider's header `x-should-retry` says; it stands above the kind.
    pub should_retry: Option<bool>,
    /// Milliseconds that the provider asks to wait.
    pub retry_after_ms: Option<u64>,
    /// What was used before it broke off, by the provider's word or by lengths: it is billed.
    pub usage: Option<TokenUsage>,
}

/// The first wait and the longest one, in milliseconds, as both official client libraries have it.
const FIRST_MS: u64 = 500;
const LONGEST_MS: u64 = 8_000;

impl ModelFailure {
    /// A failure without an answer of the provider.
    pub fn of(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            http_status: None,
            should_retry: None,
            retry_after_ms: None,
            usage: None,
        }
    }

    /// Whether trying again makes sense at all.
    pub fn is_retryable(&self) -> bool {
        // A key or a quota is not mended by asking again, whatever a header says.
        if matches!(self.kind, FailureKind::Auth | FailureKind::Quota) {
            return false;
        }
        self.should_retry.unwrap_or_else(|| self.kind.is_transient())
    }
}

/// Milliseconds before the next try after the `failures`-th failure in a row (from 1); `None` where
/// there is none, since it would not help or `retries` are used up. `jitter_unit` is 0 to 1 and
/// shortens the wait by up to a quarter, but never one that the provider asked for. The rules are
/// those of the official client libraries of OpenAI and Anthropic.
pub fn retry_ms(
    failure: &ModelFailure,
    failures: u32,
    retries: u32,
    jitter_unit: f64,
) -> Option<u64> {
    if failures > retries || !failure.is_retryable() {
        return None;
    }
    if let Some(asked) = failure.retry_after_ms {
        return Some(asked);
    }
    let doublings = failures.saturating_sub(1).min(16);
    let full = (FIRST_MS << doublings).min(LONGEST_MS);
    let unit = if jitter_unit.is_finite() { jitter_unit.clamp(0.0, 1.0) } else { 0.0 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between 0 and 2000"
    )]
    let less = (full as f64 / 4.0 * unit) as u64;
    Some(full - less)
}

/// Times that a run waits for a provider before the user is asked.
const WAITS: u32 = 12;
/// The first and the longest of these waits, in milliseconds.
const FIRST_WAIT_MS: u64 = 30_000;
const LONGEST_WAIT_MS: u64 = 15 * 60_000;

/// What follows for the run when the gateway has given a call up. `failures` are those in a row,
/// this one included; `until_ms` is when the provider opens again, where it said so (milliseconds
/// since 1970); `judged` is what the policies say of a request that is refused as it is.
pub fn after_failure(
    failure: &ModelFailure,
    failures: u32,
    now_ms: u64,
    until_ms: Option<u64>,
    judged: Policy,
) -> (Policy, Option<u64>) {
    match failure.kind {
        FailureKind::ContextOverflow | FailureKind::ContentPolicy => {
            (Policy::RetryWithEvidence, None)
        }
        FailureKind::Invalid | FailureKind::NotFound => match judged {
            Policy::OtherAgent => (Policy::OtherAgent, None),
            Policy::RetryWithEvidence
            | Policy::Wait { .. }
            | Policy::Stop
            | Policy::Ask
            | Policy::CutOff => (Policy::Stop, None),
        },
        FailureKind::Auth => (Policy::Ask, None),
        FailureKind::Quota if until_ms.is_none() => (Policy::Ask, None),
        // A night is long, and a provider comes back.
        FailureKind::Quota
        | FailureKind::RateLimit
        | FailureKind::Overloaded
        | FailureKind::Transient
        | FailureKind::Network
        | FailureKind::Timeout
        | FailureKind::Protocol
        | FailureKind::Cancelled => {
            if failures > WAITS {
                return (Policy::Ask, None);
            }
            let doublings = failures.saturating_sub(1).min(10);
            let usual = (FIRST_WAIT_MS << doublings).min(LONGEST_WAIT_MS);
            let until_ms = until_ms.unwrap_or_else(|| now_ms.saturating_add(usual));
            let delay_ms = until_ms.saturating_sub(now_ms);
            (Policy::Wait { delay_ms }, Some(until_ms))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_eight_seconds_and_a_hint_stands_above() {
        let busy = ModelFailure::of(FailureKind::Overloaded, "busy");
        let waits: Vec<_> = (1..=7).map(|n| retry_ms(&busy, n, 6, 0.0)).collect();
        let expected = [500, 1_000, 2_000, 4_000, 8_000, 8_000].map(Some);
        assert_eq!(waits[..6], expected);
        assert_eq!(waits[6], None);
        assert_eq!(retry_ms(&busy, 1, 2, 1.0), Some(375));
        let hinted = ModelFailure { retry_after_ms: Some(90_000), ..busy };
        assert_eq!(retry_ms(&hinted, 1, 2, 1.0), Some(90_000));
    }

    #[test]
    fn the_header_stands_above_the_kind_but_not_above_money() {
        let said = |kind, should_retry| ModelFailure {
            should_retry: Some(should_retry),
            ..ModelFailure::of(kind, "x")
        };
        assert_eq!(retry_ms(&said(FailureKind::Transient, false), 1, 2, 0.0), None);
        assert_eq!(retry_ms(&said(FailureKind::Invalid, true), 1, 2, 0.0), Some(500));
        assert_eq!(retry_ms(&said(FailureKind::Quota, true), 1, 2, 0.0), None);
        for kind in [FailureKind::Auth, FailureKind::NotFound, FailureKind::ContextOverflow] {
            assert_eq!(retry_ms(&ModelFailure::of(kind, "x"), 1, 2, 0.0), None, "{kind}");
        }
    }

    #[test]
    fn a_run_waits_for_the_world_and_asks_for_money_and_keys() {
        let after = |kind, failures, until_ms| {
            after_failure(
                &ModelFailure::of(kind, "x"),
                failures,
                1_000,
                until_ms,
                Policy::OtherAgent,
            )
        };
        let wait = |delay_ms| (Policy::Wait { delay_ms }, Some(1_000 + delay_ms));
        assert_eq!(after(FailureKind::Network, 1, None), wait(30_000));
        assert_eq!(after(FailureKind::Overloaded, 7, None), wait(900_000));
        assert_eq!(after(FailureKind::RateLimit, 3, Some(8_000)), wait(7_000));
        assert_eq!(after(FailureKind::Timeout, 13, None), (Policy::Ask, None));
        assert_eq!(after(FailureKind::Auth, 1, None), (Policy::Ask, None));
        assert_eq!(after(FailureKind::Quota, 1, None), (Policy::Ask, None));
        assert_eq!(after(FailureKind::Quota, 1, Some(8_000)), wait(7_000));
        assert_eq!(after(FailureKind::NotFound, 1, None), (Policy::OtherAgent, None));
        assert_eq!(after(FailureKind::ContextOverflow, 1, None).0, Policy::RetryWithEvidence);
    }
}
