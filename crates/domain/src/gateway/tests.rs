//! The gateway is driven here through its inputs, as its shell does it.

use proptest::prelude::*;

use super::*;

const SETTINGS: Settings = Settings { patience_ms: 60_000, daily_nanousd: None };

fn asked(provider: &str) -> Asked {
    Asked {
        provider: provider.into(),
        max_concurrent: 2,
        retries: 2,
        failures: 0,
        not_before_ms: None,
        reserve_nanousd: 100,
    }
}

fn ask(state: &mut State, now_ms: u64, call: CallId) -> Vec<Effect> {
    step(state, &SETTINGS, now_ms, Input::Asked { call, asked: asked("p") })
}

fn failed(call: CallId, failure: ModelFailure) -> Input {
    Input::Failed { call, failure, cost_nanousd: 0, closed_for: None, jitter_unit: 0.0 }
}

fn busy() -> ModelFailure {
    ModelFailure::of(FailureKind::Overloaded, "busy")
}

#[test]
fn a_failed_try_is_written_waited_for_and_tried_again_until_the_tries_are_used_up() {
    let mut state = State::new(0, 0);
    assert_eq!(ask(&mut state, 0, 1), [Effect::Try { call: 1, attempt: 1 }]);
    let effects = step(&mut state, &SETTINGS, 10, failed(1, busy()));
    assert_eq!(effects, [Effect::Record { call: 1, next_ms: 510 }]);
    // Nothing goes out before the row is written, even where the time has come.
    assert_eq!(step(&mut state, &SETTINGS, 600, Input::TimeUp), []);
    let effects = step(&mut state, &SETTINGS, 500, Input::Recorded { call: 1 });
    assert_eq!(effects, [Effect::WakeAt(510)]);
    let effects = step(&mut state, &SETTINGS, 510, Input::TimeUp);
    assert_eq!(effects, [Effect::Try { call: 1, attempt: 2 }]);
    step(&mut state, &SETTINGS, 520, failed(1, busy()));
    step(&mut state, &SETTINGS, 521, Input::Recorded { call: 1 });
    let effects = step(&mut state, &SETTINGS, 1_520, Input::TimeUp);
    assert_eq!(effects, [Effect::Try { call: 1, attempt: 3 }]);
    let effects = step(&mut state, &SETTINGS, 1_600, failed(1, busy()));
    assert_eq!(effects, [Effect::GiveUp { call: 1, failure: busy(), until_ms: None }]);
    assert_eq!(state.counts(), (0, 0));
}

#[test]
fn what_the_rows_say_is_not_forgotten_by_a_restart() {
    let mut state = State::new(0, 0);
    let asked = Asked { failures: 2, not_before_ms: Some(5_000), ..asked("p") };
    let effects = step(&mut state, &SETTINGS, 1_000, Input::Asked { call: 1, asked });
    assert_eq!(effects, [Effect::WakeAt(5_000)]);
    let effects = step(&mut state, &SETTINGS, 5_000, Input::TimeUp);
    assert_eq!(effects, [Effect::Try { call: 1, attempt: 3 }]);
}

#[test]
fn a_provider_that_asks_to_wait_is_left_alone_by_everybody() {
    let mut state = State::new(0, 0);
    ask(&mut state, 0, 1);
    let limited = ModelFailure {
        retry_after_ms: Some(3_000),
        ..ModelFailure::of(FailureKind::RateLimit, "slow")
    };
    step(&mut state, &SETTINGS, 0, failed(1, limited.clone()));
    assert_eq!(ask(&mut state, 10, 2), [Effect::WakeAt(3_000)]);
    let other = Input::Asked { call: 3, asked: asked("q") };
    assert!(step(&mut state, &SETTINGS, 10, other).contains(&Effect::Try { call: 3, attempt: 1 }));
    // A wait of an hour is given back, to the one that met it and to those behind it.
    let long = ModelFailure { retry_after_ms: Some(3_600_000), ..limited };
    let effects = step(&mut state, &SETTINGS, 20, failed(3, long.clone()));
    let until_ms = Some(3_600_020);
    assert_eq!(effects[0], Effect::GiveUp { call: 3, failure: long, until_ms });
    let next = Input::Asked { call: 4, asked: asked("q") };
    let effects = step(&mut state, &SETTINGS, 30, next);
    assert!(matches!(&effects[0], Effect::GiveUp { call: 4, until_ms: Some(3_600_020), .. }));
    assert_eq!(state.closed(30).collect::<Vec<_>>(), [("p", 3_000), ("q", 3_600_020)]);
}

