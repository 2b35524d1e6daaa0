//! A run is driven here by its own answers, as the executor does it, against random journals.

use proptest::prelude::*;

use super::*;
use crate::check::CheckPlan;
use crate::driver::Assignment;
use crate::status::DriverKind;
use crate::tool::{Ended, Exec, Tool, ToolResult};

fn started(limits: Limits) -> Entry {
    Entry::Started {
        driver: DriverKind::Command,
        assignment: Box::new(Assignment {
            prompt: "mend it".into(),
            workspace: "/w".into(),
            ..Assignment::default()
        }),
        plan: CheckPlan::default(),
        limits,
        base_commit: "c0".into(),
        confined: true,
        forbidden: vec![],
        uncommitted: 0,
    }
}

fn call(number: u32) -> ToolCall {
    ToolCall {
        call_id: format!("c{number}"),
        title: "true".into(),
        tool: Tool::Exec(Exec { argv: vec!["true".into()], ..Exec::default() }),
    }
}

fn intent(number: u32, effect: EffectClass) -> Entry {
    Entry::ToolIntent { call: call(number), effect }
}

fn result(number: u32) -> Entry {
    ended(number, Ended::Exited { code: 0 })
}

fn ended(number: u32, ended: Ended) -> Entry {
    Entry::ToolResult {
        result: ToolResult {
            call_id: format!("c{number}"),
            ended,
            head: String::new(),
            tail: None,
            output_bytes: 10,
            duration_ms: 1,
            changed: true,
        },
    }
}

fn verification(verified: bool, checked: bool, policy: Policy, files_changed: usize) -> Entry {
    Entry::Verification {
        tree: "t1".into(),
        verdict: Verdict {
            verified,
            checked,
            checks: vec![],
            newly_failing: vec![],
            newly_passing: vec![],
            missing: vec![],
            edited_tests: vec![],
            edited_checks: vec![],
            reasons: if verified { vec![] } else { vec!["cargo test fails".into()] },
        },
        checks: vec![],
        failures: vec![],
        policy,
        evidence: "it fails".into(),
        files_changed,
    }
}

fn done(finished: bool) -> Entry {
    Entry::ClaimedDone { finished, summary: "done".into() }
}

fn next_after(entries: &[Entry]) -> Next {
    Run::from_journal(entries).next(0, Wishes::default())
}

#[test]
fn a_call_without_a_result_is_recovered_by_its_class() {
    for (effect, recovery) in [
        (EffectClass::Read, Recovery::RunAgain),
        (EffectClass::Workspace, Recovery::RestoreAndRunAgain),
        (EffectClass::Open, Recovery::ReportInterrupted),
    ] {
        assert_eq!(
            next_after(&[started(Limits::default()), intent(1, effect)]),
            Next::Recover { call: call(1), recovery }
        );
    }
}

#[test]
fn done_by_its_word_is_not_verified() {
    let mut journal = vec![started(Limits::default()), done(true)];
    assert_eq!(next_after(&journal), Next::Verify);
    journal.push(verification(false, true, Policy::RetryWithEvidence, 1));
    assert_eq!(next_after(&journal), Next::NextRound { round: 2, evidence: "it fails".into() });
    journal.push(Entry::RoundStarted { round: 2, evidence: "it fails".into() });
    assert_eq!(next_after(&journal), Next::Act);
    journal.extend([intent(1, EffectClass::Workspace), result(1), done(true)]);
    assert_eq!(next_after(&journal), Next::Verify);
    journal.push(verification(true, true, Policy::Stop, 1));
    assert_eq!(next_after(&journal), Next::Deliver);
    journal.push(Entry::Delivered {
        branch: Some("b".into()),
        commit: Some("c".into()),
        patch: None,
    });
    assert_eq!(next_after(&journal), Next::Conclude(Outcome::Verified));
}

#[test]
fn an_empty_change_that_passes_is_verified_without_a_branch() {
    let journal =
        [started(Limits::default()), done(true), verification(true, true, Policy::Stop, 0)];
    assert_eq!(next_after(&journal), Next::Conclude(Outcome::Verified));
}

