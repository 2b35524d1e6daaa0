//! A disk that is full where the runtime itself writes: the run waits for room, and nothing is done or paid again.

use std::fs;

use journeyman_domain::model::Wire;
use journeyman_domain::status::Status;
use journeyman_testkit::model::{Reply, Script};

use super::scene::{Scene, note};
use crate::bad_input::disk::{Disk, FULL};
use crate::recovery::scene::{row, steps};
use crate::support::{Home, signal, wait_until};

/// The daemon stands still before each of these, until the disk is full.
const PLACES: [&str; 3] = ["workspace.snapshot", "workspace.checkout", "workspace.patch"];

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_room_and_pays_for_nothing_again() {
    for place in PLACES {
        let names = note(&Home::new().await);
        let script = Script::turns([names.edit("one", "two"), Reply::text("Done.")]);
        let scene = Scene::new(Wire::OpenAiChat, script).await;
        let Some(disk) = Disk::mount(&scene.home.data(), "40m") else { return };
        let point = format!("{place}:before:1=stop");
        let mut daemon = scene.home.up_with(|command| {
            command.env("JOURNEYMAN_FAILPOINT", point);
        });
        let path = note(&scene.home).repository;
        let arguments = ["task", "add", "--json", "--deliver", "patch", "--repo"];
        let added = [&arguments[..], &[path.to_str().unwrap(), "Make it two"]].concat();
        let task = scene.home.run(&added).ok().json()["tasks"][0]["id"].clone();
        let task = task.as_str().unwrap();
        let stat = format!("/proc/{}/stat", daemon.child.id());
        wait_until("it stands still", || fs::read_to_string(&stat).unwrap().contains(") T "));
        disk.fill();
        signal(daemon.child.id(), "CONT");
        wait_until("it says that there is no room", || {
            steps(&scene.home, task).iter().any(|step| step.kind == "refused")
        });
        disk.free();
        wait_until("it is over", || row(&scene.home, task).status.is_final());
        let done = row(&scene.home, task);
        assert_eq!(
            (done.status, done.verified, done.attempts),
            (Status::Completed, Some(true), 1),
            "{place}: {}",
            scene.home.daemon_log()
        );
        scene.nothing_paid_twice();
        assert_eq!(scene.server.requests().len(), 2, "{place}");
        let told = scene.home.run(&["task", "logs", task]).ok().stdout;
        let waited = told.lines().find(|line| line.contains("it waits: ")).unwrap();
        assert!(waited.contains(FULL) || waited.contains("unable to write"), "{place}: {waited}");
        assert_eq!(daemon.stop(), 0);
    }
}
