//! Runs of every kind: whatever model and tools do, a replay ends at the same place, and the
//! conversation keeps its form.

use proptest::prelude::*;

use super::*;

/// What model, tools or user do next, whatever is next.
#[derive(Clone, Debug)]
struct Chance {
    /// What a model answers.
    answer: u8,
    calls: Vec<(u8, u8)>,
    /// How long outputs are.
    size: usize,
    code: i32,
    /// Which of several open calls ends.
    which: usize,
    /// Something that nobody waits for comes in between.
    foreign: u8,
}

fn chances() -> impl Strategy<Value = Vec<Chance>> {
    let calls = prop::collection::vec((0..6u8, 0..3u8), 1..4);
    let chance = (0..16u8, calls, 0..6_000usize, 0..3i32, any::<usize>(), 0..12u8).prop_map(
        |(answer, calls, size, code, which, foreign)| Chance {
            answer,
            calls,
            size,
            code,
            which,
            foreign,
        },
    );
    prop::collection::vec(chance, 1..40)
}

impl Chance {
    fn turn(&self) -> ModelTurn {
        let calls: Vec<(&str, String)> = self
            .calls
            .iter()
            .map(|(kind, value)| match kind {
                0 => ("bash", json!({ "command": format!("c{value}") }).to_string()),
                1 => ("write", json!({ "path": "a", "content": value.to_string() }).to_string()),
                2..=3 => ("read", json!({ "path": format!("f{value}") }).to_string()),
                4 => ("nothing", String::new()),
                _ => ("edit", "{\"path\":".to_owned()),
            })
            .collect();
        let calls: Vec<(&str, &str)> =
            calls.iter().map(|(name, arguments)| (*name, arguments.as_str())).collect();
        let text = "word ".repeat(self.size / 10);
        match self.answer {
            0 => turn(&text, &[], Stop::End),
            1 => turn("", &[], Stop::End),
            2 => turn(&text, &[], Stop::Length),
            3 => turn(&text, &[], Stop::Paused),
            4 => turn("", &calls, Stop::Length),
            _ => turn(&text, &calls, Stop::ToolCalls),
        }
    }

    fn result(&self, calls: &[ToolCall]) -> Observation {
        let call = &calls[self.which % calls.len()];
        let result = result(&call.call_id, Ended::Exited { code: self.code });
        Observation::CallEnded { result, output: "out ".repeat(self.size) }
    }

    fn observation(&self, action: &Action, limits: &mut Limits, overflows: bool) -> Observation {
        match action {
            Action::Call(call) => self.result(std::slice::from_ref(call)),
            Action::Reads { calls } => self.result(calls),
            Action::Ask(_) if overflows && self.answer == 15 => {
                given_up(ModelFailure::of(FailureKind::ContextOverflow, "too long"))
            }
            Action::Ask(_) if overflows && self.answer == 14 => Observation::ModelAnswered {
                turn: turn("", &[], Stop::ContextWindow),
                cost_nanousd: 0,
                failed_tokens: 0,
                elapsed_ms: 1,
            },
            Action::Ask(request) => {
                let usage = TokenUsage {
                    uncached_input: request.estimated_tokens() * 5 / 4,
                    output: 50,
                    ..TokenUsage::default()
                };
                let turn = ModelTurn { usage, usage_known: true, ..self.turn() };
                Observation::ModelAnswered {
                    turn,
                    cost_nanousd: 7,
                    failed_tokens: 0,
                    elapsed_ms: 1,
                }
            }
            Action::Exhausted { .. } => {
                limits.tokens *= 2;
                Observation::Resumed { limits: limits.clone() }
            }
            Action::Finished { .. } | Action::Stuck { .. } => {
                Observation::RoundFailed { evidence: "broken ".repeat(self.size / 20) }
            }
        }
    }
}

