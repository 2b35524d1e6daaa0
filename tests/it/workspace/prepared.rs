//! What checks need, and what they leave: the whole program, with commands that stand for package
//! managers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;

use crate::recovery::scene::{add, is_over};
use crate::support::{Home, git, wait_until};

/// A package whose dependencies are files of one line.
fn package(home: &Home, settings: &str) -> PathBuf {
    let manifest = r#"{"scripts":{"test":"true"},"dependencies":{"x":"1"}}"#;
    let files = [
        ("package.json", manifest),
        ("package-lock.json", "{}\n"),
        // With its slash it does not concern a link.
        (".gitignore", "node_modules/\n"),
        ("note.txt", "one\n"),
        (".journeyman.toml", settings),
    ];
    home.repository("package", &files)
}

const SETTINGS: &str = "prepare = ['mkdir node_modules', 'echo two > node_modules/x']
checks = ['grep -q two node_modules/x && grep -q two note.txt']
rounds = 1
";
const PROGRAM: &str = "sh -c 'cat node_modules/* >> note.txt'";

fn run(home: &Home, repository: &Path, program: &str) -> serde_json::Value {
    let path = repository.to_str().unwrap();
    home.run(&["run", "--json", "--repo", path, "--command", program, "Do it"]).json()
}

/// The only prepared folder.
fn prepared(home: &Home) -> PathBuf {
    let folders = fs::read_dir(home.data().join("prepared")).unwrap().flatten();
    let mut folders: Vec<_> = folders.map(|entry| entry.path()).filter(|it| it.is_dir()).collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_own_commands_fetch_is_there_for_agent_and_checks_and_in_no_change() {
    let home = Home::new().await;
    let repository = package(&home, SETTINGS);
    let task = run(&home, &repository, PROGRAM);
    assert_eq!((&task["status"], &task["verified"]), (&json!("completed"), &json!(true)), "{task}");
    let branch = task["branch"].as_str().unwrap();
    assert_eq!(git(&repository, &["diff", "--name-only", "main", branch]), "note.txt");
    assert_eq!(git(&repository, &["show", &format!("{branch}:note.txt")]), "one\ntwo");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_that_need_the_same_fetch_it_once() {
    let home = Home::new().await;
    let repository = package(&home, SETTINGS);
    run(&home, &repository, PROGRAM);
    // As if another run were fetching: not complete, and locked.
    let folder = prepared(&home);
    fs::remove_file(folder.join("complete")).unwrap();
    let lock = fs::File::options().write(true).open(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let path = repository.to_str().unwrap();
    let mut second = home.command(&["run", "--repo", path, "--command", PROGRAM, "Do it"]);
    let mut second = second.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let opened = PathBuf::from(format!("/proc/{}/fd", second.id()));
    wait_until("the second run waits for the lock", || {
        let files = fs::read_dir(&opened).unwrap().flatten();
        let mut files = files.filter_map(|file| fs::read_link(file.path()).ok());
        files.any(|file| file == folder.with_extension("lock"))
    });
    // The other one fetched more than this one would have.
    fs::write(folder.join("tree/node_modules/y"), "three\n").unwrap();
    fs::write(folder.join("complete"), "").unwrap();
    lock.unlock().unwrap();
    assert!(second.wait().unwrap().success());
    let branch = git(&repository, &["branch", "--sort=committerdate", "--format=%(refname:short)"]);
    let branch = branch
        .lines()
        .filter(|name| *name != "main")
        .find(|name| git(&repository, &["show", &format!("{name}:note.txt")]) == "one\ntwo\nthree");
    assert!(branch.is_some());
    assert_eq!(prepared(&home), folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_cannot_lend_what_is_hidden() {
    let home = Home::new().await;
    let config = home.folder.path().join("config");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("secret"), "s3cret\n").unwrap();
    let fetch = format!("prepare = ['ln -s {} node_modules']\n", config.display());
    let repository = package(&home, &format!("{fetch}checks = ['true']\nrounds = 1\n"));
    let program = format!(
        "sh -c 'cat node_modules/* {}/secret >> note.txt; echo end >> note.txt'",
        config.display()
    );
    let task = run(&home, &repository, &program);
    let branch = task["branch"].as_str().unwrap();
    assert_eq!(git(&repository, &["show", &format!("{branch}:note.txt")]), "one\nend");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_fails_is_told_with_its_last_line() {
    let home = Home::new().await;
    let settings = "prepare = ['echo the mirror is gone >&2; exit 3']\nchecks = ['true']\n";
    let repository = package(&home, settings);
    let path = repository.to_str().unwrap();
    let ran = home.run(&["run", "--repo", path, "--command", "true", "Do it"]);
    let told = "dependencies were not fetched command=\"sh -ec echo the mirror is gone >&2; exit 3\" \
                ended=\"Exited { code: 3 }\" said=\"the mirror is gone\"";
    assert!(ran.stderr.contains(told), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_nothing_that_others_left_in_the_temporary_folder() {
    let home = Home::new().await;
    let repository = home.repository("notes", &[("note.txt", "one\n")]);
    let (path, mark) = (repository.to_str().unwrap(), "\"${TMPDIR:-/tmp}\"/mark");
    let check = format!("test ! -e {mark} && touch {mark}");
    let program = format!("sh -c 'touch {mark}; echo two >> note.txt'");
    let options = ["--command", &program, "--check", &check, "Write two"];
    let ran = home.run(&[&["run", "--json", "--repo", path], &options[..]].concat());
    assert_eq!((ran.code, &ran.json()["verified"]), (0, &json!(true)), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_no_change_can_hold_is_a_reason_against_it() {
    let home = Home::new().await;
    let settings = "rounds = 1\nchecks = ['true']\n";
    let files = [("note.txt", "one\n"), (".journeyman.toml", settings)];
    let repository = home.repository("notes", &files);
    let task = run(&home, &repository, "truncate -s 300M big");
    assert_eq!((&task["status"], &task["verified"]), (&json!("failed"), &json!(false)), "{task}");
    assert!(task.to_string().contains("big is too large for a change"), "{task}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fills_the_users_own_caches_is_fetched_once_for_all_runs_of_a_life() {
    let home = Home::new().await;
    let cargo = home.folder.path().join("cargo");
    let settings = "prepare = ['echo fetched >> \"$CARGO_HOME/registry/asked\"']\n\
                    checks = ['grep -q two note.txt']\n";
    let files = [("note.txt", "one\n"), (".journeyman.toml", settings)];
    let repository = home.repository("cached", &files);
    let _daemon = home.up_with(|command| {
        command.env("CARGO_HOME", &cargo);
    });
    let program = "sh -c 'echo two >> note.txt'";
    let tasks = [0; 3].map(|_| add(&home, &repository, &["--command", program, "Write two"]));
    for task in &tasks {
        wait_until("the task is over", || is_over(&home, task));
        assert_eq!(home.task(task)["verified"], json!(true));
    }
    assert_eq!(fs::read_to_string(cargo.join("registry/asked")).unwrap(), "fetched\n");
}
