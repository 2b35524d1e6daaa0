//! What these tests share: a task that stands still at a gate, and what must hold at its end.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;

use journeyman_domain::ids::{RunId, TaskId};
use journeyman_domain::status::Status;
use journeyman_store::{Step, Task};
use journeyman_testkit::processes;
use journeyman_workspace::reap::start_time;

use crate::support::{Daemon, Home, git, wait_until};

/// Appends a line, and ends when somebody opens the gate.
pub(crate) const GATED: &str =
    "sh -c 'echo two >> note.txt; until [ -e gate ]; do sleep 0.02; done'";
/// Appends a line.
pub(crate) const QUICK: &str = "sh -c 'echo two >> note.txt'";
/// Passes once the line is there.
pub(crate) const CHECK: &str = "grep -q two note.txt";
/// The same, when somebody opens the gate.
pub(crate) const GATED_CHECK: &str = "until [ -e gate ]; do sleep 0.02; done; grep -q two note.txt";
/// What the note says when the line was appended once.
pub(crate) const DONE: &str = "one\ntwo";

/// Waits for a future within a test's plain code.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// A repository whose note a task shall change. The gate is ignored, so that it is no part of the
/// change and a restore removes it.
pub(crate) fn notes(home: &Home, name: &str) -> PathBuf {
    home.repository(name, &[("note.txt", "one\n"), (".gitignore", "/gate\n")])
}

/// Adds a task and gives its id.
pub(crate) fn add(home: &Home, repository: &Path, options: &[&str]) -> String {
    let fixed = ["task", "add", "--json", "--repo", repository.to_str().unwrap()];
    let arguments: Vec<&str> = fixed.into_iter().chain(options.iter().copied()).collect();
    let added = home.run(&arguments).ok().json();
    added["tasks"][0]["id"].as_str().unwrap().to_owned()
}

/// A task with a program and a check.
pub(crate) fn add_command(home: &Home, repository: &Path, program: &str, check: &str) -> String {
    add(home, repository, &["--command", program, "--check", check, "Write two"])
}

/// Starts a daemon, and does not wait until it answers.
pub(super) fn start(home: &Home) -> Daemon {
    start_with(home, |_| {})
}

/// The same, its command changed first.
pub(crate) fn start_with(home: &Home, change: impl FnOnce(&mut Command)) -> Daemon {
    let log = home.folder.path().join("daemon.log");
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    let mut command = home.command(&["up"]);
    change(&mut command);
    command.stdout(log.try_clone().unwrap()).stderr(log);
    Daemon { child: command.spawn().unwrap() }
}

/// The row of a task.
pub(crate) fn row(home: &Home, task: &str) -> Task {
    let id: TaskId = task.parse().unwrap();
    wait(home.store().tasks().get(id)).unwrap()
}

/// Whether a task needs no more work, or waits for its user.
pub(crate) fn is_over(home: &Home, task: &str) -> bool {
    let status = row(home, task).status;
    status.is_final() || matches!(status, Status::Parked | Status::Waiting)
}

/// The journal of all runs of a task.
pub(crate) fn steps(home: &Home, task: &str) -> Vec<Step> {
    let id: TaskId = task.parse().unwrap();
    wait(home.store().journal().tail(id, None, 10_000)).unwrap()
}

/// The kinds of the entries.
pub(crate) fn kinds(home: &Home, task: &str) -> Vec<String> {
    steps(home, task).into_iter().map(|step| step.kind).collect()
}

/// The only run of a task.
pub(crate) fn run_of(home: &Home, task: &str) -> RunId {
    let id: TaskId = task.parse().unwrap();
    let runs = wait(home.store().runs().of_task(id)).unwrap();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].id
}

/// A process: its number and its start.
type Process = (i32, u64);

/// What is alive of a run.
pub(crate) fn processes(run: RunId) -> Vec<Process> {
    processes_marked(&format!("JOURNEYMAN_RUN_ID={run}"))
}

/// What is alive with this variable in its environment.
pub(crate) fn processes_marked(marker: &str) -> Vec<Process> {
    let pids = processes::marked(|variable| variable == marker.as_bytes());
    pids.filter_map(|pid| Some((pid, start_time(pid)?))).collect()
}

/// Those of a run whose arguments have this word in them.
pub(super) fn processes_with(run: RunId, word: &str) -> Vec<Process> {
    let has_word = |(pid, _): &Process| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(word)
    };
    processes(run).into_iter().filter(has_word).collect()
}

/// The programs of a run that stand at a gate, with their launchers. What they start themselves
/// comes and goes all the time; these do not.
pub(super) fn at_gate(run: RunId) -> Vec<Process> {
    processes_with(run, "[ -e gate ]")
}

/// Waits until another owner's program than these processes stands at the gate. A shell that stops or
/// dies may still fork: only what a newer epoch has started counts.
pub(super) fn wait_for_new_owner(home: &Home, task: &str, before: &[Process], held: i64) {
    let run = run_of(home, task);
    wait_until("another owner goes on with it", || {
        epoch(home, task) > held && at_gate(run).iter().any(|process| !before.contains(process))
    });
}

/// The epoch of the lease on a task's first execution.
pub(super) fn epoch(home: &Home, task: &str) -> i64 {
    let id = task.parse().unwrap();
    wait(home.store().executions().of_task(id)).unwrap()[0].lease_epoch
}

/// Whether this very process is alive.
pub(super) fn is_alive((pid, start): Process) -> bool {
    start_time(pid) == Some(start)
}