#[test]
fn an_empty_change_is_nothing_where_the_driver_did_not_finish() {
    let gave_up = Entry::ClaimedDone { finished: false, summary: "p: no such program".into() };
    let failed = Next::Conclude(Outcome::Failed {
        reason: "p: no such program".into(),
        policy: Policy::OtherAgent,
    });
    for checked in [true, false] {
        let judged = verification(checked, checked, Policy::Ask, 0);
        let journal = [started(Limits::default()), gave_up.clone(), judged];
        let run = Run::from_journal(&journal);
        assert_eq!(run.next(0, Wishes { allow_unverified: true }), failed);
        assert_eq!((run.next(0, Wishes::default()), run.claim()), (failed.clone(), Some(false)));
    }
    // What it mended before it could do no more is a change like any other.
    let journal = [started(Limits::default()), gave_up, verification(true, true, Policy::Stop, 1)];
    assert_eq!(next_after(&journal), Next::Deliver);

    for (hit, outcome) in [
        (
            LimitHit::WallTime { limit_ms: 1000 },
            Outcome::TimedOut { reason: "the time limit of 1 s is reached".into() },
        ),
        (
            LimitHit::Steps { limit: 2 },
            Outcome::Failed {
                reason: "the limit of 2 steps is reached".into(),
                policy: Policy::Stop,
            },
        ),
    ] {
        let judged = verification(true, true, Policy::Stop, 0);
        let journal = [started(Limits::default()), Entry::LimitReached { hit }, judged];
        assert_eq!(next_after(&journal), Next::Conclude(outcome));
    }
}

#[test]
fn what_a_crash_cut_off_is_tried_again() {
    let cut = [
        started(Limits { rounds: 1, ..Limits::default() }),
        intent(1, EffectClass::Open),
        ended(1, Ended::Interrupted),
        Entry::ClaimedDone { finished: false, summary: "p was interrupted".into() },
    ];
    // Half of a program's work may well pass: it is not even judged.
    let outcome = Outcome::Failed { reason: "p was interrupted".into(), policy: Policy::CutOff };
    assert_eq!(next_after(&cut), Next::Conclude(outcome));
    // A driver that went on by itself has its result.
    let [first, second, third, _] = cut;
    let went_on = [first, second, third, done(true), verification(true, true, Policy::Stop, 1)];
    assert_eq!(next_after(&went_on), Next::Deliver);
}

#[test]
fn the_wish_for_unchecked_work_covers_missing_checks_alone() {
    let mut judged = verification(false, false, Policy::Ask, 1);
    let Entry::Verification { verdict, .. } = &mut judged else { panic!() };
    verdict.reasons.push("secret.txt is changed, which the repository forbids".into());
    let run = Run::from_journal(&[started(Limits::default()), done(true), judged]);
    assert_eq!(run.next(0, Wishes { allow_unverified: true }), Next::AwaitApproval);
}

#[test]
fn a_round_that_changed_nothing_is_not_judged_again() {
    let journal = [
        started(Limits::default()),
        done(false),
        verification(false, true, Policy::RetryWithEvidence, 0),
        Entry::RoundStarted { round: 2, evidence: "it fails".into() },
        done(false),
    ];
    assert_eq!(
        next_after(&journal),
        Next::Conclude(Outcome::Failed {
            reason: "cargo test fails".into(),
            policy: Policy::OtherAgent
        })
    );
}

#[test]
fn without_any_check_the_user_decides() {
    let mut journal =
        vec![started(Limits::default()), done(true), verification(false, false, Policy::Ask, 1)];
    assert_eq!(next_after(&journal), Next::AwaitApproval);
    let run = Run::from_journal(&journal);
    assert_eq!(run.next(0, Wishes { allow_unverified: true }), Next::Deliver);
    journal.push(Entry::Approved);
    assert_eq!(next_after(&journal), Next::Deliver);
    journal.push(Entry::Delivered { branch: None, commit: None, patch: Some("p".into()) });
    assert_eq!(next_after(&journal), Next::Conclude(Outcome::Unverified));
}

#[test]
fn time_ends_the_acting_and_what_is_there_is_still_judged() {
    let limits = Limits { wall_time_ms: 1000, ..Limits::default() };
    let mut journal = vec![started(limits)];
    let hit = LimitHit::WallTime { limit_ms: 1000 };
    assert_eq!(Run::from_journal(&journal).next(1000, Wishes::default()), Next::Stop(hit));
    journal.push(Entry::LimitReached { hit });
    assert_eq!(next_after(&journal), Next::Verify);
    journal.push(verification(false, true, Policy::RetryWithEvidence, 1));
    assert_eq!(
        next_after(&journal),
        Next::Conclude(Outcome::TimedOut { reason: "the time limit of 1 s is reached".into() })
    );
}

