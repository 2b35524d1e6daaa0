//! The undisturbed road, and what a user sees of it.

use serde_json::{Value, json};

use super::scene::{Scene, TOKEN};
use crate::recovery::scene::{CHECK, GATED, QUICK, add, open, wait_at_gate};
use crate::support::{git, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_verified_change_becomes_a_branch_on_the_remote_and_a_pull_request() {
    let scene = Scene::new().await;
    let (code, task) = scene.run_json(&[]);
    assert_eq!(code, 0, "{task}");
    let branch = task["branch"].as_str().unwrap();
    assert_eq!(scene.remote.branch(branch).as_deref(), task["head_commit"].as_str());
    assert_eq!((scene.remote.pushes(), scene.remote.changes(branch)), (1, 1));
    let pulls = scene.forge.pulls();
    assert_eq!(pulls.len(), 1, "{pulls:?}");
    let pull = &pulls[0];
    assert_eq!((pull.repository.as_str(), pull.head.as_str()), ("acme/notes", branch));
    assert_eq!((pull.base.as_str(), pull.title.as_str()), ("main", "Write two"));
    let effects = scene.effects(task["id"].as_str().unwrap());
    let expected = format!(
        "Write two\n\nChecked on the base and on this change, in clean checkouts:\n\n\
         - `{CHECK}`: failed on the base, passes now\n\n<!-- journeyman: {} -->\n",
        effects[1].idempotency_key
    );
    assert_eq!(pull.body, expected);
    let address = scene.forge.address_of(1);
    assert_eq!(
        task["deliveries"],
        json!([
            { "kind": "push", "state": "done", "target": "127.0.0.1:acme/notes.git",
              "remote_id": task["head_commit"], "attempts": 1, "last_error": null },
            { "kind": "pull_request", "state": "done", "target": "127.0.0.1/acme/notes",
              "remote_id": address, "attempts": 1, "last_error": null },
        ])
    );
    assert_eq!(scene.forge.violations(), [""; 0]);
    // The user's own repository is as it was, but for the branch.
    assert_eq!(git(&scene.repository, &["branch", "--show-current"]), "main");
    assert_eq!(git(&scene.repository, &["status", "--porcelain"]), "");

    let ran = scene.run(&["--command", "sh -c 'echo two three >> note.txt'", "Again"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let address = scene.forge.address_of(2);
    assert!(ran.stdout.ends_with(&format!("\npull request: {address}\n")), "{ran:?}");
    let shown = scene.home.run(&["task", "show", "latest"]).ok().stdout;
    assert!(shown.contains(&format!("  request   {address}\n")), "{shown}");
    assert!(shown.contains("  push      done, 127.0.0.1:acme/notes.git\n"), "{shown}");
    let nothing = scene.home.run(&["task", "resend", "latest"]);
    assert_eq!(nothing.code, 2, "{nothing:?}");
    assert!(nothing.stderr.contains("has nothing that waits to be sent or failed"), "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_goes_to_the_branch_that_the_work_stands_on() {
    let scene = Scene::new().await;
    let repository = &scene.repository;
    git(repository, &["checkout", "-q", "-b", "release-1"]);
    git(repository, &["commit", "-q", "--allow-empty", "-m", "on the release"]);
    git(repository, &["update-ref", "refs/remotes/origin/release-1", "HEAD"]);
    git(repository, &["checkout", "-q", "main"]);
    let (code, task) = scene.run_json(&["--base", "release-1"]);
    assert_eq!(code, 0, "{task}");
    assert_eq!(scene.forge.pulls()[0].base, "release-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_in_nothing_that_is_kept_or_shown() {
    let scene = Scene::new().await;
    // It writes down all that it is given.
    let program = "sh -c 'env > note.txt; echo two >> note.txt'";
    // An answer that names it.
    scene.forge.fail_next(journeyman_testkit::forge::Fault::Status(500));
    let mut daemon = scene.up();
    let task = scene.add(program);
    scene.wait_for_done(&task);
    assert_eq!(daemon.stop(), 0, "{}", scene.home.daemon_log());
    let note = git(&scene.repository, &["show", &format!("{}:note.txt", scene.branch(&task))]);
    assert!(note.contains("PATH=") && !note.contains(TOKEN), "{note}");
    let url = scene.home.database_url();
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    for table in ["outbox", "audit_rows", "run_steps", "audit_events", "runtime_nodes"] {
        let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t"
        )))
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert!(!rows.is_empty() && !rows.contains(TOKEN), "{table}: {rows}");
    }
    assert!(!scene.home.daemon_log().contains(TOKEN));
    let shown = scene.home.run(&["task", "show", &task, "--json"]).ok();
    assert!(!shown.stdout.contains(TOKEN), "{shown:?}");
    let set = scene.home.run(&["config", "list", "--json"]).ok();
    assert!(set.stdout.contains("env:GITHUB_TOKEN"), "{set:?}");
}

/// The task's branch is taken on the remote while it is worked on.
#[tokio::test(flavor = "multi_thread")]
async fn a_branch_with_something_else_is_never_pushed_over() {
    let scene = Scene::new().await;
    let _daemon = scene.up();
    let task = scene.add(GATED);
    let gate = wait_at_gate(&scene.home, &scene.home.data(), &task);
    let branch = Scene::branch_to_be(&task);
    let bare = scene.remote.bare();
    let bare = bare.to_str().unwrap();
    git(&scene.repository, &["push", "-q", bare, &format!("main:refs/heads/{branch}")]);
    let theirs = scene.remote.branch(&branch);
    open(&gate);
    let state = || scene.home.task(&task)["deliveries"][0]["state"].clone();
    wait_until("the push is given up", || state() == "failed");
    let shown = scene.home.task(&task);
    let said = shown["deliveries"][0]["last_error"].as_str().unwrap();
    let begins = format!(
        "the branch {branch} is on 127.0.0.1:acme/notes.git already, with another commit ("
    );
    assert!(said.starts_with(&begins) && said.ends_with("nothing was pushed over it"), "{said}");
    assert_eq!((&shown["status"], &shown["verified"]), (&"completed".into(), &Value::Bool(true)));
    assert_eq!((scene.remote.branch(&branch), scene.remote.pushes()), (theirs, 0));
    assert_eq!(scene.forge.asked(), []);

    git(&scene.remote.bare(), &["branch", "-D", &branch]);
    scene.home.run(&["task", "resend", &task]).ok();
    scene.wait_for_done(&task);
    assert_eq!(
        scene.remote.branch(&branch).as_deref(),
        scene.home.task(&task)["head_commit"].as_str()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_that_is_there_is_taken_for_ours_also_when_it_is_closed() {
    let scene = Scene::new().await;
    let _daemon = scene.up();
    let task = scene.add(GATED);
    let gate = wait_at_gate(&scene.home, &scene.home.data(), &task);
    scene.forge.put(journeyman_testkit::forge::Pull {
        number: 1,
        repository: "acme/notes".into(),
        head: Scene::branch_to_be(&task),
        base: "main".into(),
        title: "Theirs".into(),
        body: String::new(),
        state: "closed",
    });
    open(&gate);
    let effects = scene.wait_for_done(&task);
    assert_eq!(effects[1].remote_id, Some(scene.forge.address_of(1)));
    assert_eq!(scene.forge.opened(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_and_lines_of_a_file_may_ask_for_it_too() {
    let scene = Scene::new().await;
    let repo = scene.repository.to_str().unwrap();
    let line = json!({
        "repo": repo, "prompt": "Write two", "deliver": "pr", "command": ["sh", "-c", "echo two >> note.txt"],
        "check": [CHECK],
    });
    let file = scene.home.folder.path().join("tasks.jsonl");
    std::fs::write(&file, format!("{line}\n")).unwrap();
    let _daemon = scene.up();
    let ran = scene.home.run(&["task", "add", "--json", "--file", file.to_str().unwrap()]).ok();
    let task = ran.json()["tasks"][0]["id"].as_str().unwrap().to_owned();
    scene.wait_for_done(&task);
    scene.assert_sent_once(&task);
    // What is not asked for is not done.
    let other =
        add(&scene.home, &scene.repository, &["--command", QUICK, "--check", CHECK, "Plain"]);
    wait_until("it is over", || scene.home.task(&other)["status"] == "completed");
    assert_eq!(scene.home.task(&other)["deliveries"], json!([]));
    assert_eq!(scene.forge.pulls().len(), 1);
}
