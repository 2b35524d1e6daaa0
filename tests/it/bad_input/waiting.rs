//! Tasks that wait for what will not come, and times and keys that cannot be meant.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{notes, refuse, tasks};
use crate::recovery::scene::{
    CHECK, GATED, QUICK, add, add_command, processes, run_of, wait, wait_at_gate,
};
use crate::support::{Home, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_what_was_lost_before() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let lost = add(&home, &repository, &["--driver", "none", "lost"]);
    home.run(&["task", "cancel", &lost]).ok();
    let short = &lost[lost.len() - 8..];
    let after = ["task", "add", "--repo", repository.to_str().unwrap(), "--after", &lost];
    let said = format!("task {short}, which it shall come after, is cancelled");
    for policy in
        [&[][..], &["--on-failure", "wait"], &["--on-failure", "fail"], &["--on-failure", "skip"]]
    {
        let refused = refuse(&home, &[&after[..], policy, &["x"]].concat(), 2, "conflict");
        assert_eq!(refused.message, said);
        let hint = refused.hint.unwrap();
        assert!(hint.contains(&format!("journeyman task retry {short}")), "{hint}");
    }
    // In a file, too, its line is named, and nothing of it is added.
    let line = |key: &str, after: &[&str]| {
        json!({ "key": key, "repo": repository, "prompt": key, "driver": "none", "after": after })
            .to_string()
    };
    let lines = [line("a", &[]), line("b", &["a", &lost])].join("\n");
    std::fs::write(home.folder.path().join("tasks.jsonl"), lines).unwrap();
    let refused = refuse(&home, &["task", "add", "--file", "tasks.jsonl"], 2, "conflict");
    assert_eq!(refused.message, format!("task 2 ('b'): {said}"));
    assert_eq!(tasks(&home), ["lost"]);
    // Who runs all the same may come after it; what was tried again is no loss any more.
    add(
        &home,
        &repository,
        &["--driver", "none", "--after", &lost, "--on-failure", "run", "all the same"],
    );
    home.run(&["task", "retry", &lost]).ok();
    add(&home, &repository, &["--driver", "none", "--after", &lost, "behind it"]);
    let listed = home.run(&["task", "list", "--json"]).ok().json();
    let states: Vec<_> =
        listed["tasks"].as_array().unwrap().iter().map(|task| &task["status"]).collect();
    assert_eq!(states, ["waiting", "waiting", "ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_existing_task_waits_for_closes_no_circle_and_must_be_there() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let line = |key: &str, after: &[&str]| {
        json!({ "key": key, "repo": repository, "prompt": key, "driver": "none", "after": after })
            .to_string()
    };
    let file = |lines: &[String]| {
        std::fs::write(home.folder.path().join("tasks.jsonl"), lines.join("\n")).unwrap();
    };
    file(&[line("a", &["b"]), line("b", &["c", "d"]), line("c", &[]), line("d", &["a"])]);
    let refused = refuse(&home, &["task", "add", "--file", "tasks.jsonl"], 2, "cycle");
    assert_eq!(refused.message, "the tasks wait for each other: a -> b -> d -> a");
    assert_eq!(refused.hint.as_deref(), Some("nothing was added"));
    let unknown = "01930000-0000-7000-8000-000000000000";
    file(&[line("a", &[]), line("b", &["a", unknown])]);
    let refused = refuse(&home, &["task", "add", "--file", "tasks.jsonl"], 2, "not_found");
    assert_eq!(refused.message, format!("task 2 ('b'): there is no task {unknown}"));
    let alone = ["task", "add", "--repo", repository.to_str().unwrap(), "--after", unknown, "x"];
    let refused = refuse(&home, &alone, 2, "not_found");
    assert_eq!(refused.message, format!("there is no task {unknown}"));
    assert_eq!(tasks(&home), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_due_time_that_has_passed_is_refused() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let repo = repository.to_str().unwrap();
    for due in ["2020-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2020-01-01T01:00:00+01:00"] {
        let refused =
            refuse(&home, &["task", "add", "--repo", repo, "--due", due, "x"], 2, "usage");
        let said = refused.message.strip_prefix("the due time ").unwrap();
        assert!(said.ends_with("Z is in the past"), "{refused:?}");
    }
    let line = json!({ "repo": repo, "prompt": "x", "due": "2020-01-01T00:00:00Z" }).to_string();
    let good = json!({ "repo": repo, "prompt": "y" }).to_string();
    std::fs::write(home.folder.path().join("tasks.jsonl"), [good, line].join("\n")).unwrap();
    let refused = refuse(&home, &["task", "add", "--file", "tasks.jsonl"], 2, "usage");
    assert_eq!(refused.message, "task 2: the due time 2020-01-01T00:00:00Z is in the past");
    assert_eq!(tasks(&home), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_unique_key_is_named() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let repo = repository.to_str().unwrap();
    let holder = add(&home, &repository, &["--driver", "none", "--unique", "nightly", "first"]);
    let short = &holder[holder.len() - 8..];
    let said = format!("the unfinished task {short} has this unique key already");
    let alone = ["task", "add", "--repo", repo, "--unique", "nightly", "second"];
    assert_eq!(refuse(&home, &alone, 2, "conflict").message, said);
    let line =
        |unique: &str| json!({ "repo": repo, "prompt": unique, "unique": unique }).to_string();
    let lines = [line("weekly"), line("nightly"), line("monthly")].join("\n");
    std::fs::write(home.folder.path().join("tasks.jsonl"), lines).unwrap();
    let refused = refuse(&home, &["task", "add", "--file", "tasks.jsonl"], 2, "conflict");
    assert_eq!(refused.message, format!("task 2: {said}"));
    assert_eq!(tasks(&home), ["first"]);
    // The others' keys were not taken by what was refused.
    let added = json!([line("weekly"), line("monthly")]);
    let lines: Vec<_> = added.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    std::fs::write(home.folder.path().join("tasks.jsonl"), lines.join("\n")).unwrap();
    home.run(&["task", "add", "--file", "tasks.jsonl"]).ok();
    assert_eq!(tasks(&home), ["monthly", "weekly", "first"]);
}

/// A row that an administrator deleted takes its tasks with it: the daemon works on what is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_codebase_that_is_deleted_takes_its_tasks_and_nothing_else() {
    let home = Home::new().await;
    let (gone, stays) = (notes(&home, "gone"), crate::recovery::scene::notes(&home, "stays"));
    std::fs::write(gone.join(".git/info/exclude"), "gate\n").unwrap();
    let mut daemon = home.up_with(|command| {
        command.env("JOURNEYMAN__SYSTEM__MAX_CONCURRENT_TASKS", "1");
    });
    let running = add_command(&home, &gone, GATED, CHECK);
    wait_at_gate(&home, &home.data(), &running);
    let run = run_of(&home, &running);
    let ready = add_command(&home, &gone, QUICK, CHECK);
    let waiting = add(&home, &gone, &["--driver", "none", "--after", &ready, "milestone"]);
    let mut connection = PgConnection::connect(&home.database_url()).await.unwrap();
    let delete = "DELETE FROM codebases WHERE name = 'gone'";
    connection.execute(AssertSqlSafe(delete)).await.unwrap();
    // Its program is ended, and its place is free for others.
    let other = add_command(&home, &stays, QUICK, CHECK);
    wait_until("the other codebase's task is done", || home.task(&other)["status"] == "completed");
    wait_until("the run's program is gone", || processes(run).is_empty());
    for task in [&running, &ready, &waiting] {
        let refused = refuse(&home, &["task", "show", task], 2, "not_found");
        assert_eq!(refused.message, format!("there is no task {task}"));
    }
    let after = ["task", "add", "--repo", stays.to_str().unwrap(), "--after", &ready, "x"];
    let refused = refuse(&home, &after, 2, "not_found");
    assert_eq!(refused.message, format!("there is no task {ready}"));
    // Registered again, it is a codebase like any other.
    let again = add_command(&home, &gone, QUICK, CHECK);
    wait_until("a new task of it is done", || home.task(&again)["status"] == "completed");
    wait(crate::queue::invariants::assert_holds(&mut connection));
    assert_eq!(daemon.stop(), 0);
    let audit = home.run(&["audit", "verify", "--json"]).ok().json();
    assert_eq!(audit["ok"], true, "{audit}");
}