/// Plays the executor: answers every `Next` with an entry chosen by `choices`.
fn play(choices: &[u8], limits: &Limits) -> (Vec<Entry>, Next) {
    let mut journal = Vec::new();
    let mut run = Run::from_journal(&journal);
    for (number, choice) in (1u32..).zip(choices) {
        let entry = match run.next(0, Wishes { allow_unverified: choice % 2 == 0 }) {
            Next::Prepare => started(limits.clone()),
            Next::Recover { call, .. } => Entry::ToolResult {
                result: ToolResult {
                    call_id: call.call_id,
                    ended: if choice % 5 == 0 {
                        Ended::Interrupted
                    } else {
                        Ended::Exited { code: i32::from(*choice) }
                    },
                    head: String::new(),
                    tail: None,
                    output_bytes: 1,
                    duration_ms: 1,
                    changed: false,
                },
            },
            Next::Act if *choice < 160 => intent(number, EffectClass::Workspace),
            Next::Act => done(choice % 2 == 0),
            Next::Stop(hit) => Entry::LimitReached { hit },
            Next::PutAside(_) => Entry::Resumed { limits: limits.clone() },
            Next::Verify => verification(
                *choice > 200,
                *choice > 20,
                if *choice % 3 == 0 { Policy::Stop } else { Policy::RetryWithEvidence },
                usize::from(choice % 4),
            ),
            Next::NextRound { round, evidence } => Entry::RoundStarted { round, evidence },
            Next::AwaitApproval => Entry::Approved,
            Next::Deliver => Entry::Delivered { branch: None, commit: None, patch: None },
            Next::Conclude(outcome) => Entry::Outcome { outcome },
            Next::Ended(_) => break,
        };
        run.apply(&entry);
        journal.push(entry);
    }
    let next = run.next(0, Wishes::default());
    (journal, next)
}

proptest! {
    #[test]
    fn every_run_ends_within_its_limits_and_is_the_fold_of_its_journal(
        choices in proptest::collection::vec(any::<u8>(), 200..220),
        steps in 1u32..20,
        rounds in 1u32..4,
    ) {
        let limits = Limits { steps, rounds, ..Limits::default() };
        let (journal, last) = play(&choices, &limits);
        prop_assert!(matches!(last, Next::Ended(_)), "{last:?}");
        let count = |kind: &str| journal.iter().filter(|entry| entry.kind() == kind).count();
        prop_assert!(count("tool_intent") <= steps as usize);
        prop_assert_eq!(count("tool_intent"), count("tool_result"));
        prop_assert!(count("round_started") < rounds as usize);
        prop_assert!(count("delivered") <= 1);
        prop_assert_eq!(count("outcome"), 1);
        for cut in 0..journal.len() {
            let replayed = Run::from_journal(&journal[..cut]);
            let mut stepped = Run::from_journal(&journal[..0]);
            for entry in &journal[..cut] {
                stepped.apply(entry);
            }
            prop_assert_eq!(replayed, stepped);
        }
    }

    #[test]
    fn nothing_counts_as_done_that_was_neither_changed_nor_claimed(
        choices in proptest::collection::vec(any::<u8>(), 200..220),
        steps in 1u32..20,
    ) {
        let (journal, _) = play(&choices, &Limits { steps, ..Limits::default() });
        let completed = journal.iter().any(|entry| {
            matches!(entry, Entry::Outcome { outcome: Outcome::Verified | Outcome::Unverified })
        });
        let claimed = journal.iter().rev().find_map(|entry| {
            if let Entry::ClaimedDone { finished, .. } = entry {
                return Some(*finished);
            }
            (entry.kind() == "limit_reached").then_some(false)
        });
        let delivered = journal.iter().any(|entry| entry.kind() == "delivered");
        prop_assert!(!completed || delivered || claimed == Some(true), "{journal:?}");
    }

    #[test]
    fn nothing_is_delivered_that_is_neither_verified_nor_allowed(
        choices in proptest::collection::vec(any::<u8>(), 200..220),
    ) {
        let (journal, _) = play(&choices, &Limits::default());
        for (index, entry) in journal.iter().enumerate() {
            if entry.kind() != "delivered" {
                continue;
            }
            let judged = journal[..index].iter().rev().find_map(|entry| {
                if let Entry::Verification { verdict, .. } = entry { Some(verdict) } else { None }
            });
            prop_assert!(judged.is_some_and(|verdict| verdict.verified || !verdict.checked));
        }
    }
}

