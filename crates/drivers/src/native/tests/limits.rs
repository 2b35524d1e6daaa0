//! Runs whose room is short: money, tokens, calls, the context window.

use super::*;
use journeyman_domain::limits::LimitHit;

fn used(input: u64, output: u64, turn: ModelTurn) -> ModelTurn {
    let usage = TokenUsage { uncached_input: input, output, ..TokenUsage::default() };
    ModelTurn { usage, usage_known: true, ..turn }
}

#[test]
fn a_limit_that_is_nearly_used_up_is_told_once_beside_the_answers() {
    let limits = Limits { steps: 5, ..Limits::default() };
    let mut play = Play::with(model("m", 100_000), &limits);
    play.bash("a", 0, "").bash("b", 0, "").bash("c", 0, "");
    assert!(!play.told().contains("80 %"));
    play.bash("d", 0, "");
    assert_eq!(
        play.told(),
        "[runtime] More than 80 % of a limit of this run is used up, the next request included; what \
         is left: 1 tool calls. Do what matters most now, leave the workspace in a working state, \
         and end with a summary."
    );
    play.bash("e", 0, "");
    assert!(!play.told().contains("80 %"));
}

#[test]
fn money_that_is_used_up_stops_the_run_until_there_is_more() {
    let price = Price {
        input_nanousd: 100,
        cache_read_nanousd: 10,
        cache_write_nanousd: 100,
        output_nanousd: 1_000,
        version: "1".into(),
    };
    let dear = ModelSettings { price: Some(price), ..model("m", 100_000) };
    let limits = Limits { cost_nanousd: Some(2_000_000), ..Limits::default() };
    let mut play = Play::with(dear, &limits);
    let room = play.request().max_output_tokens;
    assert!(room > 1_500 && room < 2_000, "{room}");
    let answer = turn("", &[("bash", "{\"command\":\"ls\"}")], Stop::ToolCalls);
    play.driver.observe(Observation::ModelAnswered {
        turn: answer,
        cost_nanousd: 1_800_000,
        failed_tokens: 0,
        elapsed_ms: 1,
    });
    play.ends(0, "x");
    let hit = LimitHit::Cost { limit_nanousd: 2_000_000 };
    assert_eq!(play.next(), Action::Exhausted { hit });
    play.driver.observe(Observation::Resumed { limits });
    assert_eq!(play.next(), Action::Exhausted { hit }, "the same limits leave no more");
    let limits = Limits { cost_nanousd: Some(9_000_000), ..Limits::default() };
    play.driver.observe(Observation::Resumed { limits });
    assert_eq!(play.told(), NEW_LIMITS);
    assert_eq!(play.request().max_output_tokens, 2_000);
}

#[test]
fn tokens_that_are_used_up_stop_the_run() {
    let limits = Limits { tokens: 10_000, ..Limits::default() };
    let mut play = Play::with(model("m", 100_000), &limits);
    let tokens = play.request().estimated_tokens();
    let calls = turn("", &[("bash", "{\"command\":\"ls\"}")], Stop::ToolCalls);
    play.answer(used(tokens, 8_800, calls)).ends(0, "x");
    assert_eq!(play.next(), Action::Exhausted { hit: LimitHit::Tokens { limit: 10_000 } });
}

#[test]
fn new_limits_in_the_middle_of_a_turn_are_told_after_its_answers() {
    let mut play = Play::new();
    play.calls(&[("bash", "{\"command\":\"ls\",\"timeout_s\":9000}")]);
    let limits = Limits { call_timeout_ms: 7_000, ..Limits::default() };
    play.driver.observe(Observation::Resumed { limits });
    assert_eq!(play.called(), ["t1c1 bash: ls"]);
    play.ends(0, "x");
    assert_eq!(play.told(), NEW_LIMITS);
    play.calls(&[("bash", "{\"command\":\"ls\",\"timeout_s\":9000}")]);
    let Action::Call(ToolCall { tool: journeyman_domain::tool::Tool::Exec(exec), .. }) =
        play.next()
    else {
        panic!()
    };
    assert_eq!(exec.timeout_ms, Some(7_000));
}

/// A run that is about to outgrow a window of 8,000 tokens.
fn grown() -> Play {
    let mut play = Play::with(model("m", 8_000), &Limits::default());
    play.bash("first", 0, &"1 ".repeat(4_000)).says("Done.").round_fails("still broken");
    play.bash("second", 0, &"2 ".repeat(4_000)).bash("third", 0, &"3 ".repeat(4_000));
    play
}

#[test]
fn a_full_window_is_handed_off() {
    let mut play = grown();
    let request = play.request();
    assert_eq!(play.told(), crate::COMPACT);
    assert!(!request.may_call && request.tools.len() == 4);
    let first = request.items[0].clone();
    play.says("Goal: mend. Next: run make.");
    let items = play.request().items;
    assert_eq!((items.len(), &items[0]), (3, &first));
    let text = |item: &Item| match item {
        Item::User { text } => text.clone(),
        Item::Assistant { .. } | Item::ToolResults { .. } => String::new(),
    };
    assert!(text(&items[1]).contains("still broken"));
    assert!(text(&items[2]).ends_with("\n\nGoal: mend. Next: run make."));
    assert_eq!(play.request().tools.len(), 4);
    play.bash("fourth", 0, "4");
    assert_eq!(play.request().items[..3], items[..], "and goes on growing");
}

#[test]
fn without_a_hand_off_the_oldest_turns_are_left_out() {
    let mut play = grown();
    let before = play.request().items;
    play.answer(turn("", &[], Stop::End));
    let items = play.request().items;
    assert!(play.request().estimated_tokens() < 6_400);
    let Item::User { text } = &items[1] else { panic!("{items:?}") };
    assert!(text.starts_with("[runtime] Left out here") && text.contains(" 3 of your earlier"));
    let last = before[..before.len() - 1].last().unwrap();
    assert_eq!((items[0].clone(), items.last()), (before[0].clone(), Some(last)));
}

#[test]
fn an_overflow_is_handed_off_then_cut_and_then_ends_the_run() {
    let mut play = Play::new();
    for number in 0..4 {
        play.bash(&format!("{number}"), 0, &format!("{number} ").repeat(2_000));
    }
    let before = play.request().estimated_tokens();
    play.overflows();
    let request = play.request();
    assert_eq!(play.told(), crate::COMPACT);
    assert!(request.estimated_tokens() < before * 3 / 4);
    play.overflows();
    assert_eq!(play.request().tools.len(), 4, "the provider takes not even that");
    assert!(play.request().estimated_tokens() < before * 3 / 4);
    play.overflows();
    assert!(play.stuck().contains("do not fit into the model's context window"));
    let mut play = Play::new();
    play.overflows();
    assert!(play.stuck().contains("do not fit"), "there is nothing to leave out");
}

#[test]
fn an_answer_that_the_window_cut_off_is_asked_again_after_a_hand_off() {
    let mut play = Play::new();
    for number in 0..4 {
        play.bash(&format!("{number}"), 0, &format!("{number} ").repeat(2_000));
    }
    play.answer(turn("half", &[], Stop::ContextWindow));
    assert_eq!(play.told(), crate::COMPACT);
    play.says("Goal: mend.");
    assert!(play.told().ends_with("\n\nGoal: mend."));
    play.says("Done.");
    assert_eq!(play.next(), Action::Finished { summary: "Done.".into() });
}

#[test]
fn a_task_that_no_window_holds_is_said_at_once() {
    let mut play = Play::with(model("m", 600), &Limits::default());
    assert!(play.stuck().contains("do not fit"));
}
