//! Repositories that cannot be used, and unusual ones that can.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use super::{delivered, notes, refuse, run, state_of, tasks};
use crate::support::{Home, git};

const APPEND: &str = "echo two >> note.txt";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_repository_with_a_commit_is_refused() {
    let home = Home::new().await;
    let folder = home.folder.path();
    let usable = notes(&home, "notes");
    for name in ["plain", "bare", "empty"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    git(&folder.join("bare"), &["init", "-q", "--bare"]);
    git(&folder.join("empty"), &["init", "-q"]);
    let refused = |path: &Path, code: &str| {
        let path = path.to_str().unwrap();
        let by_run = refuse(&home, &["run", "--repo", path, "Do it"], 2, code);
        let by_add = refuse(&home, &["task", "add", "--repo", path, "Do it"], 2, code);
        let by_codebase = refuse(&home, &["codebase", "add", path], 2, code);
        assert_eq!(by_run.message, by_add.message);
        assert_eq!(by_run.message, by_codebase.message);
        assert!(by_run.message.contains(path), "{by_run:?}");
        by_run
    };
    let plain = refused(&folder.join("plain"), "not_a_repository");
    assert_eq!(plain.hint.as_deref(), Some("make one there with: git init"));
    refused(&folder.join("bare"), "bare_repository");
    refused(&folder.join("empty"), "empty_repository");
    refused(&folder.join("nowhere"), "no_such_folder");
    refused(&usable.join("note.txt"), "no_such_folder");
    refused(&usable.join(".git"), "not_a_repository");
    assert_eq!(tasks(&home), [""; 0]);
    let codebases = home.run(&["codebase", "list", "--json"]).ok().json();
    assert_eq!(codebases["codebases"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_head_is_a_base_as_any_other() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    git(&repository, &["checkout", "-q", "--detach"]);
    let before = state_of(&repository);
    let (_, branch) = delivered(&run(&home, &repository, APPEND, "true", &[]));
    assert_eq!(git(&repository, &["show", &format!("{branch}:note.txt")]), "one\ntwo");
    assert_eq!(state_of(&repository), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn uncommitted_changes_stay_and_the_user_is_told_that_they_are_no_part_of_the_work() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let clean = run(&home, &repository, APPEND, "true", &[]);
    assert!(!clean.stderr.contains("not committed"), "{clean:?}");
    std::fs::write(repository.join("note.txt"), "one\nmine\n").unwrap();
    std::fs::write(repository.join("staged.txt"), "staged\n").unwrap();
    git(&repository, &["add", "staged.txt"]);
    std::fs::write(repository.join("untracked.txt"), "untracked\n").unwrap();
    let before = state_of(&repository);
    let ran = run(&home, &repository, APPEND, "true", &[]);
    let (_, branch) = delivered(&ran);
    assert!(ran.stderr.contains(", without 3 files that are not committed; checks:"), "{ran:?}");
    assert_eq!(git(&repository, &["show", &format!("{branch}:note.txt")]), "one\ntwo");
    assert_eq!(git(&repository, &["ls-tree", "--name-only", &branch]), "note.txt");
    assert_eq!(state_of(&repository), before);
    let mine = std::fs::read_to_string(repository.join("note.txt")).unwrap();
    assert_eq!(mine, "one\nmine\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn submodules_are_there_to_read_and_a_missing_one_is_named() {
    let home = Home::new().await;
    let part = notes(&home, "part");
    let whole = notes(&home, "whole");
    let trust = ["-c", "protocol.file.allow=always"];
    let add = ["submodule", "--quiet", "add", part.to_str().unwrap(), "part"];
    git(&whole, &[&trust[..], &add].concat());
    git(&whole, &["commit", "-q", "-m", "part"]);
    let before = state_of(&whole);
    let agent = "cat part/note.txt >> note.txt";
    let (_, branch) = delivered(&run(&home, &whole, agent, "grep -q one part/note.txt", &[]));
    assert_eq!(git(&whole, &["show", &format!("{branch}:note.txt")]), "one\none");
    assert_eq!(git(&whole, &["diff", "--name-only", &format!("main..{branch}")]), "note.txt");
    assert_eq!(state_of(&whole), before);

    let clone = home.folder.path().join("clone");
    git(home.folder.path(), &["clone", "-q", whole.to_str().unwrap(), "clone"]);
    let before = state_of(&clone);
    let ran = run(&home, &clone, agent, "true", &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let error = ran.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("part is not checked out; run `git submodule update"), "{error}");
    assert_eq!(state_of(&clone), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_may_have_spaces_quotes_and_any_letters() {
    let home = Home::new().await;
    let repository = notes(&home, "my 'own' \"Straße\" ☃ $HOME; -x");
    let before = state_of(&repository);
    let (task, branch) = delivered(&run(&home, &repository, APPEND, "grep -q two note.txt", &[]));
    assert_eq!(task["repo"], repository.to_str().unwrap());
    assert_eq!(git(&repository, &["show", &format!("{branch}:note.txt")]), "one\ntwo");
    assert_eq!(state_of(&repository), before);
    // A path that no text can hold is refused, not guessed at.
    let odd = home.folder.path().join(OsString::from_vec(b"odd\xff".to_vec()));
    std::fs::create_dir(&odd).unwrap();
    let mut command = home.command(&["run", "--repo"]);
    let ran = command.arg(&odd).arg("Do it").output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(said.starts_with("error: the path ") && said.contains("not valid UTF-8"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worktree_and_a_folder_within_are_their_repository() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let tree = home.folder.path().join("tree");
    git(&repository, &["worktree", "add", "-q", "-b", "side", tree.to_str().unwrap()]);
    let within = tree.join("deep/er");
    std::fs::create_dir_all(&within).unwrap();
    let before = (state_of(&repository), state_of(&tree));
    let (task, branch) = delivered(&run(&home, &within, APPEND, "true", &[]));
    assert_eq!(task["repo"], tree.to_str().unwrap());
    assert_eq!(git(&repository, &["show", &format!("{branch}:note.txt")]), "one\ntwo");
    assert_eq!((state_of(&repository), state_of(&tree)), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn file_names_are_bytes_and_links_stay_links() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let odd = OsString::from_vec(b"bad\xff".to_vec());
    let names: [OsString; 5] =
        ["new\nline".into(), "-rf".into(), "qu\"o'te".into(), "{prompt}".into(), odd];
    for name in &names {
        std::fs::write(repository.join(name), "x\n").unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", repository.join("out")).unwrap();
    std::os::unix::fs::symlink("nowhere", repository.join("dangling")).unwrap();
    git(&repository, &["add", "-A"]);
    git(&repository, &["commit", "-q", "-m", "odd"]);
    let before = state_of(&repository);
    let agent = r#"for name in *; do test -L "$name" || echo y >> "./$name"; done; ln -s / up"#;
    let (_, branch) = delivered(&run(&home, &repository, agent, "test -L out", &[]));
    let changed = git(&repository, &["diff", "--name-only", &format!("main..{branch}")]);
    assert_eq!(changed.lines().count(), 7, "{changed}");
    assert_eq!(git(&repository, &["show", &format!("{branch}:new\nline")]), "x\ny");
    assert_eq!(git(&repository, &["show", &format!("{branch}:up")]), "/");
    assert_eq!(state_of(&repository), before);
}
