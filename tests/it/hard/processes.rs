//! Programs that do not want to go: deaf to SIGTERM, in sessions of their own, with nothing of our environment.
//! They are gone before their run goes on or ends.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::recovery::scene::{
    CHECK, QUICK, add_command, assert_done_once, delivered_note, is_over, row, run_of,
};
use crate::support::{Home, wait_until};

/// Starts another one behind its back, twice forked, in a session of its own; then itself does not end.
const START: &str = "#!/bin/sh\ntrap '' TERM INT HUP\n\
    (setsid sh ./stay.sh \"$1\" forked </dev/null >/dev/null 2>&1 &)\n\
    if [ \"$2\" = bare ]; then (setsid env -i PATH=\"$PATH\" sh ./stay.sh \"$1\" bare </dev/null >/dev/null 2>&1 &); fi\n\
    until [ -e forked ]; do sleep 0.02; done\n\
    if [ \"$2\" = bare ]; then until [ -e bare ]; do sleep 0.02; done; fi\n\
    echo two >> note.txt\nuntil [ -e gate ]; do sleep 0.02; done\n";
const STAY: &str = "#!/bin/sh\ntrap '' TERM INT HUP\n: > \"$2\"\nwhile :; do sleep 0.05; done\n";

/// Processes with this word among their arguments.
fn alive(word: &str) -> Vec<(i32, String)> {
    let numbers = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let line = |pid: i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    };
    numbers.map(|pid| (pid, line(pid))).filter(|(_, line)| line.contains(word)).collect()
}

struct Scene {
    home: Home,
    repository: PathBuf,
    /// How the sandbox is made, and whether a program without our environment is found in it.
    namespaces: &'static str,
    word: String,
}

impl Scene {
    async fn new(namespaces: &'static str) -> Self {
        let home = Home::new().await;
        let files = [
            ("note.txt", "one\n"),
            (".gitignore", "/gate\n/forked\n/bare\n"),
            ("start.sh", START),
            ("stay.sh", STAY),
        ];
        let repository = home.repository("notes", &files);
        let word = format!("{}-stay", home.folder.path().file_name().unwrap().display());
        Self { home, repository, namespaces, word }
    }

    fn change(&self, command: &mut Command) {
        command.env("JOURNEYMAN__SANDBOX__NAMESPACES", self.namespaces);
    }

    /// A task whose processes all stand.
    fn add(&self) -> String {
        let kind = if self.namespaces == "auto" { "bare" } else { "marked" };
        let program = format!("sh start.sh {} {kind}", self.word);
        let task = add_command(&self.home, &self.repository, &program, CHECK);
        self.wait(&task);
        task
    }

    /// Waits for the first process of the next life: by then none of these is alive.
    fn assert_gone_before_the_next(&self, before: &[(i32, String)]) {
        let is_earlier = |process: &(i32, String)| before.contains(process);
        wait_until("the next life's program is there", || {
            alive(&self.word).iter().any(|process| !is_earlier(process))
        });
        let left: Vec<_> = alive(&self.word).into_iter().filter(is_earlier).collect();
        assert_eq!(left, []);
    }

    /// Waits until the program of a life stands there; its folder.
    fn wait(&self, task: &str) -> PathBuf {
        wait_until("the task runs", || row(&self.home, task).attempts > 0);
        let tree = self.tree(task);
        let wanted = if self.namespaces == "auto" { 3 } else { 2 };
        wait_until("all of it stands", || {
            let alive = alive(&self.word);
            let shells = alive.iter().filter(|(_, line)| line.starts_with("sh "));
            shells.count() >= wanted
                && std::fs::read_to_string(tree.join("note.txt")).is_ok_and(|it| it == "one\ntwo\n")
        });
        tree
    }

    fn tree(&self, task: &str) -> PathBuf {
        let run = run_of(&self.home, task).to_string();
        self.home.data().join("runs").join(run).join("tree")
    }

    /// A second task, which nothing is wrong with.
    fn assert_others_go_on(&self) {
        let task = add_command(&self.home, &self.repository, QUICK, CHECK);
        wait_until("the other task is done", || is_over(&self.home, &task));
        assert_done_once(&self.home, &self.repository, &task);
    }
}

fn open(tree: &Path) {
    std::fs::write(tree.join("gate"), "").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_program_that_will_not_go_is_gone() {
    for namespaces in ["auto", "off"] {
        let scene = Scene::new(namespaces).await;
        let _daemon = scene.home.up_with(|command| scene.change(command));
        let task = scene.add();
        scene.home.run(&["task", "cancel", &task]).ok();
        wait_until("it is cancelled", || row(&scene.home, &task).status.is_final());
        assert_eq!(alive(&scene.word), [], "{namespaces}: gone before the run ended");
        assert_eq!(row(&scene.home, &task).status.as_str(), "cancelled");
        scene.assert_others_go_on();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_will_not_go_is_gone_when_the_daemon_is() {
    for namespaces in ["auto", "off"] {
        let scene = Scene::new(namespaces).await;
        let mut daemon = scene.home.up_with(|command| scene.change(command));
        let task = scene.add();
        assert_eq!(daemon.stop(), 0, "{}", scene.home.daemon_log());
        assert_eq!(alive(&scene.word), [], "{namespaces}");
        assert_eq!(row(&scene.home, &task).status.as_str(), "running");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_daemon_left_is_gone_before_the_run_goes_on() {
    for namespaces in ["auto", "off"] {
        let scene = Scene::new(namespaces).await;
        let mut daemon = scene.home.up_with(|command| scene.change(command));
        let task = scene.add();
        let before = alive(&scene.word);
        daemon.kill();
        let _next = scene.home.up_with(|command| scene.change(command));
        if namespaces == "auto" {
            scene.assert_gone_before_the_next(&before);
            let tree = scene.wait(&task);
            open(&tree);
            wait_until("it is done", || is_over(&scene.home, &task));
            assert_done_once(&scene.home, &scene.repository, &task);
            assert_eq!(delivered_note(&scene.home, &scene.repository, &task), "one\ntwo");
        } else {
            // It could have reached the world: it is not run again, and another attempt begins.
            wait_until("another attempt begins", || row(&scene.home, &task).attempts == 2);
            let left = alive(&scene.word);
            assert!(!left.iter().any(|process| before.contains(process)), "{left:?}");
            scene.home.run(&["task", "cancel", &task]).ok();
            wait_until("it is cancelled", || row(&scene.home, &task).status.is_final());
        }
        assert_eq!(alive(&scene.word), [], "{namespaces}");
        scene.assert_others_go_on();
    }
}
