//! A daemon that was only asleep: what it held is another's now, and it can write nothing.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use journeyman_domain::ids::NodeId;
use journeyman_store::{Acting, ClaimRequest, Here, NewNode, NodeKind, TakeOverRequest};
use uuid::Uuid;

use super::foreground::newest_task;
use super::scene::{
    CHECK, DONE, GATED, QUICK, add_command, assert_done_once, delivered_note, epoch, is_alive,
    is_over, notes, open, processes, row, run_of, wait, wait_at_gate, wait_for_new_owner,
};
use crate::support::{Daemon, Home, Ran, signal, wait_until};

fn short_lease(command: &mut Command) {
    command.env("JOURNEYMAN__SCHEDULER__LEASE_S", "3").env("JOURNEYMAN__SCHEDULER__POLL_MS", "200");
}

/// A daemon of another data folder on the same database.
fn up_elsewhere(home: &Home, data: &Path) -> Daemon {
    let mut command = home.command(&["up"]);
    short_lease(&mut command);
    let log = std::fs::File::create(home.folder.path().join("elsewhere.log")).unwrap();
    command.env("JOURNEYMAN_DATA", data).stdout(log.try_clone().unwrap()).stderr(log);
    Daemon { child: command.spawn().unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_slept_past_its_lease_writes_nothing() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let mut sleeper = home.up_with(short_lease);
    let task = add_command(&home, &repository, GATED, CHECK);
    let stale = wait_at_gate(&home, &home.data(), &task);
    let run = run_of(&home, &task);
    let before = processes(run);
    signal(sleeper.child.id(), "STOP");

    let elsewhere = home.folder.path().join("elsewhere");
    let mut other = up_elsewhere(&home, &elsewhere);
    let tree = wait_at_gate(&home, &elsewhere, &task);
    assert!(!before.iter().copied().any(is_alive), "two owners work at once: {before:?}");
    open(&stale);
    signal(sleeper.child.id(), "CONT");
    wait_until("the sleeper finds its lease lost", || {
        home.daemon_log().contains("the lease is lost; another owner goes on with the run")
    });
    assert!(!processes(run).is_empty(), "it killed what is another's");
    open(&tree);
    wait_until("the task is over", || is_over(&home, &task));
    // It has lost a run, not its life.
    assert_eq!(other.stop(), 0);
    let next = add_command(&home, &repository, QUICK, CHECK);
    wait_until("the sleeper works again", || is_over(&home, &next));
    assert_done_once(&home, &repository, &next);
    assert_eq!(sleeper.stop(), 0);
    // What it left of the run that it lost goes with its next start.
    let _next_life = home.up();
    let steps = assert_done_once(&home, &repository, &task);
    assert_eq!(delivered_note(&home, &repository, &task), DONE);
    let epochs: Vec<_> = steps.iter().map(|step| step.epoch).collect();
    assert_eq!((epochs[1], epochs[2], epochs.last()), (1, 2, Some(&2)), "{epochs:?}");
}

/// What stands still within a transaction holds the locks on its rows, which nobody may wait for.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_sleeps_within_a_transaction_keeps_nobody_from_its_task() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let mut sleeper = home.up_with(|command| {
        short_lease(command);
        command.env("JOURNEYMAN_FAILPOINT", "queue.finish:before:1=stop");
    });
    let task = add_command(&home, &repository, QUICK, CHECK);
    let state = format!("/proc/{}/stat", sleeper.child.id());
    wait_until("it sleeps", || std::fs::read_to_string(&state).unwrap().contains(") T "));
    assert_eq!(epoch(&home, &task), 1);

    let mut other = up_elsewhere(&home, &home.folder.path().join("elsewhere"));
    wait_until("another one goes on with it", || is_over(&home, &task));
    assert_eq!(epoch(&home, &task), 2);
    signal(sleeper.child.id(), "CONT");
    assert_eq!(other.stop(), 0);
    let next = add_command(&home, &repository, QUICK, CHECK);
    wait_until("the sleeper works again", || is_over(&home, &next));
    assert_done_once(&home, &repository, &next);
    assert_eq!(sleeper.stop(), 0);
    let _next_life = home.up();
    assert_done_once(&home, &repository, &task);
}

