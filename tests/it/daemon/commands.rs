//! Every command that looks or sets, once, in the shape that is documented for it.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::recovery::scene::{
    CHECK, GATED, QUICK, add_command, is_over, notes, open, run_of, wait_at_gate,
};
use crate::support::{Home, Ran, wait_until};

fn rows<'a>(document: &'a Value, plural: &str) -> &'a Vec<Value> {
    let fields: Vec<_> = document.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = ["next_cursor", plural];
    expected.sort_unstable();
    assert_eq!(fields, expected);
    document[plural].as_array().unwrap()
}

fn find<'a>(node: &'a Value, path: &str) -> Option<&'a Value> {
    if node["path"] == path {
        return Some(node);
    }
    node["children"].as_array()?.iter().find_map(|child| find(child, path))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tree_shows_what_runs() {
    let home = Home::new().await;
    let refused = home.run(&["tree"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("journeyman up"), "{refused:?}");
    let repository = notes(&home, "notes");
    let _daemon = home.up();
    let task = add_command(&home, &repository, GATED, CHECK);
    let gate = wait_at_gate(&home, &home.data(), &task);
    let tree = home.run(&["tree", "--json"]).ok().json();
    for path in [
        "root",
        "root/auditor",
        "root/minds/learner",
        "root/orchestration/outbox",
        "root/scheduler",
        "root/sentinel",
    ] {
        let node = find(&tree, path).unwrap_or_else(|| panic!("no {path}: {tree}"));
        assert_eq!(node["status"]["state"], "running", "{node}");
        assert!(node["uptime_ms"].is_u64() && node["mailbox_depth"].is_u64(), "{node}");
        assert_eq!((&node["restarts"], &node["restarts_in_period"]), (&json!(0), &json!(0)));
        assert_eq!((&node["last_exit"], &node["restart_in_ms"]), (&Value::Null, &Value::Null));
    }
    assert_eq!(tree["budget"], json!({ "used": 0, "intensity": 3, "period_ms": 60_000 }));
    let run = run_of(&home, &task).to_string();
    let agents = find(&tree, "root/agents").unwrap()["children"].as_array().unwrap();
    let runs: Vec<_> =
        agents.iter().flat_map(|agent| agent["children"].as_array().unwrap()).collect();
    assert_eq!(runs.len(), 1, "{tree}");
    assert!(runs[0]["path"].as_str().unwrap().ends_with(&run), "{tree}");
    assert!(runs[0]["now"].as_str().unwrap().starts_with("round 1"), "{tree}");
    let text = home.run(&["tree"]).ok().stdout;
    assert!(text.contains("scheduler  running") && text.contains(&run), "{text}");
    open(&gate);
    wait_until("the task is over", || is_over(&home, &task));
    wait_until("the run has left the tree", || !home.run(&["tree"]).ok().stdout.contains(&run));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_doctor_grade_what_they_find() {
    let home = Home::new().await;
    let health = home.run(&["health", "--json"]).ok().json();
    for part in ["system", "learning", "integrations"] {
        assert_eq!(health[part]["status"], "healthy", "{health}");
        assert_eq!(health[part]["reasons"], json!([]), "{health}");
    }
    let document = |home: &Home| home.run(&["doctor", "--json"]).ok().json();
    let grade = |document: &Value, what: &str| {
        let findings = rows(document, "findings");
        let found = findings.iter().find(|finding| finding["what"] == what).unwrap();
        assert_eq!(found["mend"].is_null(), found["grade"] == "ok", "{found}");
        found["grade"].as_str().unwrap().to_owned()
    };
    let before = document(&home);
    assert_eq!([grade(&before, "git"), grade(&before, "database")], ["ok", "ok"]);
    assert_eq!(grade(&before, "daemon"), "warn");
    let _daemon = home.up();
    assert_eq!(grade(&document(&home), "daemon"), "ok");
    let mut broken = home.command(&["doctor"]);
    broken.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
    let broken = Ran::from(broken.output().unwrap());
    assert_eq!(broken.code, 3, "{broken:?}");
    assert!(broken.stdout.contains("fail  database"), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_says_where_its_value_comes_from() {
    let home = Home::new().await;
    let get = |key: &str| home.run(&["config", "get", key, "--json"]).ok().json();
    assert_eq!(get("run.rounds"), json!({ "key": "run.rounds", "value": 3, "origin": "default" }));
    home.run(&["config", "set", "run.rounds", "5"]).ok();
    let path = home.run(&["config", "path", "--json"]).ok().json();
    let file = path["settings"].as_str().unwrap();
    assert_eq!(get("run.rounds"), json!({ "key": "run.rounds", "value": 5, "origin": file }));
    home.run(&["config", "set", "--system", "system.max_concurrent_tasks", "4"]).ok();
    let set = get("system.max_concurrent_tasks");
    assert_eq!((&set["value"], &set["origin"]), (&json!(4), &json!("system_configuration")));
    let mut list = home.command(&["config", "list", "--origin", "--json"]);
    list.env("JOURNEYMAN__SCHEDULER__LEASE_S", "9");
    let list = Ran::from(list.output().unwrap()).ok().json();
    let settings = rows(&list, "settings");
    let lease = settings.iter().find(|row| row["key"] == "scheduler.lease_s").unwrap();
    assert_eq!(lease["value"], json!(9));
    assert_eq!(lease["origin"], json!("$JOURNEYMAN__SCHEDULER__LEASE_S"));
    let text = home.run(&["config", "list", "--origin"]).ok().stdout;
    assert!(text.lines().any(|line| line.starts_with("run.rounds ") && line.contains(file)));
    for wrong in [
        &["config", "get", "run.no_such"][..],
        &["config", "set", "run.rounds", "many"],
        &["config", "set", "run.no_such", "1"],
    ] {
        let refused = home.run(wrong);
        assert_eq!(refused.code, 2, "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_changed_and_then_acts_so() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let listed = home.run(&["agent", "list", "--json"]).ok().json();
    assert_eq!(rows(&listed, "agents").len(), 5);
    let changes = ["driver=command", "command=sh -c 'echo two >> note.txt'", "description=Writes."];
    let arguments = [&["agent", "set", "General Assistant", "--json"], &changes[..]].concat();
    home.run(&arguments).ok();
    let agent = home.run(&["agent", "show", "General Assistant", "--json"]).ok().json();
    assert_eq!(agent["configuration"]["driver"], "command");
    assert_eq!(agent["configuration"]["command"], json!(["sh", "-c", "echo two >> note.txt"]));
    assert_eq!(agent["description"], "Writes.");
    let path = repository.to_str().unwrap();
    let arguments =
        ["run", "--json", "--repo", path, "--agent", "General Assistant", "--check", CHECK, "Two"];
    let task = home.run(&arguments).ok().json();
    assert_eq!((&task["verified"], &task["driver"]), (&json!(true), &json!("command")));
    assert_eq!(task["agent"], "General Assistant");

    home.run(&["agent", "set", "General Assistant", "active=false"]).ok();
    let agent = home.run(&["agent", "show", "General Assistant", "--json"]).ok().json();
    assert_eq!(agent["is_active"], false);
    for wrong in [
        &["agent", "show", "Nobody"][..],
        &["agent", "set", "General Assistant", "driver=magic"],
        &["agent", "set", "General Assistant", "colour=blue"],
        &["agent", "set", "General Assistant", "active"],
    ] {
        let refused = home.run(wrong);
        assert_eq!(refused.code, 2, "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_on_record_with_their_evidence() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    assert_eq!(
        home.run(&["errors", "list", "--json"]).ok().json(),
        json!({ "errors": [], "next_cursor": null })
    );
    let path = repository.to_str().unwrap();
    let check = "echo 'assertion failed: left == right'; exit 1";
    let run = ["run", "--json", "--repo", path, "--command", QUICK, "--check", check, "Try"];
    let task = home.run(&run);
    assert_eq!(task.code, 1, "{task:?}");
    let task = task.json();
    let listed = home.run(&["errors", "list", "--json"]).ok().json();
    let errors = rows(&listed, "errors");
    assert!(!errors.is_empty());
    assert!(errors.iter().all(|error| error["task"] == task["id"]), "{errors:?}");
    let id = errors[0]["id"].as_str().unwrap();
    let shown = home.run(&["errors", "show", id, "--json"]).ok().json();
    assert_eq!(shown["fingerprint"], errors[0]["fingerprint"]);
    assert!(shown["evidence"].to_string().contains("assertion failed"), "{shown}");
    let text = home.run(&["errors", "show", id]).ok().stdout;
    assert!(text.contains("fingerprint"), "{text}");
    let of_task =
        ["errors", "list", "--task", task["id"].as_str().unwrap(), "--limit", "1", "--json"];
    assert_eq!(rows(&home.run(&of_task).ok().json(), "errors").len(), 1);

    let mut classify = home.command(&["errors", "classify", "--json"]);
    let mut child = classify.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"error[E0425]: cannot find value `x`\n").unwrap();
    let classified = Ran::from(child.wait_with_output().unwrap()).ok().json();
    assert_eq!(classified["classification"]["category"], "build.compile", "{classified}");
    assert_eq!(classified["policy"]["policy"], "retry_with_evidence");
    assert_eq!(home.run(&["errors", "classify"]).code, 2, "nothing to classify");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_and_the_codebases_can_be_read() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let path = repository.to_str().unwrap();
    let added = home.run(&["codebase", "add", path, "--name", "jottings", "--json"]).ok().json();
    assert_eq!((&added["name"], &added["local_path"]), (&json!("jottings"), &json!(path)));
    let again = home.run(&["codebase", "add", path, "--json"]).ok().json();
    assert_eq!(again["id"], added["id"]);
    let listed = home.run(&["codebase", "list", "--json"]).ok().json();
    let ids: Vec<_> = rows(&listed, "codebases").iter().map(|row| &row["id"]).collect();
    assert_eq!(ids, [&added["id"]]);
    assert_eq!(home.run(&["codebase", "add", "/nowhere"]).code, 2);

    let id = added["id"].as_str().unwrap();
    let list = ["audit", "list", "--table", "codebases", "--record", id, "--json"];
    let listed = home.run(&list).ok().json();
    let entries = rows(&listed, "entries");
    let inserted = entries.iter().find(|entry| entry["operation"] == "INSERT").unwrap();
    assert_eq!(inserted["new_values"]["name"], "jottings");
    let entry = inserted["id"].as_str().unwrap();
    let shown = home.run(&["audit", "show", entry, "--json"]).ok().json();
    assert_eq!(shown["record_id"], added["id"]);
    let verified = home.run(&["audit", "verify", "--json"]).ok().json();
    assert_eq!((&verified["ok"], &verified["first_broken"]), (&json!(true), &json!(null)));
    assert_eq!(home.run(&["audit", "show", "odd"]).code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_everything_back() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let task = add_command(&home, &repository, QUICK, CHECK);
    let url = home.run(&["db", "url", "--json"]).ok().json();
    assert_eq!(url["url"], json!(home.database_url()));
    let file = home.folder.path().join("backup.dump");
    let file = file.to_str().unwrap();
    home.run(&["db", "backup", file]).ok();
    home.run(&["task", "cancel", &task]).ok();
    let other = add_command(&home, &repository, QUICK, CHECK);
    assert_eq!(home.run(&["db", "restore", file]).code, 2, "without --yes");
    std::fs::write(home.folder.path().join("damaged"), "no backup").unwrap();
    assert_eq!(home.run(&["db", "restore", "damaged", "--yes"]).code, 1);
    assert_eq!(home.task(&other)["status"], "ready", "nothing was replaced");
    home.run(&["db", "restore", file, "--yes"]).ok();
    assert_eq!(home.task(&task)["status"], "ready");
    assert_eq!(home.run(&["task", "show", &other]).code, 2);
    let audit = home.run(&["audit", "verify", "--json"]).ok().json();
    assert_eq!(audit["ok"], true, "{audit}");
    let _daemon = home.up();
    wait_until("the restored task is done", || home.task(&task)["status"] == "completed");
    let refused = home.run(&["db", "restore", file, "--yes"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("daemon"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_know_the_commands() {
    let home = Home::new().await;
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&["completions", shell]).ok().stdout;
        for word in ["journeyman", "codebase", "completions", "allow-unverified"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(home.run(&["completions", "tcsh"]).code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_has_one_daemon() {
    let home = Home::new().await;
    let _daemon = home.up();
    let second = home.run(&["up", "--json"]);
    let problem: Value = serde_json::from_str(&second.stderr).unwrap();
    assert_eq!((second.code, &problem["error"]["code"]), (2, &json!("already_running")));
    assert_eq!(home.run(&["tree", "--json"]).code, 0);
}
