//! The database is restored from yesterday's backup; branches, patches and folders of runs are of today.

use std::collections::BTreeMap;
use std::path::Path;

use journeyman_domain::status::Status;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::recovery::scene::{
    CHECK, GATED, QUICK, add, add_command, assert_done_once, delivered_note, is_over, notes, open,
    processes, row, run_of, start_with, wait, wait_at_gate,
};
use crate::support::{Home, git, wait_until};

/// Work that comes out differently each time.
const OTHER: &str = "sh -c 'date +%s%N > when.txt; echo two >> note.txt'";
const OTHER_GATED: &str = "sh -c 'date +%s%N > when.txt; echo two >> note.txt; \
     until [ -e gate ]; do sleep 0.02; done'";

/// All branches of ours and their commits.
fn branches(repository: &Path) -> BTreeMap<String, String> {
    let format = "--format=%(refname:short) %(objectname)";
    let listed = git(repository, &["for-each-ref", format, "refs/heads"]);
    let pairs = listed.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(name, commit)| (name.to_owned(), commit.to_owned())).collect()
}

fn last_position(home: &Home) -> i64 {
    let mut looker = wait(PgConnection::connect(&home.database_url())).unwrap();
    let last = sqlx::query_scalar("SELECT max(position) FROM audit_rows");
    wait(last.fetch_one(&mut looker)).unwrap()
}

/// How far the data folder has seen the audit.
fn seen(home: &Home) -> i64 {
    let text = std::fs::read(home.data().join("seen.json")).unwrap_or_default();
    let seen: Value = serde_json::from_slice(&text).unwrap_or_default();
    seen["rows"]["position"].as_i64().unwrap_or(0)
}

fn over(home: &Home, tasks: &[&String]) {
    wait_until("these are over", || tasks.iter().all(|task| is_over(home, task)));
}

