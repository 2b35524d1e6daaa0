//! Checks that do not behave.

use super::{notes, run, state_of};
use crate::support::{Home, git};

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_hangs_is_stopped_at_the_repositorys_limit() {
    let home = Home::new().await;
    let files = [("note.txt", "one\n"), (".journeyman.toml", "check_timeout_s = 1\nrounds = 1\n")];
    let repository = home.repository("notes", &files);
    let before = state_of(&repository);
    let ran = run(&home, &repository, "echo two >> note.txt", "sleep 1000", &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let task = ran.json();
    assert_eq!((&task["status"], &task["verified"]), (&"failed".into(), &false.into()));
    let error = task["error"].as_str().unwrap();
    assert!(error.starts_with("sleep 1000 hangs: it was stopped after 1 s"), "{error}");
    assert_eq!(task["errors"][0]["category"], "timeout.hard");
    assert_eq!(state_of(&repository), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_floods_is_cut_and_said_so() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let before = state_of(&repository);
    let ran = run(&home, &repository, "echo two >> note.txt", "yes", &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let task = ran.json();
    assert_eq!((&task["status"], &task["verified"]), (&"failed".into(), &false.into()));
    let error = task["error"].as_str().unwrap();
    assert!(error.contains("it printed more than 16777216 bytes"), "{error}");
    // What is kept of it is bounded.
    let logs = home.run(&["task", "logs", "latest", "--full", "--json"]).ok().stdout;
    assert!(logs.len() < 1024 * 1024, "{} bytes", logs.len());
    assert_eq!(state_of(&repository), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_of_any_bytes_is_evidence_as_any_other() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let agent = r#"printf "\000\001\377\033[31m\n"; echo two >> note.txt"#;
    let check = r"printf 'all\000\001\377\033]0;title\007is\n'; grep -q three note.txt";
    let ran = run(&home, &repository, agent, check, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let task = ran.json();
    assert_eq!((&task["status"], &task["verified"]), (&"failed".into(), &false.into()));
    let ended = &task["verification"]["checks"][0]["ended"];
    assert_eq!(ended, &serde_json::json!({ "ended": "exited", "code": 1 }));
    for shown in [
        ran.stderr,
        home.run(&["task", "show", "latest"]).ok().stdout,
        home.run(&["task", "logs", "latest"]).ok().stdout,
        home.run(&["errors", "list"]).ok().stdout,
    ] {
        let codes: Vec<_> = shown.chars().filter(|c| c.is_control() && *c != '\n').collect();
        assert!(codes.is_empty(), "{shown:?}");
    }
    assert_eq!(git(&repository, &["branch", "--list"]), "* main");
}
