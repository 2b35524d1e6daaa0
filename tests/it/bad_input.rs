//! Bad input: what a user, a repository or a program can do wrong is answered in one clear
//! sentence with the right exit status, and nothing of the user's is lost or touched.

mod calls;
mod checks;
pub(crate) mod clock;
mod database;
pub(crate) mod disk;
mod hostile;
mod lines;
mod many;
mod pages;
mod repositories;
mod settings;
mod taking;
mod waiting;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Home, Ran, git};

/// A call that was refused, as a person and as a program read it.
#[derive(Debug)]
struct Refused {
    message: String,
    hint: Option<String>,
}

/// Makes a call that must be refused with this exit status and code, once for a person and once
/// for a program, and compares what both were told.
#[track_caller]
fn refuse(home: &Home, arguments: &[&str], exit: i32, code: &str) -> Refused {
    refuse_with(home, arguments, &[], exit, code)
}

/// The same with variables in the environment.
#[track_caller]
fn refuse_with(
    home: &Home,
    arguments: &[&str],
    variables: &[(&str, &str)],
    exit: i32,
    code: &str,
) -> Refused {
    let call = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.envs(variables.iter().copied());
        Ran::from(command.output().unwrap())
    };
    let program = call(&[&["--json"], arguments].concat());
    let refused = problem(&program, exit, code);
    let person = call(arguments);
    assert_eq!((person.code, person.stdout.as_str()), (exit, ""), "{person:?}");
    let said = person.stderr.strip_prefix("error: ").unwrap_or_else(|| panic!("{person:?}"));
    // A list of what is possible has lines of its own for a person.
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.starts_with(&refused.message), "{person:?} and {program:?}");
    // What cannot be parsed has a hint of its own for a person.
    let hint = refused.hint.iter().flat_map(|hint| hint.split_whitespace());
    let hint = hint.collect::<Vec<_>>().join(" ");
    assert!(said.ends_with(&hint) || said.ends_with("try '--help'."), "{person:?}");
    refused
}

/// The one document on standard error of a refused call with `--json`.
#[track_caller]
fn problem(ran: &Ran, exit: i32, code: &str) -> Refused {
    assert_eq!((ran.code, ran.stdout.as_str()), (exit, ""), "{ran:?}");
    let document: Value =
        serde_json::from_str(&ran.stderr).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let error = &document["error"];
    assert_eq!(error["code"], code, "{ran:?}");
    let message = error["message"].as_str().unwrap().to_owned();
    assert!(!message.is_empty() && !message.contains('\n'), "{ran:?}");
    Refused { message, hint: error["hint"].as_str().map(str::to_owned) }
}

/// A repository with one file and no check.
fn notes(home: &Home, name: &str) -> PathBuf {
    home.repository(name, &[("note.txt", "one\n")])
}

/// Everything of a repository that no run may touch: head, branch, index, stash, working tree, and
/// every reference but those that runs deliver.
fn state_of(repository: &Path) -> Vec<String> {
    let refs = git(repository, &["for-each-ref", "--format=%(refname) %(objectname)"]);
    let own = |line: &&str| !line.starts_with("refs/heads/journeyman/");
    vec![
        git(repository, &["rev-parse", "HEAD"]),
        git(repository, &["branch", "--show-current"]),
        git(repository, &["ls-files", "--stage"]),
        git(repository, &["status", "--porcelain", "--ignored"]),
        git(repository, &["diff", "HEAD"]),
        git(repository, &["stash", "list"]),
        refs.lines().filter(own).collect(),
    ]
}

/// `run` with a shell line as the agent, a check, and whatever else.
fn run(home: &Home, repository: &Path, agent: &str, check: &str, more: &[&str]) -> Ran {
    Ran::from(run_command(home, repository, agent, check, more).output().unwrap())
}

/// The same, to be started.
fn run_command(home: &Home, repository: &Path, agent: &str, check: &str, more: &[&str]) -> Command {
    let command = format!("sh -c '{agent}'");
    let fixed = ["run", "--json", "--repo", repository.to_str().unwrap(), "--command", &command];
    let check = ["--check", check];
    home.command(&[&fixed[..], &check, more, &["Do it"]].concat())
}

/// The document of a run that ended verified, its change on a branch, all else untouched.
#[track_caller]
fn delivered(ran: &Ran) -> (Value, String) {
    assert_eq!(ran.code, 0, "{ran:?}");
    let task = ran.json();
    assert_eq!((&task["status"], &task["verified"]), (&"completed".into(), &true.into()));
    let branch = task["branch"].as_str().unwrap_or_else(|| panic!("{ran:?}")).to_owned();
    (task, branch)
}

/// The names of all tasks.
fn tasks(home: &Home) -> Vec<String> {
    let listed = home.run(&["task", "list", "--json"]).ok().json();
    let tasks = listed["tasks"].as_array().unwrap();
    tasks.iter().map(|task| task["title"].as_str().unwrap().to_owned()).collect()
}
