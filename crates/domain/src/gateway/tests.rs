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
        reserve: Bill { nanousd: 100, tokens: 10 },
        billed: Bill::default(),
        room: Room { nanousd: None, tokens: u64::MAX, until_ms: u64::MAX },
        spent: DaySpent::default(),
        given_up: 0,
    }
}

fn ask(state: &mut State, now_ms: u64, call: CallId) -> Vec<Effect> {
    step(state, &SETTINGS, now_ms, Input::Asked { call, asked: asked("p") })
}

fn failed(call: CallId, failure: ModelFailure) -> Input {
    Input::Failed { call, failure, bill: Bill::default(), closed_for: None, jitter_unit: 0.0 }
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
    // What is out may cost less than it could: the third waits for that, it is not given up.
    assert_eq!(asking(&mut state, 0, 3), [Effect::WakeAt(60_001)]);
    let answered = |call, cost_nanousd| Input::Answered { call, cost_nanousd, closed_for: None };
    assert_eq!(
        step(&mut state, &settings, 0, answered(1, 10)),
        [Effect::Try { call: 3, attempt: 1 }]
    );
    assert_eq!(state.spent_nanousd(), 50);
    // One that would not fit if it were alone is given up until the next day.
    step(&mut state, &settings, 0, answered(2, 110));
    let refused = asking(&mut state, 0, 4);
    let Effect::GiveUp { failure, until_ms, .. } = &refused[0] else { panic!("{refused:?}") };
    assert_eq!((failure.kind, *until_ms), (FailureKind::Quota, Some(DAY_MS)));
    step(&mut state, &settings, DAY_MS, answered(3, 10));
    assert_eq!(state.spent_nanousd(), 10);
    // What another process has written counts, and what nobody waits for any more.
    let spent = DaySpent { at_ms: DAY_MS + 7, nanousd: 120 };
    let asked = Asked { spent, ..asked("p") };
    step(&mut state, &settings, DAY_MS, Input::Asked { call: 5, asked: asked.clone() });
    step(&mut state, &settings, DAY_MS, Input::Withdrawn { call: 5, cost_nanousd: 40 });
    step(&mut state, &settings, DAY_MS, Input::Withdrawn { call: 5, cost_nanousd: 1 });
    assert_eq!(state.spent_nanousd(), 161);
    // What was counted before midnight is another day's.
    let late = Asked { spent: DaySpent { at_ms: DAY_MS - 1, nanousd: 900 }, ..asked };
    step(&mut state, &settings, DAY_MS, Input::Asked { call: 6, asked: late });
    assert_eq!(state.spent_nanousd(), 161);
}

#[test]
fn a_call_waits_for_what_others_have_reserved_only_for_a_while() {
    let settings = Settings { daily_nanousd: Some(150), ..SETTINGS };
    let mut state = State::new(0, 0);
    for call in 1..=2 {
        step(&mut state, &settings, 0, Input::Asked { call, asked: asked("p") });
    }
    let given_up = step(&mut state, &settings, 60_001, Input::TimeUp);
    let [Effect::GiveUp { call: 2, failure, until_ms: Some(120_001) }] = &given_up[..] else {
        panic!("{given_up:?}")
    };
    assert_eq!(failure.kind, FailureKind::Quota);
}

#[test]
fn calls_that_were_given_up_count_for_the_next_one() {
    let mut state = State::new(0, 0);
    let asked = Asked { given_up: 2, ..asked("p") };
    step(&mut state, &SETTINGS, 0, Input::Asked { call: 1, asked });
    let effects = step(&mut state, &SETTINGS, 10, failed(1, busy()));
    assert_eq!(effects, [Effect::GiveUp { call: 1, failure: busy(), until_ms: None }]);
}

