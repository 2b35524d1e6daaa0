//! `journeyman run` beside others, and killed.

use std::process::{Child, Stdio};

use super::scene::{
    CHECK, DONE, GATED, QUICK, assert_done_once, delivered_note, epoch, is_alive, notes, open,
    processes, row, run_of, steps, wait, wait_at_gate, wait_for_new_owner, wait_to_the_end,
};
use crate::support::{Home, Ran, wait_until};

/// Starts `run` on a repository and does not wait for it.
fn run(home: &Home, repository: &std::path::Path, program: &str) -> Child {
    let repository = repository.to_str().unwrap();
    let arguments = [
        "run",
        "--json",
        "--repo",
        repository,
        "--command",
        program,
        "--check",
        CHECK,
        "Write two",
    ];
    let mut command = home.command(&arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> String {
    let ran = Ran::from(child.wait_with_output().unwrap()).ok();
    ran.json()["id"].as_str().unwrap().to_owned()
}

/// The newest task of a home, once there is one.
pub(super) fn newest_task(home: &Home) -> String {
    let mut found = None;
    wait_until("the task is added", || {
        let filter = journeyman_store::TaskFilter { limit: 1, ..Default::default() };
        let (tasks, _) = wait(home.store().tasks().list(&filter)).unwrap();
        found = tasks.first().map(|task| task.id.to_string());
        found.is_some()
    });
    found.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_end_each_with_a_branch_of_its_own() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let children = [run(&home, &repository, QUICK), run(&home, &repository, QUICK)];
    let tasks = children.map(ended);
    assert_ne!(tasks[0], tasks[1]);
    for task in &tasks {
        assert_done_once(&home, &repository, task);
        assert_eq!(delivered_note(&home, &repository, task), DONE);
    }
    let left = wait(home.store().nodes().list_live(std::time::Duration::from_hours(1))).unwrap();
    assert_eq!(left, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_leaves_a_foreground_run_alone() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let before = run(&home, &repository, GATED);
    let task = newest_task(&home);
    let tree = wait_at_gate(&home, &home.data(), &task);
    let mut daemon = home.up();
    // One that starts beside the daemon hands its task over to it.
    let beside = ended(run(&home, &repository, QUICK));
    assert_done_once(&home, &repository, &beside);
    open(&tree);
    assert_eq!(ended(before), task);
    let steps = assert_done_once(&home, &repository, &task);
    assert!(steps.iter().all(|step| step.epoch == 1), "{steps:#?}");
    assert_eq!(delivered_note(&home, &repository, &task), DONE);
    let node = |task: &str| {
        let executions = wait(home.store().executions().of_task(row(&home, task).id)).unwrap();
        executions[0].node_id
    };
    assert_ne!(node(&task), node(&beside));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_goes_on_with_a_killed_foreground_run() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let mut killed = run(&home, &repository, GATED);
    let task = newest_task(&home);
    wait_at_gate(&home, &home.data(), &task);
    let (before, held) = (processes(run_of(&home, &task)), epoch(&home, &task));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let _daemon = home.up_with(|command| {
        command.env("JOURNEYMAN__SCHEDULER__LEASE_S", "3600");
    });
    wait_for_new_owner(&home, &task, &before, held);
    assert!(!before.iter().copied().any(is_alive), "{before:?}");
    let tree = wait_at_gate(&home, &home.data(), &task);
    open(&tree);
    wait_to_the_end(&home, &task);
    assert_done_once(&home, &repository, &task);
    assert_eq!(delivered_note(&home, &repository, &task), DONE);
}

/// Ctrl-C leaves the task to whoever comes next, and nothing of it alive.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_foreground_run_can_be_gone_on_with() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let child = run(&home, &repository, GATED);
    let task = newest_task(&home);
    wait_at_gate(&home, &home.data(), &task);
    let run = run_of(&home, &task);
    crate::support::signal(child.id(), "INT");
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(ran.stderr.contains("`journeyman up` goes on with it from here"), "{ran:?}");
    assert_eq!(processes(run), []);
    let _daemon = home.up();
    let tree = wait_at_gate(&home, &home.data(), &task);
    open(&tree);
    wait_to_the_end(&home, &task);
    let all = steps(&home, &task);
    assert_eq!(all.iter().filter(|step| step.kind == "tool_intent").count(), 1);
    assert_done_once(&home, &repository, &task);
}
