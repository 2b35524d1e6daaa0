//! Runs as scripts: what the model says, what its calls bring, and what it is told then.

use super::*;

const READ_A: (&str, &str) = ("read", r#"{"path":"a"}"#);
const READ_B: (&str, &str) = ("read", r#"{"path":"b"}"#);
const LS: (&str, &str) = ("bash", r#"{"command":"ls"}"#);

#[test]
fn a_run_from_the_task_to_a_summary_and_over_another_round() {
    let mut play = Play::new();
    let first = play.request();
    assert_eq!((first.system.as_str(), first.max_output_tokens), ("You mend.", 2_000));
    assert!(play.told().ends_with("# Task\n\nMend it."));
    play.calls(&[LS]);
    assert_eq!(play.called(), ["t1c1 bash: ls"]);
    play.ends(0, "a.txt\n");
    assert_eq!(play.told(), "p0 false: [exit code 0]\na.txt\n\n");
    play.calls(&[("edit", r#"{"path":"a.txt","old":"x","new":"y"}"#)]);
    assert_eq!(play.called(), ["t2c1 edit a.txt"]);
    play.ends(0, "").says("Mended.");
    assert_eq!(play.next(), Action::Finished { summary: "Mended.".into() });
    play.round_fails("test sum failed");
    let told = play.told();
    assert!(told.contains("does not hold yet") && told.contains("\ntest sum failed\n"), "{told}");
    let last = play.request();
    assert_eq!(last.items[..1], first.items, "what was said stays");
    assert_eq!((last.items.len(), &last.tools), (7, &first.tools));
    play.says("Now it holds.");
    assert_eq!(play.next(), Action::Finished { summary: "Now it holds.".into() });
}

#[test]
fn calls_are_done_in_order_and_answered_at_once() {
    let mut play = Play::new();
    play.calls(&[READ_A, LS, ("edit", "{}"), READ_B]);
    assert_eq!(play.called(), ["t1c1 read a"]);
    play.ended("foreign", 0, "x").ended("t1c3", 0, "x");
    assert_eq!(play.called(), ["t1c1 read a"], "a foreign result changes nothing");
    play.ends(0, "A");
    assert_eq!(play.called(), ["t1c2 bash: ls"]);
    play.ends(2, "L");
    assert_eq!(play.called(), ["t1c4 read b"]);
    play.ends(0, "B").ended("t1c4", 0, "again");
    assert_eq!(
        play.told(),
        "p0 false: A\np1 true: [exit code 2]\nL\np2 true: this call to edit was not done: the \
         required 'path' is missing\np3 false: B\n"
    );
}

#[test]
fn a_turn_that_only_reads_is_done_at_once_and_goes_on_in_its_middle() {
    let mut play = Play::new();
    play.calls(&[READ_A, READ_B, READ_A]);
    assert_eq!(play.called(), ["t1c1 read a", "t1c2 read b", "t1c3 read a"]);
    play.ended("t1c2", 0, "B");
    assert_eq!(play.called(), ["t1c1 read a", "t1c3 read a"]);
    play.ended("t1c1", 0, "A");
    assert!(matches!(play.next(), Action::Call(_)));
    play.ended("t1c3", 0, "A");
    assert_eq!(play.told(), "p0 false: A\np1 false: B\np2 false: A\n");
}

#[test]
fn a_model_that_is_trained_on_patches_gets_them() {
    let mut play = Play::with(model("openai/gpt-5.5", 100_000), &Limits::default());
    assert_eq!(play.request().tools[1].name, "apply_patch");
    let patch = "*** Begin Patch\n*** Delete File: a\n*** End Patch";
    play.calls(&[("apply_patch", &json!({ "patch": patch }).to_string())]);
    assert_eq!(play.called(), ["t1c1 patch a"]);
}

#[test]
fn malformed_calls_are_told_and_the_third_turn_of_them_ends_the_run() {
    let mut play = Play::new();
    play.calls(&[("shell", "{}"), ("bash", "ls")]);
    assert_eq!(
        play.told(),
        "p0 true: there is no tool 'shell'; the tools are bash, edit, write, read\np1 true: the \
         arguments of bash are no JSON: expected value at line 1 column 1\n"
    );
    play.says("<tool_call>{\"name\": \"bash\"}</tool_call>");
    assert_eq!(play.told(), REAL_CALLS);
    play.bash("true", 0, "").says("");
    assert_eq!(play.told(), EMPTY, "a good call in between counts anew");
    play.answer(turn("I will now", &[], Stop::Length));
    assert_eq!(play.told(), CUT_OFF);
    play.answer(turn("", &[("write", "{\"path\":\"a\",\"content\":\"ha")], Stop::Length));
    assert_eq!(play.stuck(), "the model gave 3 answers whose tool calls were malformed in a row");
    play.round_fails("nothing changed").calls(&[LS]);
    assert_eq!(play.called(), ["t7c1 bash: ls"], "another round begins anew");
}

#[test]
fn a_cut_off_call_asks_for_a_smaller_step_and_announced_ones_for_real_ones() {
    let mut play = Play::new();
    play.answer(turn("", &[LS, ("write", "{\"path\":\"a\",\"con")], Stop::Length)).ends(0, "x");
    assert!(play.told().contains("p1 true: the limit of output tokens cut your answer off"));
    play.answer(turn("I call it.", &[], Stop::ToolCalls));
    assert_eq!(play.told(), REAL_CALLS);
}

#[test]
fn more_calls_than_a_turn_may_have_are_answered_and_not_done() {
    let mut play = Play::new();
    play.calls(&vec![READ_A; CALLS + 2]);
    assert_eq!(play.called().len(), CALLS);
    for number in 1..=CALLS {
        play.ended(&format!("t1c{number}"), 0, &number.to_string());
    }
    let Some(Item::ToolResults { answers }) = play.request().items.pop() else { panic!() };
    let done = answers.iter().filter(|answer| !answer.is_error).count();
    assert_eq!((answers.len(), done), (CALLS + 2, CALLS));
    assert!(answers[CALLS + 1].output.contains("too many"));
}

#[test]
fn circles_are_told_once_and_then_end_the_run() {
    let mut play = Play::new();
    for _ in 0..4 {
        play.bash("ls", 0, "same");
    }
    assert!(play.told().starts_with("[runtime] You go round in circles: 'bash: ls' was done 4"));
    for _ in 0..4 {
        play.bash("ls", 0, "same");
    }
    assert_eq!(
        play.stuck(),
        "it went round in circles: 'bash: ls' was done 4 times with the same result"
    );
    let mut play = Play::new();
    play.bash("make", 2, "no rule").bash("make", 2, "no rule");
    assert!(play.told().contains("failed twice in the same way"));
    play.bash("make", 2, "no rule");
    assert_eq!(
        play.stuck(),
        "it went round in circles: 'bash: make' failed 3 times in the same way"
    );
}

#[test]
fn a_refusal_ends_the_run_and_a_pause_does_not() {
    let mut play = Play::new();
    play.answer(turn("thinking", &[], Stop::Paused));
    assert_eq!(play.told(), "assistant: thinking");
    play.answer(turn("I cannot help.", &[], Stop::Refusal));
    assert_eq!(play.stuck(), "the model refused: I cannot help.");
    play.round_fails("x");
    for _ in 0..PAUSES {
        play.answer(turn("", &[], Stop::Paused));
    }
    assert_eq!(play.stuck(), "the provider paused 10 turns in a row");
}

#[test]
fn a_failure_that_asking_again_does_not_mend_ends_the_run() {
    let mut play = Play::new();
    let failure = ModelFailure::of(FailureKind::ContentPolicy, "not allowed");
    play.driver.observe(given_up(failure));
    assert_eq!(play.stuck(), "the model could not answer: not allowed");
    let mut without = Assignment { model: None, ..assignment(model("m", 1)) };
    without.prompt.clear();
    let mut driver = crate::build(DriverKind::Native, without, &Limits::default());
    assert_eq!(driver.next(), Action::Stuck { reason: "no model is set for this run".to_owned() });
}
