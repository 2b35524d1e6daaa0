//! SIGKILL of the daemon, of the launcher and of the agent's program, each at a known place.

use journeyman_domain::status::Status;
use serde_json::json;

use super::scene::{
    CHECK, DONE, GATED, GATED_CHECK, QUICK, add_command, assert_done_once, assert_journal, at_gate,
    delivered_note, epoch, is_alive, is_over, kill, notes, open, processes, processes_with, row,
    run_of, start, start_with, steps, wait, wait_at_any_gate, wait_at_check, wait_at_gate,
    wait_for_new_owner, wait_to_the_end,
};
use crate::support::{Home, git, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn an_open_call_is_undone_and_run_again() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let mut first = home.up();
    let task = add_command(&home, &repository, GATED, CHECK);
    wait_at_gate(&home, &home.data(), &task);
    let (before, held) = (processes(run_of(&home, &task)), epoch(&home, &task));
    first.kill();
    // A lease that would be good for an hour must not be waited for.
    let _second = home.up_with(|command| {
        command.env("JOURNEYMAN__SCHEDULER__LEASE_S", "3600");
    });
    wait_for_new_owner(&home, &task, &before, held);
    assert!(!before.iter().copied().any(is_alive), "{before:?}");
    let tree = wait_at_gate(&home, &home.data(), &task);
    open(&tree);
    wait_to_the_end(&home, &task);
    let steps = assert_done_once(&home, &repository, &task);
    assert_eq!(delivered_note(&home, &repository, &task), DONE);
    let epochs: Vec<_> = steps.iter().map(|step| (step.kind.as_str(), step.epoch)).collect();
    let expected = [
        ("started", 1),
        ("tool_intent", 1),
        ("tool_result", 2),
        ("claimed_done", 2),
        ("base_checked", 2),
        ("verification", 2),
        ("delivered", 2),
        ("outcome", 2),
    ];
    assert_eq!(epochs, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_verification_is_done_again() {
    for side in ["base", "candidate"] {
        let home = Home::new().await;
        let repository = notes(&home, "notes");
        let mut daemon = home.up();
        let task = add_command(&home, &repository, QUICK, GATED_CHECK);
        let mut at = wait_at_check(&home, &task, "base");
        if side == "candidate" {
            open(&at);
            at = wait_at_check(&home, &task, "candidate");
        }
        assert!(at.ends_with(format!("check-{side}")), "{at:?}");
        let before = processes(run_of(&home, &task));
        daemon.kill();
        let _next = home.up();
        wait_to_the_end(&home, &task);
        assert!(!before.iter().copied().any(is_alive), "{before:?}");
        let steps = assert_done_once(&home, &repository, &task);
        assert_eq!(delivered_note(&home, &repository, &task), DONE);
        let judged = steps.iter().find(|step| step.kind == "verification").unwrap();
        assert_eq!((judged.epoch, &judged.payload["verdict"]["verified"]), (2, &json!(true)));
    }
}

/// Only the user gives an agent the network; a repository speaks for its checks.
fn allow_network(home: &Home) {
    let agents = home.run(&["agent", "list", "--json"]).ok().json();
    for agent in agents["agents"].as_array().unwrap() {
        home.run(&["agent", "set", agent["id"].as_str().unwrap(), "network=true"]).ok();
    }
}

/// Its effect may have left the workspace: without namespaces, or with the network.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_could_reach_the_world_is_not_run_again() {
    for (name, namespaces) in [("network", "auto"), ("unconfined", "off")] {
        let home = Home::new().await;
        let settings = (".journeyman.toml", "rounds = 1\n");
        let files = [("note.txt", "one\n"), (".gitignore", "/gate\n"), settings];
        let repository = home.repository(name, &files);
        let confine = |command: &mut std::process::Command| {
            command.env("JOURNEYMAN__SANDBOX__NAMESPACES", namespaces);
        };
        let mut first = home.up_with(confine);
        if name == "network" {
            allow_network(&home);
        }
        let task = add_command(&home, &repository, GATED, CHECK);
        wait_at_gate(&home, &home.data(), &task);
        let run = run_of(&home, &task);
        let before = processes(run);
        first.kill();
        let _second = home.up_with(confine);
        // Half a call is no work: this attempt is over, and another one begins with nothing of it.
        wait_until("another attempt begins", || row(&home, &task).attempts == 2);
        assert!(!before.iter().copied().any(is_alive), "{name}: {before:?}");
        assert_eq!(processes(run), []);
        let steps: Vec<_> =
            steps(&home, &task).into_iter().filter(|step| step.run_id == run).collect();
        assert_journal(&steps);
        let intents: Vec<_> = steps.iter().filter(|step| step.kind == "tool_intent").collect();
        assert_eq!(intents.len(), 1, "{name}: {steps:#?}");
        assert_eq!(intents[0].payload["effect"], "open");
        let result = steps.iter().find(|step| step.kind == "tool_result").unwrap();
        assert_eq!(result.payload["result"]["ended"], json!({ "ended": "interrupted" }));
        assert!(steps.iter().all(|step| step.kind != "delivered"), "{steps:#?}");
        let logs = home.run(&["task", "logs", &task]).ok().stdout;
        assert!(logs.contains("interrupted"), "{logs}");
        open(&wait_at_any_gate(&home));
        wait_until("the task is done", || row(&home, &task).status.is_final());
        let done = home.task(&task);
        assert_eq!((&done["verified"], &done["attempts"]), (&json!(true), &json!(2)), "{done}");
        assert_eq!(delivered_note(&home, &repository, &task), DONE);
    }
}

/// However often that comes about, it is no fault of the work: in the end a person looks, and what waits for it waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_cut_off_in_each_attempt_is_parked() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let mut daemon = home.up();
    allow_network(&home);
    let task = add_command(&home, &repository, GATED, CHECK);
    for attempt in 1..=3 {
        wait_until("it is at work", || {
            let runs = wait(home.store().runs().of_task(task.parse().unwrap())).unwrap();
            row(&home, &task).attempts == attempt
                && runs.iter().any(|run| run.attempt == attempt && !at_gate(run.id).is_empty())
        });
        daemon.kill();
        daemon = home.up();
    }
    wait_until("it is over", || is_over(&home, &task));
    let parked = home.task(&task);
    assert_eq!((&parked["status"], &parked["attempts"]), (&json!("parked"), &json!(3)));
    let error = parked["error"].as_str().unwrap();
    assert!(
        error.starts_with("cut off in each of 3 attempts, and so not tried again: "),
        "{error}"
    );
    // Nothing was to be judged.
    assert!(steps(&home, &task).iter().all(|step| step.kind != "verification"));
}

