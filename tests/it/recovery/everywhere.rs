//! SIGKILL of the daemon after every step of a journal, at once and after a while.

use std::path::Path;
use std::time::{Duration, Instant};

use super::scene::{
    add, add_command, assert_done_once, delivered_note, is_over, notes, start, steps,
};
use crate::support::Home;

/// Kills a daemon whenever the journal has grown, after a pause that `pause_ms` draws for each
/// life, until the task is over; how often it was killed. Each life makes a step, so none of them
/// counts as one without progress.
fn kill_after_every_step(home: &Home, task: &str, mut pause_ms: impl FnMut() -> u64) -> u32 {
    let mut kills = 0;
    let began = Instant::now();
    while !is_over(home, task) {
        let before = steps(home, task).len();
        let mut daemon = start(home);
        while steps(home, task).len() == before && !is_over(home, task) {
            assert!(began.elapsed() < Duration::from_mins(5), "{}", home.daemon_log());
            assert_eq!(daemon.child.try_wait().unwrap(), None, "{}", home.daemon_log());
            std::thread::sleep(Duration::from_millis(2));
        }
        // Where the kill falls is what is drawn; nothing is awaited by it.
        std::thread::sleep(Duration::from_millis(pause_ms()));
        daemon.kill();
        kills += 1;
    }
    kills
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_may_be_the_last_of_a_life() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    // Half in its first round, the rest in its second.
    let program = "sh -c 'if [ \"$JOURNEYMAN_ROUND\" = 1 ]; then echo two >> note.txt; \
                   else echo three >> note.txt; fi'";
    let task = add_command(&home, &repository, program, "grep -q three note.txt");
    let kills = kill_after_every_step(&home, &task, || 0);
    let _daemon = home.up();
    let steps = assert_done_once(&home, &repository, &task);
    assert_eq!(delivered_note(&home, &repository, &task), "one\ntwo\nthree");
    let kinds: Vec<_> = steps.iter().map(|step| step.kind.as_str()).collect();
    let round = ["tool_intent", "tool_result", "claimed_done"];
    let first = [&["started"], &round[..], &["base_checked", "verification"]].concat();
    let second =
        [&["round_started"], &round[..], &["verification", "delivered", "outcome"]].concat();
    assert_eq!(kinds, [first, second].concat());
    assert!(kills >= 8, "{kills}");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_moment_may_be_the_last_of_a_life() {
    let home = Home::new().await;
    let repository = home.repository(
        "sums",
        &[
            ("Cargo.toml", "[package]\nname = \"sums\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n"),
            ("Cargo.lock", "version = 4\n\n[[package]]\nname = \"sums\"\nversion = \"0.1.0\"\n"),
            (".gitignore", "/target\n"),
            ("src/lib.rs", "pub fn total(numbers: &[i64]) -> i64 {\n    let sum = 0;\n    for number in numbers {\n        sum += number;\n    }\n    sum\n}\n"),
        ],
    );
    let task = add(&home, &repository, &["Make it build"]);
    // A fixed sequence that goes everywhere: a failure can be had again.
    let mut state = 7_u64;
    let kills = kill_after_every_step(&home, &task, || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % 700
    });
    let _daemon = home.up();
    assert_done_once(&home, &repository, &task);
    assert_library(&home, &repository, &task);
    assert!(kills >= 3, "{kills}");
}

fn assert_library(home: &Home, repository: &Path, task: &str) {
    let branch = super::scene::row(home, task).branch.unwrap();
    let changed = crate::support::git(repository, &["diff", &format!("main..{branch}"), "--stat"]);
    assert!(changed.contains("src/lib.rs") && changed.contains("1 file changed"), "{changed}");
    let library = crate::support::git(repository, &["show", &format!("{branch}:src/lib.rs")]);
    assert!(library.contains("let mut sum = 0;"), "{library}");
}
