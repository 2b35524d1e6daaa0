//! What follows a failure: one table, by category.
//!
//! Three rules stand above the table. What may have reached others is never blindly done again.
//! Two identical failures in a row forbid a third identical attempt. And every retry has a limit,
//! after which the table's last word counts. Waiting for a foreign system is no identical attempt,
//! since the world moves on meanwhile; its own limit ends it.

use super::{Category, ErrorClass, Policy};
use crate::status::Priority;
use crate::tool::EffectClass;

/// The first wait, and the longest one, in milliseconds.
const FIRST_MS: u64 = 1_000;
const LONGEST_MS: u64 = 60_000;

/// What is known of the attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The widest effect that the failed step could have had.
    pub effect: EffectClass,
    /// How many failures of this category in a row the task has had, this one included.
    pub failures: u32,
    /// How many failures in a row, this one included, had this very fingerprint.
    pub identical: u32,
    /// Whether anything changed for the better since the attempt before.
    pub progress: bool,
    /// Whether another agent could take over.
    pub other_agent: bool,
    /// Milliseconds that the foreign system asked for.
    pub retry_after_ms: Option<u64>,
}

impl Attempt {
    /// A first failure of a step that stayed inside the workspace, with no other agent at hand.
    pub const fn first() -> Self {
        Self {
            effect: EffectClass::Workspace,
            failures: 1,
            identical: 1,
            progress: false,
            other_agent: false,
            retry_after_ms: None,
        }
    }
}

/// A move of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Move {
    Evidence,
    Wait,
    Other,
    Stop,
    Ask,
}

#[expect(clippy::match_same_arms, reason = "a table, in the order of the vocabulary")]
/// A row of the table: what is done first, how often at most, and what then.
const fn row(category: Category) -> (Move, u32, Move) {
    match category {
        Category::ProviderTransient => (Move::Wait, 5, Move::Other),
        Category::ProviderRateLimit => (Move::Wait, 10, Move::Other),
        // No attempt mends a key, a quota or a rule; the user does.
        Category::ProviderAuth
        | Category::Budget
        | Category::SandboxDenied
        | Category::LogicWrong => (Move::Ask, 0, Move::Ask),
        Category::ProviderInvalid => (Move::Other, 1, Move::Stop),
        Category::ContextOverflow => (Move::Evidence, 1, Move::Other),
        Category::ModelOutput => (Move::Evidence, 2, Move::Other),
        Category::ToolMisuse => (Move::Evidence, 3, Move::Other),
        Category::EnvMissing => (Move::Evidence, 1, Move::Ask),
        Category::DependencyResolution => (Move::Evidence, 2, Move::Ask),
        Category::BuildCompile
        | Category::BuildType
        | Category::Lint
        | Category::TestAssertion
        | Category::ProgramCrash => (Move::Evidence, 3, Move::Other),
        Category::TestFlaky => (Move::Evidence, 2, Move::Ask),
        Category::MergeConflict => (Move::Evidence, 2, Move::Ask),
        Category::VcsTransient => (Move::Wait, 5, Move::Stop),
        Category::TimeoutIdle | Category::TimeoutHard => (Move::Evidence, 1, Move::Stop),
        Category::ResourceMemory => (Move::Wait, 1, Move::Stop),
        Category::ResourceDisk => (Move::Wait, 1, Move::Ask),
        Category::InfraDatabase => (Move::Wait, 5, Move::Stop),
        Category::RuntimeBug => (Move::Wait, 2, Move::Stop),
        Category::AgentLoop | Category::AgentStuck => (Move::Other, 1, Move::Stop),
        Category::AgentFalseSuccess => (Move::Evidence, 3, Move::Other),
        Category::Unknown => (Move::Evidence, 1, Move::Other),
    }
}

/// What follows a failure of this category, by what the attempt was.
pub fn policy(category: Category, attempt: &Attempt) -> Policy {
    let (first, limit, last) = row(category);
    // What another one saw of it cannot be taken back, so a person decides.
    if attempt.effect == EffectClass::External
        && matches!(first, Move::Evidence | Move::Wait | Move::Other)
    {
        return Policy::Ask;
    }
    let stale = attempt.identical >= 2 && first != Move::Wait;
    // More time helps only what was on its way.
    let hopeless =
        matches!(category, Category::TimeoutIdle | Category::TimeoutHard) && !attempt.progress;
    let next = if attempt.failures > limit || stale || hopeless { last } else { first };
    match next {
        Move::Evidence => Policy::RetryWithEvidence,
        Move::Wait => Policy::Wait {
            delay_ms: attempt.retry_after_ms.unwrap_or_else(|| backoff_ms(attempt.failures)),
        },
        // The same agent again would be the identical attempt.
        Move::Other if attempt.other_agent => Policy::OtherAgent,
        Move::Other | Move::Stop => Policy::Stop,
        Move::Ask => Policy::Ask,
    }
}

/// The wait before the attempt that follows the n-th failure (from 1), in milliseconds: doubled
/// each time, at most a minute.
pub const fn backoff_ms(failures: u32) -> u64 {
    let doublings = if failures == 0 { 0 } else { failures - 1 };
    if doublings >= 6 { LONGEST_MS } else { FIRST_MS << doublings }
}

/// `backoff_ms` spread by `jitter_unit` (0 to 1) over its upper half, so that those who failed
/// together do not come back together, and throttled ones not at once.
pub fn delay_ms(failures: u32, jitter_unit: f64) -> u64 {
    let half = backoff_ms(failures) / 2;
    let unit = if jitter_unit.is_finite() { jitter_unit.clamp(0.0, 1.0) } else { 1.0 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between 0 and 30000"
    )]
    let spread = (half as f64 * unit) as u64;
    half + spread
}