#[test]
fn tries_that_are_billed_end_where_the_runs_budget_does() {
    let room = Room { nanousd: Some(250), tokens: 1_000, until_ms: u64::MAX };
    let mut state = State::new(0, 0);
    let asked = Asked { room, retries: 9, ..asked("p") };
    step(&mut state, &SETTINGS, 0, Input::Asked { call: 1, asked: asked.clone() });
    let cut = |nanousd, tokens| Input::Failed {
        call: 1,
        failure: busy(),
        bill: Bill { nanousd, tokens },
        closed_for: None,
        jitter_unit: 0.0,
    };
    assert_eq!(
        step(&mut state, &SETTINGS, 0, cut(90, 10)),
        [Effect::Record { call: 1, next_ms: 500 }]
    );
    step(&mut state, &SETTINGS, 500, Input::Recorded { call: 1 });
    step(&mut state, &SETTINGS, 600, cut(90, 10));
    step(&mut state, &SETTINGS, 601, Input::Recorded { call: 1 });
    // It waits as for another try, and then there is no room for it.
    let given_up = Effect::GiveUp { call: 1, failure: busy(), until_ms: Some(1_600) };
    assert_eq!(step(&mut state, &SETTINGS, 1_600, Input::TimeUp), [given_up]);
    assert_eq!(state.spent_nanousd(), 180);
    // Tokens count alike, also those that an earlier life has paid for.
    let earlier = Asked { billed: Bill { nanousd: 0, tokens: 991 }, ..asked.clone() };
    let refused = step(&mut state, &SETTINGS, 1_700, Input::Asked { call: 1, asked: earlier });
    assert!(matches!(&refused[..], [Effect::GiveUp { until_ms: Some(1_700), .. }]), "{refused:?}");
    // What cost nothing may be tried again, however little is left.
    let poor = Asked { room: Room { nanousd: Some(1), ..room }, ..asked };
    step(&mut state, &SETTINGS, 1_800, Input::Asked { call: 1, asked: poor });
    step(&mut state, &SETTINGS, 1_800, cut(0, 0));
    step(&mut state, &SETTINGS, 1_800, Input::Recorded { call: 1 });
    let effects = step(&mut state, &SETTINGS, 2_300, Input::TimeUp);
    assert_eq!(effects, [Effect::Try { call: 1, attempt: 2 }]);
}

#[test]
fn no_call_waits_beyond_the_time_of_its_run() {
    let room = Room { nanousd: None, tokens: u64::MAX, until_ms: 1_000 };
    let mut state = State::new(0, 0);
    let asked = Asked { room, max_concurrent: 1, ..asked("p") };
    let ask = |state: &mut State, now_ms, call| {
        step(state, &SETTINGS, now_ms, Input::Asked { call, asked: asked.clone() })
    };
    ask(&mut state, 0, 1);
    assert_eq!(ask(&mut state, 0, 2), [Effect::WakeAt(1_001)]);
    let over = step(&mut state, &SETTINGS, 1_001, Input::TimeUp);
    let Effect::GiveUp { call: 2, failure, until_ms: Some(1_001) } = &over[0] else {
        panic!("{over:?}")
    };
    assert_eq!(failure.kind, FailureKind::Timeout);
    // A wait of hours is none of the run's time: it is put aside for that.
    let long = ModelFailure { retry_after_ms: Some(3_600_000), ..busy() };
    let mut other = State::new(0, 0);
    ask(&mut other, 0, 1);
    let effects = step(&mut other, &SETTINGS, 900, failed(1, long.clone()));
    assert_eq!(effects, [Effect::GiveUp { call: 1, failure: long, until_ms: Some(3_600_900) }]);
    // One that could only be tried again after it is put aside, too, and the limit decides where the
    // time is over.
    let late = step(&mut state, &SETTINGS, 900, failed(1, busy()));
    assert_eq!(late, [Effect::GiveUp { call: 1, failure: busy(), until_ms: Some(1_400) }]);
    ask(&mut state, 1_000, 3);
    let over = step(&mut state, &SETTINGS, 1_000, failed(3, busy()));
    assert_eq!(over, [Effect::GiveUp { call: 3, failure: busy(), until_ms: Some(1_000) }]);
    // A provider that opens again only then is waited for outside.
    let hint = ModelFailure {
        retry_after_ms: Some(55_000),
        ..ModelFailure::of(FailureKind::RateLimit, "slow")
    };
    let mut other = State::new(0, 0);
    ask(&mut other, 0, 1);
    step(&mut other, &SETTINGS, 0, failed(1, hint));
    let refused = ask(&mut other, 10, 2);
    assert!(
        matches!(&refused[..], [Effect::GiveUp { call: 2, until_ms: Some(55_000), .. }]),
        "{refused:?}"
    );
}

#[test]
fn who_is_gone_leaves_its_place() {
    let mut state = State::new(0, 0);
    for call in 1..=3 {
        ask(&mut state, 0, call);
    }
    assert_eq!(state.counts(), (1, 2));
    let effects = step(&mut state, &SETTINGS, 1, Input::Withdrawn { call: 1, cost_nanousd: 0 });
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