const SAYS: &str = "the database is older than what this data folder has seen";

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_delivers_nothing_twice_and_overwrites_nothing() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let mut first = home.up();
    let done = add_command(&home, &repository, QUICK, CHECK);
    over(&home, &[&done]);
    // What runs while the backup is made, and what waits for it.
    let same = add_command(&home, &repository, GATED, CHECK);
    let other = add_command(&home, &repository, OTHER_GATED, CHECK);
    let options = ["--command", OTHER_GATED, "--check", CHECK, "--deliver", "patch", "As a patch"];
    let patch = add(&home, &repository, &options);
    let options = ["--command", OTHER, "--check", CHECK, "--after", &same, "Write it later"];
    let later = add(&home, &repository, &options);
    let gates = [&same, &other, &patch].map(|task| wait_at_gate(&home, &home.data(), task));
    home.run(&["db", "backup", "yesterday"]).ok();
    let yesterday = last_position(&home);

    for gate in gates {
        open(&gate);
    }
    over(&home, &[&same, &other, &patch, &later]);
    let file = home.task(&patch)["patch"].as_str().unwrap().to_owned();
    let patched = std::fs::read(&file).unwrap();
    let fresh = add_command(&home, &repository, GATED, CHECK);
    let tree = wait_at_gate(&home, &home.data(), &fresh);
    let unknown = run_of(&home, &fresh);
    wait_until("the data folder has seen today", || seen(&home) > yesterday);
    let today = branches(&repository);
    assert_eq!(today.len(), 5, "main and four deliveries: {today:?}");
    let commits = [&same, &later].map(|task| row(&home, task).head_commit.unwrap());
    first.kill();
    home.run(&["db", "restore", "yesterday", "--yes"]).ok();

    let mut second = home.up();
    assert!(home.daemon_log().contains(SAYS), "{}", home.daemon_log());
    assert_eq!(row(&home, &done).status, Status::Completed);
    wait_until("the folder of a run that never was is gone", || !tree.parent().unwrap().exists());
    assert_eq!(processes(unknown), []);
    for task in [&same, &other, &patch] {
        open(&wait_at_gate(&home, &home.data(), task));
    }
    over(&home, &[&same, &other, &patch, &later]);
    let fresh = add_command(&home, &repository, QUICK, CHECK);
    over(&home, &[&fresh]);

    // The same work is the same commit; what waited is found delivered, judged, and not done again.
    let now = [&same, &later].map(|task| row(&home, task).head_commit.unwrap());
    assert_eq!(now, commits);
    for task in [&same, &later, &fresh] {
        assert_done_once(&home, &repository, task);
    }
    let summary = home.run(&["task", "logs", &later]).ok().stdout;
    assert!(summary.contains("found delivered on the branch"), "{summary}");
    // Other work is for a person to decide about.
    for (task, place) in [(&other, "the branch journeyman/"), (&patch, file.as_str())] {
        let shown = home.task(task);
        assert_eq!(shown["status"], json!("parked"), "{shown}");
        let error = shown["error"].as_str().unwrap();
        assert!(error.starts_with(place) && error.contains("other work of this task"), "{error}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), patched);
    let mut after = branches(&repository);
    after.remove(&row(&home, &fresh).branch.unwrap());
    assert_eq!(after, today);

    // Whoever removed the branch tries again.
    let taken = today.keys().find(|name| name.contains(&row(&home, &other).id.short())).unwrap();
    git(&repository, &["branch", "-q", "-D", taken]);
    home.run(&["task", "retry", &other]).ok();
    wait_until("another attempt begins", || row(&home, &other).attempts == 2);
    let trees = || std::fs::read_dir(home.data().join("runs")).unwrap().flatten();
    wait_until("it is done", || {
        for run in trees() {
            // It may be removed just now.
            let _ = std::fs::write(run.path().join("tree/gate"), "");
        }
        is_over(&home, &other)
    });
    assert_eq!(row(&home, &other).status, Status::Completed);
    assert_eq!(delivered_note(&home, &repository, &other), "one\ntwo");

    // It is said once: the folder has now seen what the database has.
    assert_eq!(second.stop(), 0);
    let mut third = home.up();
    assert!(!home.daemon_log().contains(SAYS), "{}", home.daemon_log());
    assert_eq!(third.stop(), 0);
    let mut looker = wait(PgConnection::connect(&home.database_url())).unwrap();
    let count = "SELECT count(*) FROM audit_events WHERE kind = 'database_older'";
    let older: i64 = wait(sqlx::query_scalar(count).fetch_one(&mut looker)).unwrap();
    assert_eq!(older, 1);
}

/// A node of another machine knows nothing of the restore: what it does under a lease of before is refused.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_of_before_the_restore_cannot_write() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let mut other = home.up_beside("elsewhere", |_| {});
    let task = add_command(&home, &repository, GATED, CHECK);
    let elsewhere = home.folder.path().join("elsewhere");
    let tree = wait_at_gate(&home, &elsewhere, &task);
    home.run(&["db", "backup", "yesterday"]).ok();
    let id = row(&home, &task).id;
    let before = wait(home.store().executions().of_task(id)).unwrap().remove(0).fence().unwrap();
    home.run(&["db", "restore", "yesterday", "--yes"]).ok();
    assert!(!wait(home.store().queue().holds(before)).unwrap());
    wait_until("it is taken over, and stands at the gate", || {
        let executions = wait(home.store().executions().of_task(id)).unwrap();
        executions[0].lease_epoch > before.lease_epoch + 1
            && std::fs::read_to_string(tree.join("note.txt")).is_ok_and(|it| it == "one\ntwo\n")
    });
    wait_until("it is done", || {
        // It may be restored or removed just now.
        let _ = std::fs::write(tree.join("gate"), "");
        is_over(&home, &task)
    });
    assert_eq!(row(&home, &task).status, Status::Completed);
    assert_eq!(delivered_note(&home, &repository, &task), "one\ntwo");
    assert_eq!(branches(&repository).len(), 2);
    assert_eq!(other.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_is_no_older_one_and_nothing_is_removed_for_it() {
    let (home, other) = (Home::new().await, Home::new().await);
    let repository = notes(&home, "notes");
    let mut first = home.up();
    let gated = add_command(&home, &repository, GATED, CHECK);
    let tree = wait_at_gate(&home, &home.data(), &gated);
    wait_until("the data folder has seen the database", || seen(&home) > 0);
    first.kill();

    // Databases of tests are copies of one; this one was made on its own.
    let mut hand = wait(PgConnection::connect(&other.database_url())).unwrap();
    let made = sqlx::query("UPDATE _sqlx_migrations SET installed_on = now()");
    wait(made.execute(&mut hand)).unwrap();
    let data = home.data();
    let mut second = start_with(&other, |command| {
        command.env("JOURNEYMAN_DATA", &data);
    });
    wait_until("it says so", || other.daemon_log().contains("used with another database before"));
    wait_until("it answers", || {
        other.command(&["tree"]).env("JOURNEYMAN_DATA", &data).output().unwrap().status.success()
    });
    assert_eq!(second.stop(), 0);
    assert!(tree.exists(), "what the first database's run has is left alone");

    let _third = home.up();
    open(&wait_at_gate(&home, &home.data(), &gated));
    over(&home, &[&gated]);
    assert_eq!(row(&home, &gated).status, Status::Completed);
}