impl Category {
    /// The schema's class of this category.
    pub const fn class(self) -> ErrorClass {
        match self {
            Self::BuildCompile | Self::BuildType | Self::Lint => ErrorClass::SyntaxError,
            Self::TestAssertion
            | Self::LogicWrong
            | Self::AgentFalseSuccess
            | Self::AgentLoop
            | Self::AgentStuck => ErrorClass::LogicError,
            Self::TestFlaky | Self::RuntimeBug | Self::ProgramCrash | Self::ToolMisuse => {
                ErrorClass::RuntimeError
            }
            Self::TimeoutIdle | Self::TimeoutHard => ErrorClass::PerformanceIssue,
            Self::SandboxDenied | Self::EnvMissing | Self::ProviderAuth => {
                ErrorClass::ConfigurationError
            }
            Self::DependencyResolution => ErrorClass::DependencyIssue,
            Self::ProviderTransient
            | Self::ProviderInvalid
            | Self::ModelOutput
            | Self::VcsTransient
            | Self::InfraDatabase => ErrorClass::IntegrationFailure,
            Self::MergeConflict => ErrorClass::DataInconsistency,
            Self::ProviderRateLimit
            | Self::Budget
            | Self::ContextOverflow
            | Self::ResourceMemory
            | Self::ResourceDisk => ErrorClass::ResourceExhaustion,
            Self::Unknown => ErrorClass::Unknown,
        }
    }

    /// How bad a failure of this category is: by what it stops beyond its own task.
    pub const fn severity(self) -> Priority {
        match self {
            // Nothing works any more until a person acts.
            Self::ResourceDisk | Self::RuntimeBug => Priority::Critical,
            Self::InfraDatabase | Self::ProviderAuth | Self::Budget => Priority::Urgent,
            Self::SandboxDenied
            | Self::ResourceMemory
            | Self::EnvMissing
            | Self::AgentFalseSuccess
            | Self::ProgramCrash => Priority::High,
            Self::ProviderInvalid
            | Self::ContextOverflow
            | Self::DependencyResolution
            | Self::BuildCompile
            | Self::BuildType
            | Self::TestAssertion
            | Self::MergeConflict
            | Self::TimeoutIdle
            | Self::TimeoutHard
            | Self::AgentLoop
            | Self::AgentStuck
            | Self::LogicWrong
            | Self::Unknown => Priority::Normal,
            Self::ProviderTransient
            | Self::ProviderRateLimit
            | Self::ModelOutput
            | Self::ToolMisuse
            | Self::Lint
            | Self::TestFlaky
            | Self::VcsTransient => Priority::Low,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn effects() -> impl Strategy<Value = EffectClass> {
        proptest::sample::select(EffectClass::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn no_policy_goes_on_for_ever(other_agent: bool, progress: bool, effect in effects()) {
            for category in Category::ALL {
                let attempt = Attempt { effect, failures: 11, identical: 1, progress, other_agent, retry_after_ms: None };
                let policy = policy(*category, &attempt);
                prop_assert!(!matches!(policy, Policy::RetryWithEvidence | Policy::Wait { .. }), "{category} {policy:?}");
            }
        }

        #[test]
        fn two_identical_failures_forbid_a_third(failures in 2_u32..9, progress: bool, other_agent: bool) {
            for category in Category::ALL {
                let attempt = Attempt { failures, identical: 2, progress, other_agent, ..Attempt::first() };
                prop_assert_ne!(policy(*category, &attempt), Policy::RetryWithEvidence);
            }
        }

        #[test]
        fn what_reached_others_is_not_done_again(failures in 1_u32..9, identical in 1_u32..3) {
            for category in Category::ALL {
                let attempt = Attempt { effect: EffectClass::External, failures, identical, other_agent: true, ..Attempt::first() };
                prop_assert!(matches!(policy(*category, &attempt), Policy::Ask | Policy::Stop));
            }
        }

        #[test]
        fn waits_grow_and_stay_bounded(failures: u32, unit in 0.0..=1.0) {
            let delay = delay_ms(failures, unit);
            prop_assert!(delay >= backoff_ms(failures) / 2 && delay <= backoff_ms(failures) && delay <= LONGEST_MS);
            prop_assert!(backoff_ms(failures.saturating_add(1)) >= backoff_ms(failures));
        }
    }

    #[test]
    fn the_table_in_words() {
        let first = Attempt::first();
        assert_eq!(policy(Category::TestAssertion, &first), Policy::RetryWithEvidence);
        assert_eq!(
            policy(Category::ProviderTransient, &Attempt { failures: 3, identical: 3, ..first }),
            Policy::Wait { delay_ms: 4_000 }
        );
        let hinted = Attempt { retry_after_ms: Some(90_000), ..first };
        assert_eq!(policy(Category::ProviderRateLimit, &hinted), Policy::Wait { delay_ms: 90_000 });
        assert_eq!(policy(Category::TimeoutHard, &first), Policy::Stop);
        assert_eq!(
            policy(Category::TimeoutHard, &Attempt { progress: true, ..first }),
            Policy::RetryWithEvidence
        );
        assert_eq!(
            policy(Category::BuildType, &Attempt { failures: 4, other_agent: true, ..first }),
            Policy::OtherAgent
        );
        assert_eq!(policy(Category::Budget, &first), Policy::Ask);
        assert_eq!(
            [backoff_ms(0), backoff_ms(1), backoff_ms(6), backoff_ms(7)],
            [1_000, 1_000, 32_000, 60_000]
        );
        assert_eq!(
            [delay_ms(2, 0.0), delay_ms(2, 1.0), delay_ms(2, f64::NAN)],
            [1_000, 2_000, 2_000]
        );
    }
}