/// What kills the program or its launcher is a result like any other: the run goes on with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_program_is_a_result() {
    for victim in ["launcher", "program"] {
        let home = Home::new().await;
        let repository = notes(&home, "notes");
        let _daemon = home.up();
        let task = add_command(&home, &repository, GATED, CHECK);
        wait_at_gate(&home, &home.data(), &task);
        let run = run_of(&home, &task);
        let (before, launchers) = (processes(run), processes_with(run, "sandbox-exec"));
        let programs: Vec<_> =
            before.iter().copied().filter(|process| !launchers.contains(process)).collect();
        assert!(!launchers.is_empty() && !programs.is_empty(), "{before:?}");
        // The first of each is the one that the others stem from.
        kill(if victim == "launcher" { launchers[0].0 } else { programs[0].0 });
        wait_to_the_end(&home, &task);
        let steps = assert_done_once(&home, &repository, &task);
        assert_eq!(delivered_note(&home, &repository, &task), DONE);
        let result = steps.iter().find(|step| step.kind == "tool_result").unwrap();
        let ended = &result.payload["result"]["ended"];
        assert_eq!(*ended, json!({ "ended": "signalled", "signal": 9 }), "{victim}");
        assert!(!before.iter().copied().any(is_alive), "{victim}: {before:?}");
        assert_eq!(row(&home, &task).done_by_word, Some(false));
    }
}

/// Three lives that made no step: the fourth does not try, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_kills_its_runtime_is_parked() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let mut daemon = home.up();
    let task = add_command(&home, &repository, GATED, CHECK);
    wait_at_gate(&home, &home.data(), &task);
    let run = run_of(&home, &task);
    for _ in 0..4 {
        let (before, held) = (processes(run), epoch(&home, &task));
        daemon.kill();
        daemon = start(&home);
        // A shell that dies may still fork: only a new owner's program counts.
        wait_until("the run goes on, or not", || {
            is_over(&home, &task)
                || epoch(&home, &task) > held
                    && at_gate(run).iter().any(|process| !before.contains(process))
        });
    }
    // The first life made steps; each of the three after it was cut at the same one.
    wait_until("the task is parked", || is_over(&home, &task));
    let parked = home.task(&task);
    assert_eq!((&parked["status"], &parked["attempts"]), (&json!("parked"), &json!(1)));
    let error = parked["error"].as_str().unwrap();
    assert!(error.contains("3 times in a row without a new step"), "{error}");
    let shown = home.run(&["task", "show", &task]).ok().stdout;
    assert!(shown.contains(&format!("because   parked: {error}")), "{shown}");
    wait_until("nothing of it is alive", || processes(run).is_empty());
    assert_eq!(home.run(&["task", "watch", &task]).code, 4);

    home.run(&["task", "retry", &task]).ok();
    wait_until("another attempt begins", || row(&home, &task).attempts == 2);
    home.run(&["task", "cancel", &task]).ok();
    wait_until("it is cancelled", || is_over(&home, &task));
    assert_eq!(home.task(&task)["status"], "cancelled");
}

/// What the user says while nobody works on a task is the first thing that the next owner hears: nothing more is done
/// for it, and nothing leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_wish_from_between_two_lives_comes_before_the_work() {
    for (wish, becomes) in [("cancel", Status::Cancelled), ("pause", Status::Paused)] {
        let home = Home::new().await;
        let repository = notes(&home, "notes");
        // Verified, and about to leave.
        let mut daemon = start_with(&home, |command| {
            command.env("JOURNEYMAN_FAILPOINT", "workspace.deliver:before:1=kill");
        });
        let task = add_command(&home, &repository, QUICK, CHECK);
        daemon.child.wait().unwrap();
        home.run(&["task", wish, &task]).ok();
        let _next = home.up();
        wait_until("the wish is heard", || row(&home, &task).status != Status::Running);
        assert_eq!(row(&home, &task).status, becomes, "{}", home.daemon_log());
        assert_eq!(git(&repository, &["branch", "--format=%(refname:short)"]), "main");
        if wish == "pause" {
            home.run(&["task", "resume", &task]).ok();
            wait_to_the_end(&home, &task);
            assert_done_once(&home, &repository, &task);
        }
    }
}
