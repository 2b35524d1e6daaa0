//! `task add --file`: all lines are added, or none, and the one that is wrong is named.

use std::path::Path;

use super::{notes, refuse, tasks};
use crate::support::Home;

/// Refuses a file of these lines, in which `REPO` stands for a usable repository.
#[track_caller]
fn refused(home: &Home, repository: &Path, lines: &str, code: &str) -> String {
    let lines = lines.replace("REPO", repository.to_str().unwrap());
    std::fs::write(home.folder.path().join("tasks.jsonl"), lines).unwrap();
    let refused = refuse(home, &["task", "add", "--file", "tasks.jsonl"], 2, code);
    assert_eq!(tasks(home), [""; 0]);
    refused.message
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broken_line_is_named() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let good = r#"{"repo":"REPO","prompt":"a"}"#;
    for (line, said) in [
        (r#"{"repo":"REPO","promt":"b"}"#, "unknown field `promt`, expected one of `key`"),
        ("not json", "expected ident at column 2"),
        (r#"{"repo":"REPO"}"#, "missing field `prompt`"),
        (r#"{"repo":"REPO","prompt":1}"#, "invalid type: integer `1`, expected a string"),
        (r#"{"repo":"REPO","prompt":"b","due":"soon"}"#, "input contains invalid characters"),
        (r#"{"repo":"REPO","prompt":"#, "EOF while parsing a value at column"),
    ] {
        let message = refused(&home, &repository, &format!("{good}\n\n{line}\n"), "usage");
        let named = format!("tasks.jsonl, line 3: {said}");
        assert!(message.starts_with(&named), "{message}, not {named}");
        assert!(message.ends_with("; nothing was added"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_that_makes_no_sense_is_named() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let good = r#"{"key":"a","repo":"REPO","prompt":"a"}"#;
    for (rest, code, said) in [
        (r#""priority":"x""#, "usage", "'x' is no priority; known are"),
        (r#""deliver":"mail""#, "usage", "'mail' is no delivery; known are"),
        (r#""driver":"x""#, "usage", "'x' is no driver; known are"),
        (r#""agent":"x""#, "not_found", "there is no agent x"),
        (r#""agent":"x\u0000""#, "usage", "a text of the task has a zero byte"),
        (r#""after":["zz"]"#, "not_found", "there is no task zz"),
        (r#""base":"nope""#, "no_such_revision", "'nope' names no commit in"),
        (r#""budget_usd":-1"#, "usage", "the budget must be more than 0 dollars"),
    ] {
        let line = format!(r#"{{"key":"b","repo":"REPO","prompt":"b",{rest}}}"#);
        let message = refused(&home, &repository, &format!("{good}\n{line}\n"), code);
        assert!(message.starts_with(&format!("task 2 ('b'): {said}")), "{message}, not {said}");
    }
    let nul = r#"{"repo":"REPO","prompt":"a\u0000b"}"#;
    let message = refused(&home, &repository, nul, "usage");
    assert_eq!(message, "a text of the task has a zero byte");
    let nowhere = r#"{"repo":"REPO/nowhere","prompt":"a"}"#;
    let message = refused(&home, &repository, &format!("{good}\n{nowhere}\n"), "no_such_folder");
    assert!(message.starts_with("task 2: there is no folder "), "{message}");
    for empty in ["", "\n \n"] {
        assert_eq!(refused(&home, &repository, empty, "usage"), "the request has no task");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_is_named_by_its_keys_and_a_doubled_key_by_its_line() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let task = |key: &str, after: &str| {
        format!(r#"{{"key":"{key}","repo":"REPO","prompt":"{key}","after":[{after}]}}"#)
    };
    let lines = [task("a", r#""b""#), task("b", r#""c""#), task("c", r#""b""#)].join("\n");
    let message = refused(&home, &repository, &lines, "cycle");
    assert_eq!(message, "the tasks wait for each other: b -> c -> b");
    let message = refused(&home, &repository, &task("a", r#""a""#), "cycle");
    assert_eq!(message, "the tasks wait for each other: a -> a");
    let doubled = [task("a", ""), task("a", "")].join("\n");
    let message = refused(&home, &repository, &doubled, "usage");
    assert_eq!(message, "task 2 ('a'): another task has the key 'a'");
    // The same lines in order are a plan.
    let lines = [task("c", ""), task("b", r#""c""#), task("a", r#""b","c""#)].join("\n");
    let lines = lines.replace("REPO", repository.to_str().unwrap());
    std::fs::write(home.folder.path().join("tasks.jsonl"), lines).unwrap();
    home.run(&["task", "add", "--file", "tasks.jsonl"]).ok();
    assert_eq!(tasks(&home), ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_named() {
    let home = Home::new().await;
    std::fs::write(home.folder.path().join("latin"), b"\xff\n").unwrap();
    for file in ["nowhere", ".", "latin"] {
        let refused = refuse(&home, &["task", "add", "--file", file], 2, "usage");
        assert!(refused.message.starts_with(&format!("{file} cannot be read: ")), "{refused:?}");
    }
}
