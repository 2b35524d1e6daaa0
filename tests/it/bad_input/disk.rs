//! A full disk: said in one sentence, nothing lost, and the work goes on when there is room.
//!
//! The disk is a small file system in memory below the data folder, which only root can make.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{notes, refuse_with, run, run_command, state_of};
use crate::support::{Home, Ran, git, wait_until};

pub(crate) const FULL: &str = "No space left on device";

/// A file system of its own in a folder; gone with the test.
pub(crate) struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// `None` where this machine does not permit it, which is printed.
    #[expect(clippy::print_stderr, reason = "a test that skips itself says why")]
    pub(crate) fn mount(folder: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let options = format!("size={size},mode=700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "journeyman-test"]).arg(folder);
        let ran = mount.output().unwrap();
        if !ran.status.success() {
            eprintln!("no small disk can be made here: {}", String::from_utf8_lossy(&ran.stderr));
            return None;
        }
        Some(Self { folder: folder.to_owned() })
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let ran = Command::new("mount").args(["-o", &options]).arg(&self.folder).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }

    /// Takes all the room there is.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.folder.join("filler")).unwrap();
        let ended = std::io::copy(&mut std::io::repeat(0), &mut file);
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.folder.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, for what still holds it open at the end.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fills_the_disk_stops_alone() {
    let home = Home::new().await;
    let Some(_disk) = Disk::mount(&home.data(), "20m") else { return };
    let repository = notes(&home, "notes");
    let before = state_of(&repository);
    let ran = run(&home, &repository, "head -c 100m /dev/zero > big; true", "true", &[]);
    // It was tried again, and then the user is asked: nobody else can make room.
    assert_eq!(ran.code, 4, "{ran:?}");
    let task = ran.json();
    assert_eq!((&task["status"], &task["waiting_for"]), (&"waiting".into(), &"input".into()));
    assert_eq!(task["branch"], serde_json::Value::Null);
    assert!(task["error"].as_str().unwrap().contains(FULL), "{task}");
    // It gave the room back, and so there is some for the next.
    run(&home, &repository, "echo two >> note.txt", "true", &[]).ok();
    assert_eq!(state_of(&repository), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_cluster_without_room_is_made_when_there_is_some() {
    let home = Home::new().await;
    let Some(disk) = Disk::mount(&home.data(), "20m") else { return };
    let variables = [("DATABASE_URL", "")];
    let refused = refuse_with(&home, &["task", "list"], &variables, 3, "database_unavailable");
    assert!(refused.message.starts_with("the database server did not start: "), "{refused:?}");
    assert!(refused.message.ends_with(FULL), "{refused:?}");
    disk.resize("500m");
    let ran = home.command(&["task", "list"]).env("DATABASE_URL", "").output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_below_a_daemon_and_its_cluster_loses_nothing() {
    let home = Home::new().await;
    let Some(disk) = Disk::mount(&home.data(), "120m") else { return };
    let repository = notes(&home, "notes");
    let before = state_of(&repository);
    // The daemon's cluster is its private one; the commands ask the daemon.
    let mut daemon = home.up_with(|command| {
        command.env("DATABASE_URL", "");
    });
    run(&home, &repository, "echo two >> note.txt", "true", &[]).ok();
    disk.fill();
    let mut asked = run_command(&home, &repository, "echo three >> note.txt", "true", &[]);
    let mut asked = asked.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Whatever is the first to find no room: the request, the run, or the database, whom all wait for.
    wait_until("it is said", || {
        asked.try_wait().unwrap().is_some() || home.daemon_log().contains(FULL)
    });
    assert_eq!(home.run(&["task", "show", "latest"]).code, 0);
    disk.free();
    let ran = Ran::from(asked.wait_with_output().unwrap());
    assert!(ran.code == 0 || [1, 3, 4].contains(&ran.code) && ran.stderr.contains(FULL), "{ran:?}");
    match home.task("latest")["status"].as_str().unwrap() {
        "failed" => drop(home.run(&["task", "retry", "latest"]).ok()),
        "waiting" => drop(home.run(&["task", "answer", "latest", "there is room"]).ok()),
        _ => {}
    }
    wait_until("there is room, and all work is done", || {
        let tasks = home.run(&["task", "list", "--json"]).ok().json();
        let tasks = tasks["tasks"].as_array().unwrap().clone();
        tasks.iter().all(|task| task["status"] == "completed" && task["verified"] == true)
    });
    run(&home, &repository, "echo four >> note.txt", "true", &[]).ok();
    assert_eq!(state_of(&repository), before);
    assert_eq!(git(&repository, &["fsck", "--strict"]), "");
    home.run(&["audit", "verify"]).ok();
    assert_eq!(daemon.stop(), 0, "{}", home.daemon_log());
}