/// The folder that the task's program works in, when it has written its line and stands at the
/// gate.
pub(crate) fn wait_at_gate(home: &Home, data: &Path, task: &str) -> PathBuf {
    wait_until("the task has a run", || row(home, task).status == Status::Running);
    let run = run_of(home, task);
    let tree = data.join("runs").join(run.to_string()).join("tree");
    wait_until("the program has written its line", || {
        kinds(home, task).last().is_some_and(|kind| kind == "tool_intent")
            && !at_gate(run).is_empty()
            && std::fs::read_to_string(tree.join("note.txt")).is_ok_and(|note| note == "one\ntwo\n")
    });
    tree
}

/// The same, of the only run that stands at a gate.
pub(crate) fn wait_at_any_gate(home: &Home) -> PathBuf {
    let mut tree = None;
    wait_until("a program has written its line", || {
        let runs = std::fs::read_dir(home.data().join("runs")).into_iter().flatten().flatten();
        tree = runs.map(|run| run.path().join("tree")).find(|tree| {
            std::fs::read_to_string(tree.join("note.txt")).is_ok_and(|note| note == "one\ntwo\n")
        });
        tree.is_some()
    });
    tree.unwrap()
}

/// The clean checkout of one side, when its check stands at the gate.
pub(super) fn wait_at_check(home: &Home, task: &str, side: &str) -> PathBuf {
    wait_until("the task has a run", || row(home, task).status == Status::Running);
    let run = run_of(home, task);
    let folder = home.data().join("runs").join(run.to_string()).join(format!("check-{side}"));
    wait_until("the check runs", || folder.join("note.txt").exists() && !at_gate(run).is_empty());
    folder
}

/// Lets the program that stands there go on.
pub(crate) fn open(folder: &Path) {
    std::fs::write(folder.join("gate"), "").unwrap();
}

/// Waits until a task is over, and opens the gates of its checks.
pub(super) fn wait_to_the_end(home: &Home, task: &str) {
    let run = run_of(home, task);
    let folder = home.data().join("runs").join(run.to_string());
    wait_until("the task is over", || {
        for side in ["check-base", "check-candidate"].map(|side| folder.join(side)) {
            if side.join("note.txt").exists() {
                // It may be removed just now.
                let _ = std::fs::write(side.join("gate"), "");
            }
        }
        is_over(home, task)
    });
}

/// Everything that must hold when a task with a change is done, whatever happened on its way.
#[track_caller]
pub(crate) fn assert_done_once(home: &Home, repository: &Path, task: &str) -> Vec<Step> {
    let row = row(home, task);
    let steps = steps(home, task);
    let state = (row.status, row.verified, row.attempts, row.error);
    let log = home.daemon_log();
    assert_eq!(state, (Status::Completed, Some(true), 1, None), "{steps:#?}\n{log}");
    assert_journal(&steps);
    let branch = row.branch.unwrap();
    let branches = git(repository, &["branch", "--list", "--format=%(refname:short)"]);
    let own: Vec<&str> = branches.lines().filter(|name| *name != "main").collect();
    assert!(own.contains(&branch.as_str()), "{own:?}");
    assert_eq!(git(repository, &["rev-list", "--count", &format!("main..{branch}")]), "1");
    let short = row.id.short();
    assert_eq!(own.iter().filter(|name| name.contains(&short)).count(), 1, "{own:?}");
    let run = run_of(home, task);
    assert_eq!(processes(run), []);
    wait_until("the run's folder is removed", || {
        !home.data().join("runs").join(run.to_string()).exists()
    });
    let audit = home.run(&["audit", "verify", "--json"]).ok().json();
    assert_eq!(audit["ok"], true, "{audit}");
    steps
}

/// A journal without gaps: each call has one intent and one result, and the end comes once.
#[track_caller]
pub(super) fn assert_journal(steps: &[Step]) {
    let numbers: Vec<i32> = steps.iter().map(|step| step.seq).collect();
    let expected: Vec<i32> = (1..).take(steps.len()).collect();
    assert_eq!(numbers, expected);
    assert!(steps.is_sorted_by_key(|step| step.epoch), "an older owner wrote: {steps:#?}");
    let count = |kind: &str| steps.iter().filter(|step| step.kind == kind).count();
    for once in ["started", "outcome"] {
        assert_eq!(count(once), 1, "{once}: {steps:#?}");
    }
    assert!(count("delivered") <= 1 && count("base_checked") <= 1, "{steps:#?}");
    let calls = |kind: &str, of: fn(&Step) -> &serde_json::Value| -> Vec<String> {
        let of_kind = steps.iter().filter(|step| step.kind == kind);
        of_kind.map(|step| of(step).as_str().unwrap().to_owned()).collect()
    };
    let intents = calls("tool_intent", |step| &step.payload["call"]["call_id"]);
    let results = calls("tool_result", |step| &step.payload["result"]["call_id"]);
    assert_eq!(intents, results);
    let mut different = intents.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), intents.len(), "{intents:?}");
}

/// The note as the task's branch has it.
pub(crate) fn delivered_note(home: &Home, repository: &Path, task: &str) -> String {
    let branch = row(home, task).branch.unwrap();
    git(repository, &["show", &format!("{branch}:note.txt")])
}

/// Sends SIGKILL to a process that is not ours.
pub(super) fn kill(pid: i32) {
    let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    assert!(status.unwrap().success());
}
