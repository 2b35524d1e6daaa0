//! One data folder has one daemon: also while that stands still, and when two start in the same instant.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::recovery::scene::{
    CHECK, GATED, QUICK, add_command, assert_done_once, is_over, notes, open, wait_at_gate,
};
use crate::support::{Home, Ran, signal, wait_until};

fn assert_refused(home: &Home, ran: &Ran) {
    let problem: Value = serde_json::from_str(ran.stderr.trim()).unwrap();
    assert_eq!((ran.code, &problem["error"]["code"]), (2, &json!("already_running")), "{ran:?}");
    let message = problem["error"]["message"].as_str().unwrap();
    assert_eq!(message, format!("a daemon is running already on {}", home.data().display()));
    assert_eq!(ran.stdout, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let first = home.up();
    let task = add_command(&home, &repository, GATED, CHECK);
    let tree = wait_at_gate(&home, &home.data(), &task);
    assert_refused(&home, &home.run(&["up", "--json"]));
    // It cannot answer, and is there.
    signal(first.child.id(), "STOP");
    assert_refused(&home, &home.run(&["up", "--json"]));
    signal(first.child.id(), "CONT");
    open(&tree);
    wait_until("it is done", || is_over(&home, &task));
    assert_done_once(&home, &repository, &task);
    let other = add_command(&home, &repository, QUICK, CHECK);
    wait_until("another one is done", || is_over(&home, &other));
    assert_done_once(&home, &repository, &other);
}

/// A child that a killed daemon was about to start holds its lock for an instant.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_outlives_its_daemon_by_an_instant_is_waited_for() {
    let home = Home::new().await;
    std::fs::create_dir_all(home.data()).unwrap();
    let lock = std::fs::File::create(home.data().join("daemon.lock")).unwrap();
    lock.lock().unwrap();
    let heir = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        drop(lock);
    });
    let _daemon = home.up();
    heir.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_that_start_at_once_one_is_up() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let start = |_: u32| {
        let mut command = home.command(&["up", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut daemons: Vec<_> = (0..6).map(start).collect();
    let mut ended = Vec::new();
    wait_until("all but one have ended", || {
        for place in (0..daemons.len()).rev() {
            if daemons[place].try_wait().unwrap().is_some() {
                ended.push(daemons.swap_remove(place));
            }
        }
        daemons.len() == 1
    });
    for child in ended {
        assert_refused(&home, &Ran::from(child.wait_with_output().unwrap()));
    }
    let task = add_command(&home, &repository, QUICK, CHECK);
    wait_until("the one that is up works", || is_over(&home, &task));
    assert_done_once(&home, &repository, &task);
    let mut last = daemons.pop().unwrap();
    signal(last.id(), "TERM");
    assert_eq!(last.wait().unwrap().code(), Some(0));
}
