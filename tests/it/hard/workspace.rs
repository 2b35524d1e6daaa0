//! The folder of a run, deleted, edited or broken between two lives: the journal's state comes back, and what is
//! delivered is what an undisturbed run delivers.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::scene::{Standing, delivered, repository};
use crate::recovery::scene::assert_done_once;
use crate::support::{Home, git};

/// What is done to the folder of a run.
type Damage<'a> = &'a dyn Fn(&Home, &Standing);

/// Damages every task's folder in its own way between two lives; all end as the undisturbed one.
async fn disturb(damages: &[(&str, Damage<'_>)], remade: &[&str]) {
    let home = Home::new().await;
    let repository = repository(&home, "notes");
    let before = git(&repository, &["rev-parse", "HEAD"]);
    let mut first = home.up();
    let standing: [Standing; 7] = Standing::many(&home, &repository);
    first.kill();
    for ((_, damage), standing) in damages.iter().zip(&standing) {
        damage(&home, standing);
    }
    let _second = home.up();
    for (number, standing) in standing.iter().enumerate() {
        let name = damages.get(number).map_or("undisturbed", |(name, _)| *name);
        standing.finish(&home);
        assert_done_once(&home, &repository, &standing.task);
        let undisturbed = expected(&home, &repository);
        assert_eq!(delivered(&home, &repository, &standing.task), undisturbed, "{name}");
        let log = home.daemon_log();
        let mut lines = log.lines().filter(|line| line.contains(&standing.run));
        let said = lines.any(|line| line.contains("made anew"));
        assert_eq!(said, remade.contains(&name), "{name}: {log}");
    }
    // The user's own files and branch are as they were.
    assert_eq!(git(&repository, &["status", "--porcelain"]), "");
    assert_eq!(git(&repository, &["rev-parse", "HEAD"]), before);
    assert_eq!(fs::read_to_string(repository.join("note.txt")).unwrap(), "one\n");
}

/// The tree that a run of the program gives, made by hand.
fn expected(home: &Home, repository: &Path) -> String {
    let folder = home.folder.path().join("expected");
    if !folder.exists() {
        git(home.folder.path(), &["clone", "-q", repository.to_str().unwrap(), "expected"]);
        fs::remove_file(folder.join("gone.txt")).unwrap();
        fs::create_dir(folder.join("deep")).unwrap();
        for (path, text) in [
            ("half", "half\n"),
            ("deep/run.sh", "x\n"),
            ("subject.txt", "first\n"),
            ("note.txt", "one\ntwo\n"),
        ] {
            fs::write(folder.join(path), text).unwrap();
        }
        symlink("../note.txt", folder.join("deep/link")).unwrap();
        git(&folder, &["add", "-A"]);
        git(&folder, &["update-index", "--chmod=+x", "deep/run.sh"]);
    }
    git(&folder, &["write-tree"])
}

/// Removes one object from a repository: a loose one, or all packs.
fn lose(git_dir: &Path, object: &str) {
    let loose = git_dir.join("objects").join(&object[..2]).join(&object[2..]);
    fs::remove_file(&loose).unwrap_or_else(|error| panic!("{}: {error}", loose.display()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_deleted_or_edited_is_the_journals_again() {
    disturb(
        &[
            ("deleted", &|_, standing| fs::remove_dir_all(&standing.folder).unwrap()),
            ("without its files", &|_, standing| fs::remove_dir_all(standing.tree()).unwrap()),
            ("edited", &|_, standing| {
                let tree = standing.tree();
                fs::write(tree.join("half"), "other\n").unwrap();
                fs::write(tree.join("deep/run.sh"), "y\n").unwrap();
                fs::remove_file(tree.join("sub/kept.txt")).unwrap();
                fs::write(tree.join("stranger.txt"), "x\n").unwrap();
                fs::write(tree.join("gone.txt"), "gone\n").unwrap();
            }),
            ("its repository damaged", &|_, standing| {
                let dot_git = standing.tree().join(".git");
                fs::write(dot_git.join("HEAD"), "nonsense\n").unwrap();
                fs::write(dot_git.join("index"), "nonsense\n").unwrap();
                fs::remove_file(dot_git.join("objects/info/alternates")).unwrap();
            }),
            ("foreign links planted", &|home, standing| {
                let tree = standing.tree();
                let user = home.folder.path().join("notes");
                fs::remove_dir_all(tree.join("sub")).unwrap();
                symlink(&user, tree.join("sub")).unwrap();
                symlink(&user, tree.join("stranger")).unwrap();
                fs::remove_file(tree.join("half")).unwrap();
                symlink(user.join("note.txt"), tree.join("half")).unwrap();
                fs::remove_dir_all(tree.join(".git")).unwrap();
                symlink(user.join(".git"), tree.join(".git")).unwrap();
            }),
            ("exchanged for a link", &|home, standing| {
                fs::remove_dir_all(standing.tree()).unwrap();
                symlink(home.folder.path().join("notes"), standing.tree()).unwrap();
            }),
        ],
        &["without its files", "exchanged for a link"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_lost_an_object_is_made_anew() {
    let object =
        |standing: &Standing, name: &str| git(&standing.folder.join("git"), &["rev-parse", name]);
    disturb(
        &[
            ("a file of the base lost", &|_, standing| {
                lose(&standing.folder.join("git"), &object(standing, "main:sub/kept.txt"));
            }),
            ("the base lost", &|_, standing| {
                lose(&standing.folder.join("git"), &object(standing, "main"));
            }),
            ("a tree of the base lost", &|_, standing| {
                lose(&standing.folder.join("git"), &object(standing, "main:sub"));
            }),
            ("all packs lost", &|_, standing| {
                // What the journal's pack brings comes back from there.
                let packs = standing.folder.join("git/objects/pack");
                fs::remove_dir_all(&packs).unwrap();
                fs::create_dir(&packs).unwrap();
            }),
            ("all objects lost", &|_, standing| {
                fs::remove_dir_all(standing.folder.join("git/objects")).unwrap();
            }),
            ("its index damaged", &|_, standing| {
                fs::write(standing.folder.join("index"), "nonsense").unwrap();
            }),
        ],
        &[
            "a file of the base lost",
            "the base lost",
            "a tree of the base lost",
            "all objects lost",
            "its index damaged",
        ],
    )
    .await;
}

/// The run's clone and the user's repository lost the base: nothing can be made, and the rest goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_is_gone_everywhere_parks_the_task() {
    let home = Home::new().await;
    let (kept, lost) = (repository(&home, "kept"), repository(&home, "lost"));
    let mut first = home.up();
    let [healthy] = Standing::many(&home, &kept);
    let [standing, moved] = Standing::many(&home, &lost);
    first.kill();
    let base = git(&lost, &["rev-parse", "HEAD"]);
    for standing in [&standing, &moved] {
        fs::remove_dir_all(&standing.folder).unwrap();
    }
    // The user began anew.
    fs::remove_dir_all(lost.join(".git")).unwrap();
    git(&lost, &["init", "-q", "-b", "main"]);
    fs::write(lost.join("note.txt"), "another\n").unwrap();
    git(&lost, &["add", "-A"]);
    git(&lost, &["commit", "-q", "-m", "another"]);
    let _second = home.up();
    healthy.finish(&home);
    assert_done_once(&home, &kept, &healthy.task);
    for standing in [&standing, &moved] {
        let said = standing.parked(&home);
        let sentence = format!(
            "the base commit {base} of run {} is gone from {}",
            standing.run,
            lost.display()
        );
        assert!(said.starts_with(&sentence), "{said}");
    }
    // Once it is back, another attempt begins.
    git(&lost, &["checkout", "-q", "-b", "other"]);
    home.run(&["task", "retry", &standing.task]).ok();
    crate::support::wait_until("it is tried again", || {
        crate::recovery::scene::row(&home, &standing.task).attempts == 2
    });
    home.run(&["task", "cancel", &standing.task]).ok();
}