/// A foreground run that its user put to sleep (Ctrl-Z) shares its data folder, and so the run's
/// own folder, with the daemon that goes on with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreground_run_that_slept_disturbs_nobody() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let path = repository.to_str().unwrap();
    let arguments =
        ["run", "--json", "--repo", path, "--command", GATED, "--check", CHECK, "Write two"];
    let mut command = home.command(&arguments);
    short_lease(&mut command);
    let sleeper = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let task = newest_task(&home);
    wait_at_gate(&home, &home.data(), &task);
    let run = run_of(&home, &task);
    let (before, held) = (processes(run), epoch(&home, &task));
    signal(sleeper.id(), "STOP");
    let _daemon = home.up_with(short_lease);
    wait_for_new_owner(&home, &task, &before, held);
    let tree = wait_at_gate(&home, &home.data(), &task);
    assert!(!before.iter().copied().any(is_alive), "two owners work at once: {before:?}");
    signal(sleeper.id(), "CONT");
    open(&tree);
    // It shows the task to its end, whoever brings it there.
    let ran = Ran::from(sleeper.wait_with_output().unwrap()).ok();
    assert!(ran.stderr.contains("the lease is lost"), "{ran:?}");
    assert_eq!(ran.json()["id"], serde_json::json!(task));
    assert_done_once(&home, &repository, &task);
    assert_eq!(delivered_note(&home, &repository, &task), DONE);
}

/// Registers a daemon of another machine.
fn another_machine(home: &Home, host: &str, data_dir: &str) -> NodeId {
    let id = NodeId::from_uuid(Uuid::now_v7());
    let new = NewNode {
        id,
        kind: NodeKind::Daemon,
        pid: 1,
        here: Here { boot_id: "another boot", data_id: Uuid::now_v7() },
        host,
        data_dir,
        only_task: None,
    };
    wait(home.store().nodes().register(&Acting::now("test"), &new)).unwrap();
    id
}

/// The new owner may be on another machine, where it can end no process of this one.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_ends_the_call_that_runs_under_it() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let mut daemon = home.up_with(short_lease);
    let task = add_command(&home, &repository, GATED, CHECK);
    wait_at_gate(&home, &home.data(), &task);
    let run = run_of(&home, &task);
    signal(daemon.child.id(), "STOP");
    let acting = Acting::now("test");
    let node = another_machine(&home, "another-machine", "/data");
    let request = TakeOverRequest {
        node_id: node,
        limit: 1,
        only_task: None,
        lease: Duration::from_hours(1),
        max_reclaims: 3,
    };
    wait_until("the lease can be taken over", || {
        let over = wait(home.store().queue().take_over(&acting, &request)).unwrap();
        !over.taken.is_empty()
    });
    assert!(!processes(run).is_empty());
    signal(daemon.child.id(), "CONT");
    wait_until("the call is ended", || processes(run).is_empty());
    assert_eq!(super::scene::kinds(&home, &task), ["started", "tool_intent"]);
    let execution = row(&home, &task);
    assert_eq!((execution.status.as_str(), execution.attempts), ("running", 1));
    assert_eq!(daemon.stop(), 0);
}

/// Machines and containers may share a name and the path of a data folder: what another one works on is left to its lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_the_same_name_is_not_buried() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let task = add_command(&home, &repository, QUICK, CHECK);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let acting = Acting::now("test");
    let node = another_machine(&home, host.trim(), home.data().to_str().unwrap());
    let request = ClaimRequest {
        node_id: node,
        limit: 1,
        max_concurrent: 10,
        only_task: None,
        agents: None,
        lease: Duration::from_mins(20),
    };
    assert_eq!(wait(home.store().queue().claim(&acting, &request)).unwrap().len(), 1);
    let mut daemon = home.up();
    // Work of its own, so that it had its time.
    let own = add_command(&home, &repository, QUICK, CHECK);
    wait_until("its own work is done", || is_over(&home, &own));
    assert_eq!(wait(home.store().nodes().get(node)).unwrap().stopped_at, None);
    assert_eq!((epoch(&home, &task), row(&home, &task).status.as_str()), (1, "running"));
    assert_eq!(daemon.stop(), 0);
}
