//! Schedules, drain, maintenance and the queue's figures, as a user meets them.

use serde_json::{Value, json};

use crate::recovery::scene::{
    CHECK, GATED, QUICK, add_command, is_over, notes, open, row, wait_at_gate,
};
use crate::support::{Home, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_adds_its_task_when_its_time_comes() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let repo = repository.to_str().unwrap();
    let refused = |options: &[&str]| {
        let fixed = ["schedule", "add", "tidy", "Write two", "--repo", repo];
        let ran = home.run(&[&fixed[..], options].concat());
        assert_eq!(ran.code, 2, "{ran:?}");
        ran.stderr
    };
    for (options, said) in [
        (&["--cron", "0 0 30 2 *"][..], "the cron line '0 0 30 2 *' names no time that ever comes"),
        (&["--cron", "now and then"], "'now and then' is no cron line"),
        (&["--cron", "@daily", "--time-zone", "Atlantis"], "'Atlantis' is no time zone"),
        (&["--cron", "@daily", "--missed", "maybe"], "known are skip, once, all"),
        (&["--cron", "@daily", "--files", "../x"], "leads out of the repository"),
    ] {
        let stderr = refused(options);
        assert!(stderr.contains(said), "{stderr}");
    }
    let add =
        ["schedule", "add", "tidy", "Write two", "--repo", repo, "--json", "--cron", "0 3 * * 1-5"];
    let options = ["--time-zone", "Europe/Berlin", "--command", QUICK, "--check", CHECK];
    let added = home.run(&[&add[..], &options].concat()).ok().json();
    assert_eq!(
        (&added["name"], &added["missed"], &added["overlap"], &added["status"]),
        (&json!("tidy"), &json!("once"), &json!("skip"), &json!("active"))
    );
    assert_eq!(home.run(&[&add[..], &options].concat()).code, 2);
    let paused = home.run(&["schedule", "pause", "tidy", "--json"]).ok().json();
    assert_eq!((&paused["status"], &paused["next_at"]), (&json!("paused"), &Value::Null));
    assert!(home.run(&["schedule", "list"]).ok().stdout.contains("paused"));
    home.run(&["schedule", "resume", "tidy"]).ok();
    assert_eq!(home.run(&["schedule", "show", "untidy"]).code, 2);

    // Its time came while no daemon ran.
    let store = home.store();
    let schedule = store.schedules().find("tidy").await.unwrap();
    let earlier = store.now().await.unwrap() - chrono::TimeDelta::days(3);
    let acting = crate::schema::ACTING;
    let active = journeyman_domain::status::Status::Active;
    store.schedules().set(&acting, schedule.id, active, earlier).await.unwrap();
    let _daemon = home.up();
    let task =
        || home.run(&["schedule", "show", "tidy", "--json"]).ok().json()["last_task"].clone();
    wait_until("a task is added", || task().is_string());
    let task = task().as_str().unwrap().to_owned();
    wait_until("it is over", || is_over(&home, &task));
    assert_eq!(row(&home, &task).verified, Some(true));
    let shown = home.run(&["schedule", "show", "tidy"]).ok().stdout;
    assert!(shown.contains("0 3 * * 1-5 (Europe/Berlin)"), "{shown}");
    home.run(&["schedule", "remove", "tidy"]).ok();
    let all = home.run(&["schedule", "list", "--json"]).ok().json();
    assert_eq!(all, json!({ "schedules": [], "next_cursor": null }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_daemon_ends_what_it_has_and_begins_nothing() {
    let home = Home::new().await;
    assert_eq!(home.run(&["drain"]).code, 3);
    let repository = notes(&home, "notes");
    let _daemon = home.up();
    let first = add_command(&home, &repository, GATED, CHECK);
    let tree = wait_at_gate(&home, &home.data(), &first);
    let now = home.run(&["drain", "--no-wait", "--json"]).ok().json();
    assert_eq!((&now["running"], &now["held"]), (&json!(1), &json!(true)));
    let second = add_command(&home, &repository, QUICK, CHECK);
    open(&tree);
    let said = home.run(&["drain"]).ok().stdout;
    assert!(said.starts_with("no run is under way"), "{said}");
    assert!(is_over(&home, &first));
    assert_eq!(row(&home, &second).status.as_str(), "ready");
    let queue = home.run(&["stats", "queue"]).ok().stdout;
    assert!(queue.contains("1 ready") && queue.contains("drained"), "{queue}");
    home.run(&["drain", "--off"]).ok();
    wait_until("the second is over", || is_over(&home, &second));
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_and_limits_hold_without_a_restart() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let _daemon = home.up();
    let set = |value: &str| {
        home.run(&["config", "set", "--system", "system.maintenance_mode", value]).ok();
    };
    let scheduler = || home.run(&["stats", "queue", "--json"]).ok().json()["scheduler"].clone();
    set("true");
    wait_until("it is known", || scheduler()["maintenance"] == true);
    let task = add_command(&home, &repository, QUICK, CHECK);
    let shown = home.task(&task);
    assert_eq!(shown["status"], "ready");
    assert!(shown["because"].as_str().unwrap().starts_with("maintenance mode is on"), "{shown}");
    // Where it stands does not matter: the user's own file holds a limit.
    home.run(&["config", "set", "system.max_concurrent_tasks", "3"]).ok();
    set("false");
    wait_until("it is known", || scheduler()["max_concurrent"] == 3);
    wait_until("the task is over", || is_over(&home, &task));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_says_what_it_holds() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let repo = repository.to_str().unwrap();
    let add = |options: &[&str]| {
        let ran =
            home.run(&[&["task", "add", "--json", "--repo", repo][..], options].concat()).ok();
        ran.json()["tasks"][0]["id"].as_str().unwrap().to_owned()
    };
    let first = add(&["One", "--files", "src"]);
    add(&["Two", "--priority", "high"]);
    let third = add(&["Three", "--after", &first]);
    let part = add(&["A part of it", "--parent", &third]);
    let stats = home.run(&["stats", "queue", "--json"]).ok().json();
    let ready = &stats["ready"][0];
    assert_eq!((&ready["tasks"], &ready["codebase"]), (&json!(3), &json!("notes")), "{stats}");
    assert_eq!(
        stats["states"],
        json!([{ "status": "waiting", "waiting_for": "dependency", "tasks": 1 }])
    );
    let text = home.run(&["stats", "queue"]).ok().stdout;
    assert!(text.starts_with("3 ready\n") && text.contains("1 waiting for dependency"), "{text}");
    let shown = home.task(&first);
    assert_eq!(shown["files"], json!(["src"]));
    let listed = |options: &[&str]| -> Vec<String> {
        let ran = home.run(&[&["task", "list", "--json"][..], options].concat()).ok().json();
        let titles = ran["tasks"].as_array().unwrap().iter();
        titles.map(|task| task["title"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(&["--waiting-for", "dependency"]), ["Three"]);
    assert_eq!(listed(&["--parent", &third]), ["A part of it"]);
    assert_eq!(listed(&["--priority", "high"]), ["Two"]);
    assert_eq!(listed(&["--agent", "Code Reviewer"]), [""; 0]);
    assert_eq!(home.run(&["task", "list", "--waiting-for", "godot"]).code, 2);
    let tree = home.run(&["task", "deps", &third]).ok().stdout;
    assert!(
        tree.contains("├─ ") && tree.contains("└─ ") && tree.contains("A part of it"),
        "{tree}"
    );
    home.run(&["task", "cancel", &third]).ok();
    assert_eq!(home.task(&part)["status"], "cancelled");
    assert_eq!(
        home.task(&first)["because"],
        "no runtime is running; start one with: journeyman up"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_tasks_that_are_added_to_a_daemon_are_their_own() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let repo = repository.to_str().unwrap();
    let _daemon = home.up();
    let add = |program: &str, files: &str| {
        let fixed = ["task", "add", "--json", "--repo", repo, "--check", CHECK];
        let options = ["--command", program, "--files", files, "Write two"];
        let added = home.run(&[&fixed[..], &options].concat()).ok().json();
        added["tasks"][0]["id"].as_str().unwrap().to_owned()
    };
    let first = add(GATED, "note.txt");
    let tree = wait_at_gate(&home, &home.data(), &first);
    let second = add(QUICK, "*.txt");
    wait_until("it waits", || home.task(&second)["waiting_for"] == "lock");
    let shown = home.task(&second);
    let holder = &first[first.len() - 8..];
    assert_eq!(shown["because"], format!("waits for files that {holder} (running) works on"));
    assert_eq!(shown["files"], json!(["*.txt"]));
    open(&tree);
    wait_until("both are over", || is_over(&home, &first) && is_over(&home, &second));
    let (first, second) = (row(&home, &first), row(&home, &second));
    assert!(second.started_at.unwrap() >= first.completed_at.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_task_says_what_keeps_it() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let _daemon = home.up();
    let first = add_command(&home, &repository, GATED, CHECK);
    home.run(&["codebase", "set", "notes", "--max-concurrent", "1"]).ok();
    let tree = wait_at_gate(&home, &home.data(), &first);
    let second = add_command(&home, &repository, QUICK, CHECK);
    let because = home.task(&second)["because"].clone();
    assert_eq!(because, "1 of 1 runs of the codebase notes are under way");
    open(&tree);
    wait_until("both are over", || is_over(&home, &first) && is_over(&home, &second));
}
