//! The private cluster: shared by commands at once, killed in mid-run, gone with its last user.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::scene::{CHECK, DONE, GATED, QUICK, notes, wait_at_any_gate};
use crate::support::{Daemon, Home, Ran, git, wait_until};

/// The program on the cluster of its own data folder.
fn command(home: &Home, arguments: &[&str]) -> Command {
    let mut command = home.command(arguments);
    command.env_remove("DATABASE_URL");
    command
}

fn run(home: &Home, arguments: &[&str]) -> Ran {
    Ran::from(command(home, arguments).output().unwrap())
}

/// The server's process, while there is one.
fn postmaster(home: &Home) -> Option<(PathBuf, i32)> {
    let folders = std::fs::read_dir(home.data()).ok()?.flatten();
    let mut files = folders.map(|folder| folder.path().join("data/postmaster.pid"));
    files.find_map(|file| {
        let text = std::fs::read_to_string(&file).ok()?;
        Some((file, text.lines().next()?.trim().parse().ok()?))
    })
}

/// Processes that name the data folder in their arguments: keeper and server.
fn users_of(data: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| {
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(data.to_str().unwrap())).collect()
}

fn done(home: &Home, repository: &Path, task: &Value) {
    assert_eq!(
        (&task["status"], &task["verified"], &task["attempts"]),
        (&"completed".into(), &true.into(), &1.into()),
        "{task}\n{}",
        home.daemon_log()
    );
    let branch = task["branch"].as_str().unwrap();
    assert_eq!(git(repository, &["show", &format!("{branch}:note.txt")]), DONE);
    assert_eq!(git(repository, &["rev-list", "--count", &format!("main..{branch}")]), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_share_the_cluster_and_leave_nothing_running() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let path = repository.to_str().unwrap();
    let arguments =
        ["run", "--json", "--repo", path, "--command", QUICK, "--check", CHECK, "Write two"];
    let start = || {
        let mut command = command(&home, &arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children = [start(), start()];
    let tasks = children.map(|child| Ran::from(child.wait_with_output().unwrap()).ok().json());
    assert_ne!(tasks[0]["id"], tasks[1]["id"]);
    for task in &tasks {
        done(&home, &repository, task);
    }
    wait_until("the cluster is stopped", || {
        postmaster(&home).is_none() && users_of(&home.data()).is_empty()
    });
    let audit = run(&home, &["audit", "verify", "--json"]).ok().json();
    assert_eq!(audit["ok"], true, "{audit}");
    wait_until("the cluster is stopped again", || users_of(&home.data()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_outlives_the_server_of_its_database() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let log = std::fs::File::create(home.folder.path().join("daemon.log")).unwrap();
    let mut up = command(&home, &["up"]);
    up.stdout(log.try_clone().unwrap()).stderr(log);
    let mut daemon = Daemon { child: up.spawn().unwrap() };
    wait_until("the daemon answers", || run(&home, &["tree", "--json"]).code == 0);
    let path = repository.to_str().unwrap();
    let add =
        ["task", "add", "--json", "--repo", path, "--command", GATED, "--check", CHECK, "Two"];
    let added = run(&home, &add).ok().json();
    let task = added["tasks"][0]["id"].as_str().unwrap();
    let tree = wait_at_any_gate(&home);
    let (_, server) = postmaster(&home).unwrap();
    super::scene::kill(server);
    // Its own children notice, and end too; the keeper then starts another one.
    wait_until("another server runs", || {
        postmaster(&home).is_some_and(|(_, now)| now != server)
            && run(&home, &["task", "show", task, "--json"]).code == 0
    });
    super::scene::open(&tree);
    let show = || run(&home, &["task", "show", task, "--json"]).ok().json();
    wait_until("the task is over", || {
        !["ready", "pending", "running"].contains(&show()["status"].as_str().unwrap())
    });
    done(&home, &repository, &show());
    assert_eq!(daemon.stop(), 0, "{}", home.daemon_log());
    wait_until("the cluster is stopped", || users_of(&home.data()).is_empty());
}

/// Where the server is killed while the program ends, its result is written when there is one
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_waits_for_the_server() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let path = repository.to_str().unwrap();
    let arguments =
        ["run", "--json", "--repo", path, "--command", GATED, "--check", CHECK, "Write two"];
    let mut running = command(&home, &arguments);
    let child = running.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let tree = wait_at_any_gate(&home);
    let (_, server) = postmaster(&home).unwrap();
    super::scene::kill(server);
    super::scene::open(&tree);
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    done(&home, &repository, &ran.json());
    wait_until("the cluster is stopped", || users_of(&home.data()).is_empty());
}
