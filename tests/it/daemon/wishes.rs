//! Pause, resume, cancel, retry, approve and answer, of tasks that wait and of tasks that run.

use serde_json::json;

use crate::recovery::scene::{
    CHECK, DONE, GATED, QUICK, add, add_command, assert_done_once, delivered_note, is_over, kinds,
    notes, open, processes, row, run_of, wait_at_any_gate, wait_at_gate,
};
use crate::support::{Home, git, wait_until};

fn status(home: &Home, task: &str) -> String {
    row(home, task).status.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_run_keeps_what_it_did_and_goes_on() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let _daemon = home.up();
    let task = add_command(&home, &repository, GATED, CHECK);
    wait_at_gate(&home, &home.data(), &task);
    let run = run_of(&home, &task);
    home.run(&["task", "pause", &task, "--json"]).ok();
    wait_until("the task is paused", || status(&home, &task) == "paused");
    assert_eq!(processes(run), []);
    assert_eq!(home.run(&["task", "watch", &task]).code, 4);
    assert_eq!(kinds(&home, &task), ["started", "tool_intent"]);
    // Resumed and paused again at once, as often as one likes.
    for _ in 0..3 {
        home.run(&["task", "resume", &task]).ok();
        home.run(&["task", "pause", &task]).ok();
        wait_until("the task is paused", || status(&home, &task) == "paused");
    }
    let resumed = home.run(&["task", "resume", &task, "--json"]).ok().json();
    assert_eq!(resumed["id"], json!(task));
    let tree = wait_at_gate(&home, &home.data(), &task);
    open(&tree);
    wait_until("the task is over", || is_over(&home, &task));
    assert_done_once(&home, &repository, &task);
    assert_eq!(delivered_note(&home, &repository, &task), DONE);
    let refused = home.run(&["task", "resume", &task, "--json"]);
    let problem: serde_json::Value = serde_json::from_str(&refused.stderr).unwrap();
    assert_eq!((refused.code, &problem["error"]["code"]), (2, &json!("conflict")));
    let message = problem["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("is completed and was not put aside"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_leaves_nothing_and_can_be_tried_again() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let _daemon = home.up();
    let task = add_command(&home, &repository, GATED, CHECK);
    let tree = wait_at_gate(&home, &home.data(), &task);
    let run = run_of(&home, &task);
    home.run(&["task", "cancel", &task]).ok();
    wait_until("the task is cancelled", || status(&home, &task) == "cancelled");
    assert_eq!(processes(run), []);
    wait_until("its folder is removed", || !tree.exists());
    assert_eq!(git(&repository, &["branch", "--list"]), "* main");
    assert_eq!(home.run(&["task", "watch", &task]).code, 1);
    assert_eq!(home.run(&["task", "cancel", &task]).code, 2);

    home.run(&["task", "retry", &task]).ok();
    open(&wait_at_any_gate(&home));
    wait_until("the task is over", || is_over(&home, &task));
    let done = home.task(&task);
    assert_eq!((&done["status"], &done["attempts"]), (&json!("completed"), &json!(2)));
    assert_eq!(delivered_note(&home, &repository, &task), DONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_by_a_word_from_elsewhere() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    // It would not look at its leases by itself within the time of this test.
    let _daemon = home.up_with(|command| {
        command.env("JOURNEYMAN__SCHEDULER__LEASE_S", "3600");
        command.env("JOURNEYMAN__SCHEDULER__POLL_MS", "3600000");
    });
    let task = add_command(&home, &repository, GATED, CHECK);
    wait_at_gate(&home, &home.data(), &task);
    let run = run_of(&home, &task);
    let mut elsewhere = home.command(&["task", "cancel", &task]);
    elsewhere.env("JOURNEYMAN_DATA", home.folder.path().join("elsewhere"));
    assert!(elsewhere.status().unwrap().success());
    wait_until("the task is cancelled", || status(&home, &task) == "cancelled");
    assert_eq!(processes(run), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_run_is_steered_at_once() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    // Without a daemon too.
    let first = add_command(&home, &repository, QUICK, CHECK);
    let options = ["--command", QUICK, "--check", CHECK, "--after", &first, "Then this"];
    let second = add(&home, &repository, &options);
    let show = |task: &str| {
        let task = home.task(task);
        (task["status"].as_str().unwrap().to_owned(), task["waiting_for"].clone())
    };
    assert_eq!(show(&first), ("ready".into(), json!(null)));
    assert_eq!(show(&second), ("waiting".into(), json!("dependency")));
    home.run(&["task", "pause", &first]).ok();
    assert_eq!(show(&first).0, "paused");
    home.run(&["task", "pause", &second]).ok();
    home.run(&["task", "resume", &second]).ok();
    assert_eq!(show(&second), ("waiting".into(), json!("dependency")));

    let mut daemon = home.up();
    home.run(&["task", "resume", &first]).ok();
    for task in [&first, &second] {
        wait_until("the task is over", || status(&home, task) == "completed");
        assert_done_once(&home, &repository, task);
    }
    let options = ["--command", QUICK, "--check", "false", "It cannot pass"];
    let third = add(&home, &repository, &options);
    let options = ["--command", QUICK, "--check", CHECK, "--after", &third, "Never"];
    let never = add(&home, &repository, &options);
    home.run(&["task", "cancel", &never]).ok();
    assert_eq!(show(&never), ("cancelled".into(), json!(null)));
    assert_eq!(home.task(&never)["attempts"], json!(0));
    wait_until("it failed", || status(&home, &third) == "failed");
    assert_eq!(home.run(&["task", "answer", &third, "blue"]).code, 2);
    assert_eq!(home.run(&["task", "approve", &third]).code, 2);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_lets_the_same_attempt_go_on() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let _daemon = home.up();
    let task = add(&home, &repository, &["--command", QUICK, "Write two"]);
    wait_until("it waits for consent", || status(&home, &task) == "waiting");
    let waiting = home.task(&task);
    assert_eq!(waiting["waiting_for"], "approval");
    assert!(waiting["because"].as_str().is_some_and(|text| !text.is_empty()), "{waiting}");
    assert_eq!(home.run(&["task", "watch", &task]).code, 4);
    home.run(&["task", "approve", &task]).ok();
    wait_until("it is completed", || status(&home, &task) == "completed");
    let row = row(&home, &task);
    assert_eq!((row.verified, row.attempts), (Some(false), 1));
    assert_eq!(delivered_note(&home, &repository, &task), DONE);
    let intents = kinds(&home, &task).iter().filter(|kind| *kind == "tool_intent").count();
    assert_eq!(intents, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_told_to_the_next_attempt() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let _daemon = home.up();
    // What a sandbox denied is for the user to decide.
    let program = "sh -c 'case \"$1\" in *blue*) echo two ;; *) echo three ;; esac >> note.txt' sh \
                   {prompt}";
    let check = "grep -q two note.txt || { echo 'Operation not permitted (os error 1)'; exit 1; }";
    let task = add_command(&home, &repository, program, check);
    wait_until("it asks", || status(&home, &task) == "waiting");
    assert_eq!(home.task(&task)["waiting_for"], "input");
    home.run(&["task", "answer", &task, "take the blue one"]).ok();
    wait_until("it is completed", || is_over(&home, &task) && status(&home, &task) != "waiting");
    let done = home.task(&task);
    assert_eq!((&done["status"], &done["attempts"]), (&json!("completed"), &json!(2)), "{done}");
    assert!(done["prompt"].as_str().unwrap().ends_with("The user's answer: take the blue one"));
    assert_eq!(delivered_note(&home, &repository, &task), DONE);
}
