//! What comes into the user's repository, and what does not.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use journeyman_workspace::{
    Applied, Delivery, Signature, Snapshot, Workspace, WorkspaceError, apply, deliver, restore,
    take,
};

use super::{Scene, files, write};

fn delivery() -> Delivery {
    let person = |name: &str| Signature { name: name.into(), email: format!("{name}@localhost") };
    Delivery {
        branch: "journeyman/456789ab-mend-it".into(),
        message: "Mend it\n\nÜber alles.\n".into(),
        author: person("Author"),
        committer: person("Committer"),
        when: 1_700_000_000,
    }
}

async fn changed(scene: &Scene, text: &str) -> (Workspace, Snapshot) {
    let workspace = scene.workspace().await;
    write(&workspace.tree(), "src/lib.rs", text);
    let first = take(&workspace, 1, &workspace.base()).await.unwrap();
    write(&workspace.tree(), "added", "x\n");
    let second = take(&workspace, 2, &first).await.unwrap();
    (workspace, second)
}

#[tokio::test]
async fn a_delivery_is_one_commit_on_a_branch_and_touches_nothing_else() {
    let scene = Scene::new();
    let trap = scene.folder.path().join("trapped");
    let hook = scene.repository.join(".git/hooks/reference-transaction");
    fs::write(&hook, format!("#!/bin/sh\ntouch '{}'\n", trap.display())).unwrap();
    std::process::Command::new("chmod").arg("+x").arg(&hook).status().unwrap();
    let (workspace, snapshot) = changed(&scene, "fn mended() {}\n").await;
    scene.write("README.md", "the user's own work\n");
    scene.write("untracked", "x");
    let before = (files(&scene.repository), fs::read(scene.repository.join(".git/index")).unwrap());
    let delivered = deliver(&scene.repository, &workspace, &snapshot, &delivery()).await.unwrap();
    let again = deliver(&scene.repository, &workspace, &snapshot, &delivery()).await.unwrap();
    assert_eq!(delivered, again);
    assert!(!trap.exists());
    let after = (files(&scene.repository), fs::read(scene.repository.join(".git/index")).unwrap());
    assert_eq!(before, after);
    assert_eq!(
        scene.git(&["branch", "--format=%(refname:short)"]),
        "journeyman/456789ab-mend-it\nmain"
    );
    let commit = delivered.commit.as_str();
    let shown = scene.git(&["show", "-s", "--format=%an %ae|%cn|%at %ct|%P|%B", commit]);
    let base = workspace.base().commit;
    let expected = format!(
        "Author Author@localhost|Committer|1700000000 1700000000|{base}|Mend it\n\nÜber alles."
    );
    assert_eq!(shown, expected);
    assert_eq!(scene.git(&["diff", "--name-only", "main", commit]), "added\nsrc/lib.rs");
    scene.git(&["fsck", "--strict"]);
}

#[tokio::test]
async fn a_branch_that_is_taken_is_left_alone() {
    let scene = Scene::new();
    let (workspace, snapshot) = changed(&scene, "fn mended() {}\n").await;
    scene.git(&["branch", "journeyman/456789ab-mend-it"]);
    let delivered = deliver(&scene.repository, &workspace, &snapshot, &delivery()).await.unwrap();
    let again = deliver(&scene.repository, &workspace, &snapshot, &delivery()).await.unwrap();
    assert_eq!(delivered.branch, "journeyman/456789ab-mend-it-2");
    assert_eq!(delivered, again);
    let taken = scene.git(&["rev-parse", "journeyman/456789ab-mend-it"]);
    assert_eq!(taken, scene.git(&["rev-parse", "main"]));
    let mut wrong = delivery();
    wrong.branch = "no..name".into();
    let refused = deliver(&scene.repository, &workspace, &snapshot, &wrong).await;
    assert!(matches!(refused, Err(WorkspaceError::Git(_))));
}

#[tokio::test]
async fn applying_is_all_or_nothing() {
    let scene = Scene::new();
    let (workspace, snapshot) = changed(&scene, "fn mended() {}\n").await;
    let commit =
        deliver(&scene.repository, &workspace, &snapshot, &delivery()).await.unwrap().commit;
    let committer = delivery().committer;
    let repository = scene.repository.as_path();

    scene.write("README.md", "own work\n");
    let refused = apply(repository, &commit, &committer).await;
    let expected = [PathBuf::from("README.md")];
    assert!(matches!(refused, Err(WorkspaceError::NotClean(paths)) if paths == expected));
    scene.git(&["checkout", "-q", "README.md"]);

    scene.write("added", "in the way\n");
    let refused = apply(repository, &commit, &committer).await;
    let expected = [PathBuf::from("added")];
    assert!(matches!(refused, Err(WorkspaceError::InTheWay(paths)) if paths == expected));
    assert_eq!(fs::read_to_string(repository.join("added")).unwrap(), "in the way\n");
    fs::remove_file(repository.join("added")).unwrap();

    scene.git(&["checkout", "-q", "-b", "conflicting"]);
    scene.write("src/lib.rs", "fn other() {}\n");
    scene.commit("conflicting");
    let before = (files(repository), scene.git(&["rev-parse", "HEAD"]));
    let refused = apply(repository, &commit, &committer).await;
    let expected = [PathBuf::from("src/lib.rs")];
    assert!(matches!(refused, Err(WorkspaceError::Conflict(paths)) if paths == expected));
    assert_eq!((files(repository), scene.git(&["rev-parse", "HEAD"])), before);
    assert_eq!(scene.git(&["status", "--porcelain"]), "");

    scene.git(&["checkout", "-q", "-b", "beside", "main"]);
    scene.write("beside", "x");
    scene.commit("beside");
    let picked = apply(repository, &commit, &committer).await.unwrap();
    let head = scene.git(&["rev-parse", "HEAD"]);
    assert!(matches!(picked, Applied::Picked(made) if made.as_str() == head));
    assert_eq!(scene.git(&["show", "-s", "--format=%an %cn"]), "Author Committer");
    assert_eq!(fs::read_to_string(repository.join("src/lib.rs")).unwrap(), "fn mended() {}\n");

    scene.git(&["checkout", "-q", "main"]);
    assert_eq!(apply(repository, &commit, &committer).await.unwrap(), Applied::FastForward);
    assert_eq!(apply(repository, &commit, &committer).await.unwrap(), Applied::AlreadyThere);
    assert_eq!(scene.git(&["rev-parse", "main"]), commit.as_str());
}