#[test]
fn the_day_has_a_budget_that_calls_at_once_share() {
    let settings = Settings { daily_nanousd: Some(250), ..SETTINGS };
    let mut state = State::new(0, 40);
    let asking = |state: &mut State, now_ms, call| {
        step(state, &settings, now_ms, Input::Asked { call, asked: asked("p") })
    };
    assert_eq!(asking(&mut state, 0, 1), [Effect::Try { call: 1, attempt: 1 }]);
    assert_eq!(asking(&mut state, 0, 2), [Effect::Try { call: 2, attempt: 1 }]);
    let refused = asking(&mut state, 0, 3);
    let Effect::GiveUp { failure, until_ms, .. } = &refused[0] else { panic!("{refused:?}") };
    assert_eq!((failure.kind, *until_ms), (FailureKind::Quota, Some(DAY_MS)));
    // What was reserved and not used is free again; the next day begins at nothing.
    let answered = |call| Input::Answered { call, cost_nanousd: 10, closed_for: None };
    step(&mut state, &settings, 0, answered(1));
    assert_eq!(asking(&mut state, 0, 4), [Effect::Try { call: 4, attempt: 1 }]);
    assert_eq!(state.spent_nanousd(), 50);
    step(&mut state, &settings, DAY_MS, answered(2));
    assert_eq!(state.spent_nanousd(), 10);
}

#[test]
fn who_is_gone_leaves_its_place() {
    let mut state = State::new(0, 0);
    for call in 1..=3 {
        ask(&mut state, 0, call);
    }
    assert_eq!(state.counts(), (1, 2));
    let effects = step(&mut state, &SETTINGS, 1, Input::Withdrawn { call: 1 });
    assert_eq!(effects, [Effect::Try { call: 3, attempt: 1 }]);
}

proptest! {
    #[test]
    fn no_lane_is_overfull_and_every_call_ends(
        choices in proptest::collection::vec(any::<(u8, u8)>(), 1..200),
    ) {
        let mut state = State::new(0, 0);
        let (mut now_ms, mut next) = (0, 0);
        let mut out: Vec<CallId> = vec![];
        let mut recording: Vec<CallId> = vec![];
        let mut open = std::collections::BTreeSet::new();
        let settle = |state: &mut State, now_ms: u64, input: Input,
                          out: &mut Vec<CallId>, recording: &mut Vec<CallId>,
                          open: &mut std::collections::BTreeSet<CallId>| {
            for effect in step(state, &SETTINGS, now_ms, input) {
                match effect {
                    Effect::Try { call, attempt } => {
                        assert!(attempt <= 3 && !out.contains(&call));
                        out.push(call);
                    }
                    Effect::Record { call, .. } => recording.push(call),
                    Effect::GiveUp { call, .. } => assert!(open.remove(&call)),
                    Effect::WakeAt(at) => assert!(at > now_ms),
                }
            }
            assert!(out.len() <= 2);
        };
        for (what, which) in choices {
            now_ms += u64::from(which) * 20;
            let at = |calls: &[CallId]| calls.get(usize::from(which) % calls.len().max(1)).copied();
            let input = match what % 6 {
                0 => {
                    next += 1;
                    open.insert(next);
                    Input::Asked { call: next, asked: asked("p") }
                }
                1 => match at(&out) {
                    Some(call) => {
                        out.retain(|other| *other != call);
                        open.remove(&call);
                        Input::Answered { call, cost_nanousd: 1, closed_for: None }
                    }
                    None => Input::TimeUp,
                },
                2 | 3 => match at(&out) {
                    Some(call) => {
                        out.retain(|other| *other != call);
                        failed(call, busy())
                    }
                    None => Input::TimeUp,
                },
                4 => match at(&recording) {
                    Some(call) => {
                        recording.retain(|other| *other != call);
                        Input::Recorded { call }
                    }
                    None => Input::TimeUp,
                },
                _ => Input::TimeUp,
            };
            settle(&mut state, now_ms, input, &mut out, &mut recording, &mut open);
        }
        // Everything that is still there comes to its end.
        for _ in 0..2_000 {
            now_ms += 10_000;
            let input = if let Some(call) = recording.pop() {
                Input::Recorded { call }
            } else if let Some(call) = out.pop() {
                open.remove(&call);
                Input::Answered { call, cost_nanousd: 1, closed_for: None }
            } else {
                Input::TimeUp
            };
            settle(&mut state, now_ms, input, &mut out, &mut recording, &mut open);
        }
        prop_assert!(open.is_empty(), "{open:?}");
        prop_assert_eq!(state.counts(), (0, 0));
    }
}
