//! SIGTERM of the daemon in mid-run: an ordered end, and the next one goes on at once.

use super::scene::{
    CHECK, DONE, GATED, add_command, assert_done_once, delivered_note, notes, open, processes, row,
    run_of, wait, wait_at_gate, wait_to_the_end,
};
use crate::support::Home;

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_stop_leaves_nothing_and_loses_nothing() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    // Good for an hour: whoever waited for it would not be done in this test.
    let long_lease = |command: &mut std::process::Command| {
        command.env("JOURNEYMAN__SCHEDULER__LEASE_S", "3600");
    };
    let mut daemon = home.up_with(long_lease);
    let task = add_command(&home, &repository, GATED, CHECK);
    wait_at_gate(&home, &home.data(), &task);
    let run = run_of(&home, &task);
    assert_eq!(daemon.stop(), 0, "{}", home.daemon_log());
    assert_eq!(processes(run), []);
    assert_eq!(row(&home, &task).status.as_str(), "running");
    let id = row(&home, &task).id;
    let executions = wait(home.store().executions().of_task(id)).unwrap();
    assert_eq!((executions.len(), executions[0].node_id, executions[0].reclaims), (1, None, 0));
    let nodes = wait(home.store().nodes().list_live(std::time::Duration::from_hours(1))).unwrap();
    assert_eq!(nodes, []);

    let mut next = home.up_with(long_lease);
    let tree = wait_at_gate(&home, &home.data(), &task);
    open(&tree);
    wait_to_the_end(&home, &task);
    assert_done_once(&home, &repository, &task);
    assert_eq!(delivered_note(&home, &repository, &task), DONE);
    assert_eq!(next.stop(), 0);
}

/// A program that ignores SIGTERM does not keep the daemon.
#[tokio::test(flavor = "multi_thread")]
async fn a_deaf_program_does_not_keep_the_daemon() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let mut daemon = home.up();
    let program = "sh -c 'trap \"\" TERM INT HUP; echo two >> note.txt; \
                   until [ -e gate ]; do sleep 0.02; done'";
    let task = add_command(&home, &repository, program, CHECK);
    wait_at_gate(&home, &home.data(), &task);
    let run = run_of(&home, &task);
    assert_eq!(daemon.stop(), 0, "{}", home.daemon_log());
    assert_eq!(processes(run), []);
}
