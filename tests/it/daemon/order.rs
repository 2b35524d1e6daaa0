//! What goes first, what waits for what, what is refused, and how a list is read on.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::recovery::scene::{
    CHECK, GATED, QUICK, add, add_command, is_over, notes, open, row, wait_at_gate,
};
use crate::support::{Home, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_urgent_and_due_goes_first() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let _daemon = home.up_with(|command| {
        command.env("JOURNEYMAN__SYSTEM__MAX_CONCURRENT_TASKS", "1");
    });
    let first = add_command(&home, &repository, GATED, CHECK);
    let tree = wait_at_gate(&home, &home.data(), &first);
    let add = |options: &[&str]| {
        let all = [&["--command", QUICK, "--check", CHECK], options].concat();
        add(&home, &repository, &all)
    };
    let low = add(&["--priority", "low", "low"]);
    let normal = add(&["normal"]);
    let later = add(&["--due", "2031-01-01T00:00:00Z", "due later"]);
    let sooner = add(&["--due", "2030-01-01T00:00:00+01:00", "due sooner"]);
    let critical = add(&["--priority", "critical", "critical"]);
    open(&tree);
    let expected = [&first, &critical, &sooner, &later, &normal, &low];
    for task in expected {
        wait_until("the task is over", || is_over(&home, task));
    }
    let mut started: Vec<_> =
        expected.iter().map(|task| (row(&home, task).started_at, (*task).clone())).collect();
    started.sort();
    let started: Vec<_> = started.iter().map(|(_, task)| task).collect();
    assert_eq!(started, expected);
    let refused = home.run(&["task", "add", "--repo", ".", "--priority", "huge", "x"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    let refused = home.run(&["task", "add", "--repo", ".", "--due", "tomorrow", "x"]);
    assert_eq!(refused.code, 2, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_waits_for_those_before_it() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let _daemon = home.up();
    let first = add_command(&home, &repository, GATED, CHECK);
    let options = ["--command", QUICK, "--check", CHECK, "--after", &first, "After it"];
    let second = add(&home, &repository, &options);
    let tree = wait_at_gate(&home, &home.data(), &first);
    let deps = home.run(&["task", "deps", &second, "--json"]).ok().json();
    let before =
        json!([{ "id": first, "status": "running", "title": "Write two", "depends_on": [] }]);
    let whole = |id: &str, status: &str, title: &str, before: &Value, after: &Value| json!({ "id": id, "status": status, "title": title, "is_cut": false, "depends_on": before, "blocks": after });
    assert_eq!(deps, whole(&second, "waiting", "After it", &before, &json!([])));
    let deps = home.run(&["task", "deps", &first, "--json"]).ok().json();
    let after = json!([{ "id": second, "status": "waiting", "title": "After it", "blocks": [] }]);
    assert_eq!(deps, whole(&first, "running", "Write two", &json!([]), &after));
    let text = home.run(&["task", "deps", &second]).ok().stdout;
    assert!(text.contains("waits for:") && text.contains("Write two"), "{text}");
    let tasks = [row(&home, &first), row(&home, &second)];
    assert_eq!((tasks[0].status.as_str(), tasks[1].status.as_str()), ("running", "waiting"));
    open(&tree);
    wait_until("both are over", || {
        is_over(&home, &first) && row(&home, &second).verified.is_some()
    });
    wait_until("both are over", || row(&home, &second).status.is_final());
    let (first, second) = (row(&home, &first), row(&home, &second));
    assert_eq!((first.status.as_str(), second.status.as_str()), ("completed", "completed"));
    assert!(second.started_at.unwrap() > first.completed_at.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_keeps_a_task_from_being_there_twice() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let options = ["--command", QUICK, "--check", CHECK, "--unique", "nightly", "Nightly"];
    let task = add(&home, &repository, &options);
    let fixed = ["task", "add", "--json", "--repo", repository.to_str().unwrap()];
    let again: Vec<&str> = fixed.into_iter().chain(options).collect();
    let refused = home.run(&again);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("already"), "{refused:?}");
    let _daemon = home.up();
    wait_until("it is over", || is_over(&home, &task));
    let next = add(&home, &repository, &options);
    assert_ne!(next, task);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_lines_of_a_file_are_added_or_none() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let repo = repository.to_str().unwrap();
    let line = |key: &str, after: &[&str]| {
        json!({
            "key": key, "repo": repo, "prompt": key, "after": after, "driver": "command",
            "command": ["sh", "-c", "echo two >> note.txt"], "check": [CHECK],
        })
        .to_string()
    };
    let file = home.folder.path().join("tasks.jsonl");
    let file_name = file.to_str().unwrap();
    std::fs::write(&file, format!("{}\n{{\"repo\": 3}}\n", line("a", &[]))).unwrap();
    let refused = home.run(&["task", "add", "--file", file_name]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("line 2"), "{refused:?}");
    std::fs::write(&file, [line("a", &["b"]), line("b", &["a"])].join("\n")).unwrap();
    let refused = home.run(&["task", "add", "--file", file_name]);
    assert_eq!(refused.code, 2, "{refused:?}");
    let listed = home.run(&["task", "list", "--json"]).ok().json();
    assert_eq!(listed, json!({ "tasks": [], "next_cursor": null }));

    std::fs::write(&file, [line("a", &["b"]), String::new(), line("b", &[])].join("\n")).unwrap();
    let added = home.run(&["task", "add", "--json", "--file", file_name]).ok().json();
    let states: Vec<_> = added["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| (task["title"].clone(), task["status"].clone()))
        .collect();
    assert_eq!(states, [(json!("a"), json!("waiting")), (json!("b"), json!("ready"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_filtered_and_read_on() {
    let home = Home::new().await;
    let (one, two) = (notes(&home, "one"), notes(&home, "two"));
    let _daemon = home.up();
    let mut added = BTreeSet::new();
    for repository in [&one, &one, &one, &two] {
        added.insert(add_command(&home, repository, QUICK, CHECK));
    }
    let held = add_command(&home, &two, GATED, CHECK);
    for task in &added {
        wait_until("the task is over", || is_over(&home, task));
    }
    wait_at_gate(&home, &home.data(), &held);
    let list = |options: &[&str]| {
        let arguments = [&["task", "list", "--json"], options].concat();
        home.run(&arguments).ok().json()
    };
    let ids = |page: &Value| -> Vec<String> {
        let tasks = page["tasks"].as_array().unwrap().iter();
        tasks.map(|task| task["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&list(&["--status", "running"])), std::slice::from_ref(&held));
    let completed = list(&["--status", "completed"]);
    assert_eq!(ids(&completed).into_iter().collect::<BTreeSet<_>>(), added);
    assert_eq!(completed["next_cursor"], Value::Null);
    assert_eq!(ids(&list(&["--codebase", "two"])).len(), 2);
    assert_eq!(ids(&list(&["--codebase", "two", "--status", "completed"])).len(), 1);

    let mut read = Vec::new();
    let mut page = list(&["--limit", "2"]);
    loop {
        assert!(ids(&page).len() <= 2, "{page}");
        read.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str().map(str::to_owned) else { break };
        page = list(&["--limit", "2", "--cursor", &cursor]);
    }
    let mut newest_first: Vec<_> = added.iter().chain([&held]).cloned().collect();
    newest_first.sort();
    newest_first.reverse();
    assert_eq!(read, newest_first);
    assert_eq!(home.run(&["task", "list", "--status", "odd"]).code, 2);
    assert_eq!(home.run(&["task", "list", "--cursor", "odd"]).code, 2);
    assert_eq!(home.run(&["task", "list", "--codebase", "three"]).code, 2);
    let text = home.run(&["task", "list", "--limit", "2"]).ok().stdout;
    assert!(text.starts_with("TASK") && text.contains("--cursor"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_shows_each_step_and_the_end() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let _daemon = home.up();
    let task = add_command(&home, &repository, GATED, CHECK);
    let tree = wait_at_gate(&home, &home.data(), &task);
    let mut command = home.command(&["task", "watch", &task, "--json"]);
    let watching = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    open(&tree);
    let watched = crate::support::Ran::from(watching.wait_with_output().unwrap()).ok();
    let events: Vec<Value> =
        watched.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let journal: Vec<_> = events
        .iter()
        .filter(|event| event["seq"].as_i64() > Some(0))
        .map(|event| event["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(journal, crate::recovery::scene::kinds(&home, &task));
    let last = events.last().unwrap();
    assert_eq!((&last["kind"], &last["detail"]["status"]), (&json!("end"), &json!("completed")));
    for event in &events {
        let keys: Vec<_> = event.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["at", "detail", "kind", "seq", "snapshot", "text"]);
    }
    let lines = home.run(&["task", "watch", &task]).ok();
    assert!(lines.stdout.contains("completed"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_milestone_stands_for_those_before_it() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let _daemon = home.up();
    let quick = add_command(&home, &repository, QUICK, CHECK);
    let milestone = add(&home, &repository, &["--driver", "none", "--after", &quick, "all notes"]);
    let after = ["--command", QUICK, "--check", CHECK, "--after", &milestone, "then"];
    let last = add(&home, &repository, &after);
    wait_until("all is over", || row(&home, &last).status.is_final());
    let shown = home.task(&milestone);
    assert_eq!(
        (&shown["status"], &shown["attempts"], &shown["branch"]),
        (&json!("completed"), &json!(0), &Value::Null)
    );
    assert_eq!(home.task(&last)["status"], "completed");
    let refused =
        home.run(&["task", "add", "--repo", ".", "--driver", "none", "--check", "x", "m"]);
    assert_eq!(refused.code, 2, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_one_that_is_lost_does_as_it_was_told() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let _daemon = home.up();
    let lost = add_command(&home, &repository, GATED, CHECK);
    let behind = |what: &str| {
        let options =
            ["--command", QUICK, "--check", CHECK, "--after", &lost, "--on-failure", what, what];
        add(&home, &repository, &options)
    };
    let [skip, fail, run, wait] = ["skip", "fail", "run", "wait"].map(behind);
    let beyond = ["--command", QUICK, "--after", &skip, "--on-failure", "fail", "beyond"];
    let beyond = add(&home, &repository, &beyond);
    wait_at_gate(&home, &home.data(), &lost);
    home.run(&["task", "cancel", &lost]).ok();
    wait_until("the one that runs all the same is over", || row(&home, &run).status.is_final());
    let states = [&skip, &fail, &run, &wait, &beyond].map(|task| home.task(task)["status"].clone());
    assert_eq!(states, ["cancelled", "failed", "completed", "waiting", "failed"].map(Value::from));
    let because = home.task(&skip)["because"].as_str().unwrap().to_owned();
    assert!(because.starts_with("what it waited for did not complete: "), "{because}");
    let refused = home.run(&["task", "add", "--repo", ".", "--on-failure", "cry", "x"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("known are wait, fail, skip, run"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_codebase_and_an_agent_run_no_more_at_once_than_they_may() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let path = repository.to_str().unwrap();
    home.run(&["codebase", "add", path]).ok();
    home.run(&["codebase", "set", "notes", "--max-concurrent", "1"]).ok();
    let _daemon = home.up();
    let first = add_command(&home, &repository, GATED, CHECK);
    let tree = wait_at_gate(&home, &home.data(), &first);
    let second = add_command(&home, &repository, QUICK, CHECK);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(home.task(&second)["status"], "ready");
    open(&tree);
    wait_until("both are over", || row(&home, &second).status.is_final());
    for (arguments, said) in [
        (&["agent", "set", "Test Generator", "max_concurrent=many"][..], "a whole number"),
        (&["codebase", "set", "nowhere", "--max-concurrent", "1"], "nowhere"),
        (&["codebase", "set", "notes", "--max-concurrent", "-1"], "-1"),
    ] {
        let refused = home.run(arguments);
        assert!(refused.code == 2 && refused.stderr.contains(said), "{refused:?}");
    }
    home.run(&["agent", "set", "Test Generator", "max_concurrent=2"]).ok();
    home.run(&["agent", "set", "Test Generator", "max_concurrent=0"]).ok();
}