/// The lock on the delivery's branch, as git makes it.
fn locked(scene: &Scene) -> (PathBuf, fs::File) {
    let lock = scene.repository.join(format!(".git/refs/heads/{}.lock", delivery().branch));
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let file = fs::File::create(&lock).unwrap();
    (lock, file)
}

#[tokio::test]
async fn the_lock_of_a_git_that_was_killed_does_not_stop_a_delivery() {
    let scene = Scene::new();
    let (workspace, snapshot) = changed(&scene, "fn mended() {}\n").await;
    let (lock, left) = locked(&scene);
    left.set_modified(SystemTime::now() - Duration::from_mins(1)).unwrap();
    let delivered = deliver(&scene.repository, &workspace, &snapshot, &delivery()).await.unwrap();
    assert_eq!(delivered.branch, "journeyman/456789ab-mend-it");
    assert!(!lock.exists());
}

#[tokio::test]
async fn a_lock_that_is_held_is_waited_for() {
    let scene = Scene::new();
    let (workspace, snapshot) = changed(&scene, "fn mended() {}\n").await;
    let (lock, held) = locked(&scene);
    // In the future, as after a clock that was set back: its age says nothing.
    held.set_modified(SystemTime::now() + Duration::from_hours(1)).unwrap();
    let (repository, branch) = (scene.repository.clone(), delivery());
    let delivering =
        tokio::spawn(
            async move { deliver(&repository, &workspace, &snapshot, &branch).await.unwrap() },
        );
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(lock.exists() && !delivering.is_finished());
    fs::remove_file(&lock).unwrap();
    assert_eq!(delivering.await.unwrap().branch, "journeyman/456789ab-mend-it");
}

#[tokio::test]
async fn locks_in_our_own_clone_are_gone_when_the_run_goes_on() {
    let scene = Scene::new();
    let workspace = scene.workspace().await;
    let reference = format!("refs/journeyman/runs/{}", super::run());
    let locks = [format!("{reference}/1.lock"), "packed-refs.lock".to_owned()]
        .map(|name| workspace.git_dir().join(name));
    for lock in &locks {
        fs::create_dir_all(lock.parent().unwrap()).unwrap();
        fs::write(lock, "").unwrap();
    }
    let workspace = scene.workspace().await;
    assert!(locks.iter().all(|lock| !lock.exists()));
    write(&workspace.tree(), "added", "x\n");
    take(&workspace, 1, &workspace.base()).await.unwrap();
}

#[tokio::test]
async fn a_delivery_that_was_cut_off_while_it_unpacked_is_made_whole() {
    let scene = Scene::new();
    let (workspace, snapshot) = changed(&scene, "fn mended() {}\n").await;
    // Where the same delivery goes through, its commit is seen.
    let elsewhere = scene.folder.path().join("elsewhere");
    let from = scene.repository.to_str().unwrap();
    super::git(scene.folder.path(), &["clone", "-q", from, elsewhere.to_str().unwrap()]);
    let whole = deliver(&elsewhere, &workspace, &snapshot, &delivery()).await.unwrap();
    let commit = whole.commit.as_str();
    let text = scene.folder.path().join("commit");
    let raw = std::process::Command::new("git")
        .args(["cat-file", "commit", commit])
        .current_dir(&elsewhere)
        .output()
        .unwrap();
    fs::write(&text, raw.stdout).unwrap();
    // The first object of its pack alone came through.
    let written = scene.git(&["hash-object", "-t", "commit", "-w", text.to_str().unwrap()]);
    assert_eq!(written, commit);
    let delivered = deliver(&scene.repository, &workspace, &snapshot, &delivery()).await.unwrap();
    assert_eq!(delivered, whole);
    assert_eq!(scene.git(&["show", &format!("{commit}:src/lib.rs")]), "fn mended() {}");
    scene.git(&["fsck", "--connectivity-only", "--no-dangling"]);
}

#[tokio::test]
async fn the_agents_repository_has_an_index_that_any_git_reads_and_no_lock_after_a_restore() {
    let scene = Scene::new();
    let workspace = scene.workspace().await;
    let dot_git = workspace.tree().join(".git");
    let index = fs::read(dot_git.join("index")).unwrap();
    assert_ne!(index[index.len() - 20..], [0; 20], "other readers of git want its checksum");
    let locks = ["index.lock", "refs/heads/own.lock"].map(|name| dot_git.join(name));
    for lock in &locks {
        fs::create_dir_all(lock.parent().unwrap()).unwrap();
        fs::write(lock, "").unwrap();
    }
    restore(&workspace, &workspace.base().commit, &[]).await.unwrap();
    assert!(locks.iter().all(|lock| !lock.exists()));
}