mod with_a_model {
    //! A run whose driver asks a model.

    use super::*;
    use crate::model::{ModelFailure, ModelTurn, Stop, TokenUsage};

    fn native(limits: Limits) -> Entry {
        let mut entry = started(limits);
        if let Entry::Started { driver, .. } = &mut entry {
            *driver = DriverKind::Native;
        }
        entry
    }

    fn request() -> Entry {
        Entry::ModelRequest {
            hash: "h".into(),
            model: "m".into(),
            max_output_tokens: 10,
            input_tokens: 10,
        }
    }

    fn response(tokens: u64, cost_nanousd: u64) -> Entry {
        Entry::ModelResponse {
            turn: ModelTurn {
                id: String::new(),
                model: "m".into(),
                text: "words".into(),
                calls: vec![],
                stop: Stop::End,
                usage: TokenUsage { output: tokens, ..TokenUsage::default() },
                usage_known: true,
                items: vec![],
            },
            cost_nanousd: Some(cost_nanousd),
            price_version: None,
            attempts: 2,
            duration_ms: 1,
            elapsed_ms: 1,
            failed_nanousd: 5,
            failed_tokens: 7,
        }
    }

    fn failed(kind: FailureKind, policy: Policy, until_ms: Option<u64>) -> Entry {
        Entry::ModelFailed {
            failure: ModelFailure::of(kind, "it is so"),
            policy,
            until_ms,
            cost_nanousd: 3,
            tokens: 4,
        }
    }

    #[test]
    fn a_request_is_open_until_it_is_answered_and_everything_is_counted() {
        let mut run = Run::from_journal(&[native(Limits::default()), request()]);
        assert_eq!((run.open_request(), run.next(0, Wishes::default())), (Some("h"), Next::Act));
        run.apply(&response(100, 50));
        assert_eq!(run.open_request(), None);
        assert_eq!((run.usage().tokens, run.usage().cost_nanousd), (107, 55));
        run.apply(&request());
        run.apply(&failed(FailureKind::ContextOverflow, Policy::RetryWithEvidence, None));
        assert_eq!((run.open_request(), run.model_failures()), (None, 1));
        assert_eq!((run.usage().tokens, run.usage().cost_nanousd), (111, 58));
        assert_eq!(run.next(0, Wishes::default()), Next::Act);
    }

    #[test]
    fn a_limit_puts_a_model_aside_and_more_room_lets_it_go_on() {
        let limits = Limits { cost_nanousd: Some(50), ..Limits::default() };
        let mut run = Run::from_journal(&[native(limits.clone()), response(1, 45)]);
        let hit = LimitHit::Cost { limit_nanousd: 50 };
        assert_eq!(run.next(0, Wishes::default()), Next::Stop(hit));
        run.apply(&Entry::LimitReached { hit });
        let Next::PutAside(aside) = run.next(0, Wishes::default()) else { panic!("{run:?}") };
        assert_eq!((aside.waiting_for, aside.until_ms), (WaitingFor::Budget, None));
        assert!(!aside.is_over(u64::MAX, &limits, true), "a word is no money");
        let more = Limits { cost_nanousd: Some(60), ..limits.clone() };
        assert!(aside.is_over(0, &more, false));
        assert!(aside.is_over(0, &Limits { cost_nanousd: None, ..limits }, false));
        run.apply(&Entry::Resumed { limits: more });
        assert_eq!(run.next(0, Wishes::default()), Next::Act);
    }