/// Each call is answered just once, right after its turn, in its order.
fn assert_form(items: &[Item]) {
    assert!(matches!(items[0], Item::User { .. }));
    for (at, item) in items.iter().enumerate() {
        let wanted: Vec<&str> = match item {
            Item::Assistant { turn } => {
                turn.calls.iter().map(|call| call.call_id.as_str()).collect()
            }
            Item::User { .. } => Vec::new(),
            Item::ToolResults { .. } => continue,
        };
        let given: Vec<&str> = match items.get(at + 1) {
            Some(Item::ToolResults { answers }) => {
                answers.iter().map(|answer| answer.call_id.as_str()).collect()
            }
            Some(Item::User { .. } | Item::Assistant { .. }) | None => Vec::new(),
        };
        assert_eq!(wanted, given, "of item {at}");
    }
}

/// Plays the chances; the actions in their order, each before what was observed then.
fn play(
    chances: &[Chance],
    model: &ModelSettings,
    overflows: bool,
) -> Vec<(Action, Option<Observation>)> {
    let mut limits = Limits { tokens: 50_000, ..Limits::default() };
    let mut play = Play::with(model.clone(), &limits);
    let mut history = Vec::new();
    for chance in chances {
        let action = play.next();
        if chance.foreign == 0 {
            let stray = result("t999c1", Ended::Exited { code: 0 });
            play.driver.observe(Observation::CallEnded { result: stray, output: "x".into() });
            assert_eq!(play.next(), action);
        }
        let observation = chance.observation(&action, &mut limits, overflows);
        play.driver.observe(observation.clone());
        history.push((action, Some(observation)));
    }
    history.push((play.next(), None));
    history
}

fn assert_replayed(history: &[(Action, Option<Observation>)], model: &ModelSettings) {
    let limits = Limits { tokens: 50_000, ..Limits::default() };
    let mut fresh = Play::with(model.clone(), &limits);
    let mut hasty = Play::with(model.clone(), &limits);
    for (action, observation) in history {
        assert_eq!(&fresh.next(), action);
        if let Some(observation) = observation {
            fresh.driver.observe(observation.clone());
            hasty.driver.observe(observation.clone());
        }
    }
    assert_eq!(hasty.next(), history.last().unwrap().0, "without being asked in between");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn in_a_large_window_a_conversation_only_grows(chances in chances()) {
        let model = model("m", 1_000_000);
        let history = play(&chances, &model, false);
        assert_replayed(&history, &model);
        let mut before: Vec<Item> = Vec::new();
        let mut ids = std::collections::BTreeSet::new();
        for (action, observation) in &history {
            match action {
                Action::Ask(request) => {
                    assert_form(&request.items);
                    prop_assert!(request.items.starts_with(&before));
                    before.clone_from(&request.items);
                }
                Action::Call(_) | Action::Reads { .. } => {
                    if let Some(Observation::CallEnded { result, .. }) = observation {
                        prop_assert!(ids.insert(result.call_id.clone()), "each call is done once");
                    }
                }
                Action::Exhausted { .. } | Action::Finished { .. } | Action::Stuck { .. } => {}
            }
        }
    }

    #[test]
    fn in_a_small_window_every_request_fits_and_keeps_its_form(chances in chances()) {
        let model = model("m", 6_000);
        let history = play(&chances, &model, true);
        assert_replayed(&history, &model);
        let first = history.iter().find_map(|(action, _)| match action {
            Action::Ask(request) => request.items.first().cloned(),
            Action::Call(_)
            | Action::Reads { .. }
            | Action::Exhausted { .. }
            | Action::Finished { .. }
            | Action::Stuck { .. } => None,
        });
        for (action, _) in &history {
            if let Action::Ask(request) = action {
                assert_form(&request.items);
                prop_assert_eq!(request.items.first(), first.as_ref());
                let all = request.estimated_tokens() + u64::from(request.max_output_tokens);
                prop_assert!(all <= model.context_window, "{all} tokens");
            }
        }
    }
}