    #[test]
    fn a_failed_call_waits_asks_or_ends_the_run() {
        let after = |kind, policy, until_ms| {
            let journal = [native(Limits::default()), request(), failed(kind, policy, until_ms)];
            next_after(&journal)
        };
        let aside = |waiting_for, until_ms| {
            Next::PutAside(Aside { waiting_for, until_ms, hit: None, reason: "it is so".into() })
        };
        let wait = Policy::Wait { delay_ms: 5 };
        for (kind, policy, until_ms, expected) in [
            (FailureKind::RateLimit, wait, Some(9), aside(WaitingFor::RateLimit, Some(9))),
            (FailureKind::Network, wait, Some(9), aside(WaitingFor::Provider, Some(9))),
            (FailureKind::Quota, wait, Some(9), aside(WaitingFor::Budget, Some(9))),
            (FailureKind::Quota, Policy::Ask, Some(9), aside(WaitingFor::Budget, None)),
            (FailureKind::Auth, Policy::Ask, None, aside(WaitingFor::Input, None)),
        ] {
            assert_eq!(after(kind, policy, until_ms), expected, "{kind}");
        }
        let outcome = Outcome::Failed { reason: "it is so".into(), policy: Policy::Stop };
        assert_eq!(after(FailureKind::NotFound, Policy::Stop, None), Next::Conclude(outcome));
    }

    #[test]
    fn a_wait_is_over_in_time_and_a_question_when_the_user_says_so() {
        let aside = |until_ms| Aside {
            waiting_for: WaitingFor::Provider,
            until_ms,
            hit: None,
            reason: String::new(),
        };
        let over = |until_ms, now_ms, user_said| {
            aside(until_ms).is_over(now_ms, &Limits::default(), user_said)
        };
        assert!(!over(Some(9), 8, false) && over(Some(9), 9, false) && over(Some(9), 0, true));
        assert!(!over(None, u64::MAX, false) && over(None, 0, true));
    }

    #[test]
    fn reads_that_a_crash_left_open_are_done_again_one_by_one() {
        let read = |number| intent(number, EffectClass::Read);
        let mut journal = vec![native(Limits::default()), read(1), read(2), read(3), result(1)];
        let again = |number| Next::Recover { call: call(number), recovery: Recovery::RunAgain };
        assert_eq!(next_after(&journal), again(2));
        journal.push(result(2));
        assert_eq!(next_after(&journal), again(3));
        journal.push(result(3));
        assert_eq!(next_after(&journal), Next::Act);
    }

    #[test]
    fn a_model_that_gave_up_gets_no_second_round_of_the_same() {
        let journal = [
            native(Limits::default()),
            Entry::ClaimedDone { finished: false, summary: "it turns in a circle".into() },
            verification(false, true, Policy::RetryWithEvidence, 0),
        ];
        let reason = "it turns in a circle; cargo test fails".to_owned();
        let outcome = Outcome::Failed { reason, policy: Policy::OtherAgent };
        assert_eq!(next_after(&journal), Next::Conclude(outcome));
    }
}

#[test]
fn a_clock_that_jumped_back_ends_a_wait() {
    const HOUR_MS: u64 = 3_600_000;
    let waiting = Aside {
        waiting_for: WaitingFor::RateLimit,
        until_ms: Some(48 * HOUR_MS),
        hit: None,
        reason: String::new(),
    };
    // Put aside for an hour.
    let at_ms = 47 * HOUR_MS;
    let jumped = |now_ms| waiting.is_of_another_clock(at_ms, now_ms);
    assert_eq!([at_ms, at_ms + 1, 48 * HOUR_MS, 60 * HOUR_MS].map(jumped), [false; 4]);
    assert!(!jumped(at_ms - CLOCK_SLACK_MS), "clocks differ a little");
    assert!(jumped(23 * HOUR_MS), "a day back");
    let user = Aside { until_ms: None, ..waiting };
    assert!(!user.is_of_another_clock(at_ms, 0), "the user has no clock");
}

#[test]
fn what_the_machine_refuses_is_next_again() {
    let mut run = Run::from_journal(&[started(Limits::default())]);
    let before = run.next(0, Wishes::default());
    // Others take the room: for as long as they do.
    let waits = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000];
    for wait in waits {
        assert_eq!(run.refused(false), Some(wait));
        run.apply(&Entry::Refused { reason: "full".into(), until_ms: Some(wait) });
        assert_eq!(run.next(0, Wishes::default()), before);
    }
    assert_eq!(run.refused(true), None, "it fills the disk itself, again");
    run.apply(&Entry::Approved);
    assert_eq!(run.refused(true), Some(1_000), "the first time");
}
