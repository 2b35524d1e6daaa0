//! Clones, snapshots, restores.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use journeyman_workspace::{
    ChangeKind, ChangedPath, StoredSnapshot, WorkspaceError, changed_paths, checkout, create, diff,
    discard, exclude, import, inspect, open, resolve, restore, take,
};

use super::{Scene, files, git, owner, write};

#[tokio::test]
async fn what_cannot_be_worked_on_is_refused_in_one_sentence() {
    let scene = Scene::empty();
    let plain = scene.folder.path().join("plain");
    let bare = scene.folder.path().join("bare");
    fs::create_dir(&plain).unwrap();
    // A repository above the test's folder must not answer for it.
    fs::write(plain.join(".git"), "gitdir: /nowhere\n").unwrap();
    git(scene.folder.path(), &["init", "-q", "--bare", "bare"]);
    let missing = inspect(&scene.folder.path().join("missing")).await;
    assert!(matches!(missing, Err(WorkspaceError::NoSuchFolder(_))));
    assert!(matches!(inspect(&plain).await, Err(WorkspaceError::NotARepository(_))));
    assert!(matches!(inspect(&bare).await, Err(WorkspaceError::Bare(_))));
    assert!(matches!(inspect(&scene.repository).await, Err(WorkspaceError::Empty(_))));
}

#[tokio::test]
async fn a_repository_is_described_without_being_touched() {
    let scene = Scene::new();
    scene.write("README.md", "# Changed\n");
    scene.write("neu/ö.txt", "x");
    scene.write("target/ignored", "x");
    scene.git(&["add", "README.md"]);
    let index = fs::read(scene.repository.join(".git/index")).unwrap();
    let facts = inspect(&scene.repository.join("src")).await.unwrap();
    assert_eq!(facts.root, scene.repository);
    assert_eq!(facts.head_commit.as_str(), scene.git(&["rev-parse", "HEAD"]));
    assert_eq!(facts.branch.as_deref(), Some("main"));
    assert_eq!(facts.dirty, ["README.md", "neu/ö.txt"].map(PathBuf::from));
    assert!(!facts.shallow && !facts.detached());
    scene.git(&["checkout", "-q", "--detach"]);
    assert!(inspect(&scene.repository).await.unwrap().detached());
    assert_eq!(fs::read(scene.repository.join(".git/index")).unwrap(), index);
    assert_eq!(resolve(&scene.repository, "main").await.unwrap(), facts.head_commit);
    for wrong in ["no-such-branch", "--all", "HEAD:README.md", ""] {
        let refused = resolve(&scene.repository, wrong).await;
        assert!(matches!(refused, Err(WorkspaceError::NoSuchRevision { .. })), "{wrong}");
    }
}

#[tokio::test]
async fn a_workspace_needs_nothing_of_its_source() {
    let scene = Scene::new();
    let before = files(&scene.repository);
    // A base that only a detached head knew, and that the user's repository forgets.
    scene.git(&["checkout", "-q", "--detach"]);
    scene.write("only here", "x");
    scene.commit("detached");
    let workspace = scene.workspace().await;
    scene.git(&["checkout", "-q", "main"]);
    scene.git(&["reflog", "expire", "--expire=all", "--all"]);
    scene.git(&["gc", "-q", "--prune=now"]);
    assert_eq!(files(&scene.repository), before);
    let tree = workspace.tree();
    assert!(tree.join("only here").exists());
    git(&tree, &["fsck", "--full", "--strict"]);
    assert_eq!(git(&tree, &["remote"]), "");
    assert_eq!(git(&tree, &["status", "--porcelain"]), "");
    assert_eq!(git(&tree, &["rev-parse", "HEAD"]), workspace.base().commit.as_str());
    assert_eq!(git(&tree, &["branch", "--list", "main", "--format=%(refname)"]), "refs/heads/main");
    // What the agent can write shares no file with the user's repository.
    git(&tree, &["commit", "-q", "--allow-empty", "-m", "the agent's own"]);
    let own = fs::read(tree.join(".git/objects/info/alternates")).unwrap();
    assert!(own.ends_with(b"/git/objects\n"));
}

#[tokio::test]
async fn a_half_made_workspace_is_made_anew_and_a_whole_one_is_kept() {
    let scene = Scene::new();
    let folder = scene.folder.path().join("wörk 1");
    write(&folder, "git/objects/half", "x");
    write(&folder, "tree/README.md", "half");
    assert!(matches!(open(owner(), &folder).await, Err(WorkspaceError::Incomplete(_))));
    let workspace = scene.workspace().await;
    assert_eq!(files(&workspace.tree()), files(&scene.repository));
    write(&workspace.tree(), "work", "of the agent");
    write(&workspace.temporary(), "left", "by an earlier life");
    let again = scene.workspace().await;
    assert_eq!(again, workspace);
    assert!(again.tree().join("work").exists());
    assert_eq!(fs::read_dir(again.temporary()).unwrap().count(), 0);
    discard(&folder).await.unwrap();
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_restore_gives_exactly_the_files_of_the_snapshot() {
    let scene = Scene::new();
    let workspace = scene.workspace().await;
    let tree = workspace.tree();
    let unchanged = take(&workspace, 1, &workspace.base()).await.unwrap();
    assert_eq!(unchanged, workspace.base());

    write(&tree, "src/new.rs", "new\n");
    write(&tree, "crlf.txt", "one\r\ntwo\n");
    write(&tree, "call.bat", "one\ntwo\r\n");
    fs::set_permissions(tree.join("README.md"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(tree.join("run me.sh")).unwrap();
    // A file becomes a folder, a folder a link that leads out of the workspace.
    fs::remove_file(tree.join("link")).unwrap();
    write(&tree, "link/below", "x");
    fs::remove_dir_all(tree.join("src")).unwrap();
    symlink("/etc", tree.join("src")).unwrap();
    let first = take(&workspace, 2, &unchanged).await.unwrap();
    assert!(first.changed && !first.pack.is_empty());
    let at_first = files(&tree);
    let kinds = changed_paths(&workspace, &workspace.base().commit, &first.commit).await.unwrap();
    let expected = [
        ("README.md", ChangeKind::Modified),
        ("call.bat", ChangeKind::Added),
        ("crlf.txt", ChangeKind::Added),
        ("link", ChangeKind::Deleted),
        ("link/below", ChangeKind::Added),
        ("run me.sh", ChangeKind::Deleted),
        ("src", ChangeKind::Added),
        ("src/lib.rs", ChangeKind::Deleted),
    ];
    let expected = expected.map(|(path, kind)| ChangedPath { path: path.into(), kind });
    assert_eq!(kinds, expected);

    write(&tree, "crlf.txt", "other\n");
    write(&tree, "only second", "x");
    write(&tree, "debug.log", "ignored");
    write(&tree, "target/cache", "kept");
    write(&tree, "empty/.keep", "");
    write(&tree, "README.md", "same length?\n");
    let second = take(&workspace, 3, &first).await.unwrap();
    let mut at_second = files(&tree);
    restore(&workspace, &first.commit, &["target"]).await.unwrap();
    let mut restored = files(&tree);
    assert_eq!(restored.remove("target/cache").unwrap().1, "kept");
    assert_eq!(restored, at_first);
    assert!(!tree.join("empty").exists());
    restore(&workspace, &second.commit, &[]).await.unwrap();
    at_second.retain(|name, _| name != "debug.log" && name != "target/cache");
    assert_eq!(files(&tree), at_second);
    restore(&workspace, &workspace.base().commit, &[]).await.unwrap();
    assert_eq!(files(&tree), files(&scene.repository));
}

#[tokio::test]
async fn what_an_agent_does_to_git_neither_fools_nor_harms() {
    let scene = Scene::new();
    let workspace = scene.workspace().await;
    let tree = workspace.tree();
    let trap = scene.folder.path().join("trapped");
    let touch = format!("#!/bin/sh\ntouch '{}'\n", trap.display());
    for hook in ["post-checkout", "reference-transaction", "post-index-change", "pre-commit"] {
        write(&tree, &format!(".git/hooks/{hook}"), &touch);
        let hook = tree.join(".git/hooks").join(hook);
        fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let command = format!("touch '{}'", trap.display());
    git(&tree, &["config", "core.fsmonitor", &command]);
    git(&tree, &["config", "filter.evil.clean", &command]);
    git(&tree, &["config", "filter.evil.smudge", &command]);
    git(&tree, &["config", "core.worktree", "/"]);
    write(&tree, ".git/info/exclude", "*\n");
    write(&tree, ".gitattributes", "* filter=evil ident\n");
    write(&tree, "README.md", "$Id$ changed\n");
    // Repositories within: one with a commit, one without, one below a folder of the base.
    for (folder, commit) in [("inner", true), ("unborn/deep", false), ("src", true)] {
        let folder = tree.join(folder);
        write(&folder, "inner.txt", "inner\n");
        write(&folder, ".gitignore", "skipped\n");
        write(&folder, "skipped", "x");
        git(&folder, &["init", "-q"]);
        if commit {
            git(&folder, &["add", "-A"]);
            git(&folder, &["commit", "-q", "-m", "inner"]);
        }
    }
    write(&tree, ".GIT/config", "[core]\n");
    write(&tree, "locked", "x");
    fs::set_permissions(tree.join("locked"), fs::Permissions::from_mode(0o000)).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(tree.join("pipe")).status().unwrap();
    assert!(pipe.success());

    let snapshot = take(&workspace, 1, &workspace.base()).await.unwrap();
    let kinds = changed_paths(&workspace, &workspace.base().commit, &snapshot.commit).await;
    let names: Vec<_> =
        kinds.unwrap().iter().map(|change| change.path.display().to_string()).collect();
    let expected = [
        ".gitattributes",
        "README.md",
        "inner/.gitignore",
        "inner/inner.txt",
        "locked",
        "src/.gitignore",
        "src/inner.txt",
        "unborn/deep/.gitignore",
        "unborn/deep/inner.txt",
    ];
    assert_eq!(names, expected);
    let folder = scene.folder.path().join("check out");
    checkout(&workspace, &snapshot.commit, &folder).await.unwrap();
    assert_eq!(fs::read_to_string(folder.join("README.md")).unwrap(), "$Id$ changed\n");
    assert_eq!(fs::read_to_string(folder.join("src/inner.txt")).unwrap(), "inner\n");
    assert_eq!(git(&folder, &["rev-parse", "HEAD"]), snapshot.commit.as_str());
    fs::remove_dir_all(tree.join(".git")).unwrap();
    restore(&workspace, &workspace.base().commit, &[]).await.unwrap();
    assert_eq!(files(&tree), files(&scene.repository));
    assert_eq!(git(&tree, &["rev-parse", "HEAD"]), workspace.base().commit.as_str());
    assert!(!trap.exists(), "something of the agent's ran outside of the sandbox");
}

#[tokio::test]
async fn a_folder_without_rights_hinders_no_restore() {
    let scene = Scene::new();
    let workspace = scene.workspace().await;
    let cache = workspace.tree().join("target/mod");
    write(&cache, "file", "x");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o555)).unwrap();
    restore(&workspace, &workspace.base().commit, &[]).await.unwrap();
    assert!(!cache.exists());
}

#[tokio::test]
async fn stored_packs_rebuild_every_state_elsewhere() {
    let scene = Scene::new();
    let workspace = scene.workspace().await;
    let mut stored = Vec::new();
    let mut states = Vec::new();
    let mut last = workspace.base();
    for seq in 1..=4 {
        write(&workspace.tree(), &format!("file {seq}"), &"line\n".repeat(100));
        write(&workspace.tree(), "src/lib.rs", &format!("{}fn end() {{}}\n", "x\n".repeat(seq)));
        last = take(&workspace, seq as u64, &last).await.unwrap();
        let (commit, pack) = (last.commit.clone(), last.pack.clone());
        stored.push(StoredSnapshot { seq: seq as u64, commit, pack });
        states.push(files(&workspace.tree()));
    }
    // The same files after the same snapshot are the same commit.
    restore(&workspace, &stored[2].commit, &[]).await.unwrap();
    let again = scene.workspace_in("another node").await;
    import(&again, &stored).await.unwrap();
    import(&again, &stored).await.unwrap();
    for (snapshot, state) in stored.iter().zip(&states).rev() {
        restore(&again, &snapshot.commit, &[]).await.unwrap();
        assert_eq!(files(&again.tree()), *state);
    }
    let patch = diff(&again, &stored[0].commit, &stored[1].commit).await.unwrap();
    assert_eq!(patch, diff(&workspace, &stored[0].commit, &stored[1].commit).await.unwrap());
    restore(&again, &stored[0].commit, &[]).await.unwrap();
    fs::write(scene.folder.path().join("patch"), patch).unwrap();
    git(&again.tree(), &["apply", "../../patch"]);
    assert_eq!(files(&again.tree()), states[1]);
}

#[tokio::test]
async fn submodules_are_there_to_read_and_missing_ones_are_named() {
    let scene = Scene::new();
    let library = Scene::new();
    library.write("library.txt", "library\n");
    library.commit("second");
    let path = library.repository.to_str().unwrap();
    scene.git(&["submodule", "--quiet", "add", path, "vendor/lib rary"]);
    scene.commit("with a submodule");
    let workspace = scene.workspace().await;
    let tree = workspace.tree();
    assert_eq!(files(&tree)["vendor/lib rary/library.txt"].1, "library\n");
    write(&tree, "vendor/lib rary/library.txt", "changed\n");
    write(&tree, "new", "x");
    let snapshot = take(&workspace, 1, &workspace.base()).await.unwrap();
    let changed = changed_paths(&workspace, &workspace.base().commit, &snapshot.commit).await;
    let new = ChangedPath { path: "new".into(), kind: ChangeKind::Added };
    assert_eq!(changed.unwrap(), [new]);
    let folder = scene.folder.path().join("check out");
    checkout(&workspace, &snapshot.commit, &folder).await.unwrap();
    assert_eq!(files(&folder)["vendor/lib rary/library.txt"].1, "library\n");
    restore(&workspace, &snapshot.commit, &[]).await.unwrap();
    assert_eq!(files(&tree), files(&folder));

    scene.git(&["submodule", "--quiet", "deinit", "--all", "--force"]);
    let facts = inspect(&scene.repository).await.unwrap();
    assert_eq!(facts.submodules, [PathBuf::from("vendor/lib rary")]);
    let folder = scene.folder.path().join("second");
    let refused = create(&facts.root, &facts.head_commit, owner(), &folder).await;
    assert!(matches!(refused, Err(WorkspaceError::SubmoduleMissing(_))));
}

#[tokio::test]
async fn a_tracked_file_that_grew_too_large_is_named_and_not_deleted() {
    let scene = Scene::new();
    let workspace = scene.workspace().await;
    let tree = workspace.tree();
    for name in ["README.md", "new"] {
        let file = fs::File::options().create(true).append(true).open(tree.join(name)).unwrap();
        // Of holes: it takes no room.
        file.set_len(300 * 1024 * 1024).unwrap();
    }
    let snapshot = take(&workspace, 1, &workspace.base()).await.unwrap();
    assert_eq!(snapshot.left_out, ["README.md", "new"].map(PathBuf::from));
    assert_eq!(snapshot.tree, workspace.base().tree);
    restore(&workspace, &snapshot.commit, &[]).await.unwrap();
    assert_eq!(files(&tree), files(&scene.repository));
}

#[tokio::test]
async fn what_was_prepared_is_no_part_of_a_snapshot_even_as_a_link() {
    let scene = Scene::new();
    let workspace = scene.workspace().await;
    let names = ["lib/node_modules", "odd [*]? name"].map(str::to_owned);
    exclude(&workspace, &names).await.unwrap();
    write(&workspace.tree(), "lib/code", "x");
    for name in &names {
        symlink(scene.folder.path(), workspace.tree().join(name)).unwrap();
    }
    let snapshot = take(&workspace, 1, &workspace.base()).await.unwrap();
    let changed = changed_paths(&workspace, &workspace.base().commit, &snapshot.commit).await;
    let code = ChangedPath { path: "lib/code".into(), kind: ChangeKind::Added };
    assert_eq!(changed.unwrap(), [code]);
    restore(&workspace, &snapshot.commit, &["lib/node_modules"]).await.unwrap();
    assert!(names.iter().all(|name| workspace.tree().join(name).symlink_metadata().is_err()));
}

#[tokio::test]
async fn a_link_to_somebody_elses_repository_is_removed_and_nothing_behind_it() {
    for as_file in [false, true] {
        let scene = Scene::new();
        let workspace = scene.workspace().await;
        let (own, dot_git) = (scene.repository.join(".git"), workspace.tree().join(".git"));
        fs::write(own.join("index.lock"), "the user is at work").unwrap();
        fs::remove_dir_all(&dot_git).unwrap();
        if as_file {
            fs::write(&dot_git, format!("gitdir: {}\n", own.display())).unwrap();
        } else {
            symlink(&own, &dot_git).unwrap();
        }
        restore(&workspace, &workspace.base().commit, &[]).await.unwrap();
        assert!(own.join("index.lock").exists() && own.join("HEAD").exists());
        assert!(dot_git.symlink_metadata().unwrap().is_dir());
        assert_eq!(git(&workspace.tree(), &["status", "--porcelain"]), "");
    }
}

#[tokio::test]
async fn a_patch_keeps_bytes_that_are_no_utf8() {
    let scene = Scene::new();
    let workspace = scene.workspace().await;
    let text = b"gr\xfc\xdfe\n";
    fs::write(workspace.tree().join("latin-1.txt"), text).unwrap();
    let snapshot = take(&workspace, 1, &workspace.base()).await.unwrap();
    let patch = diff(&workspace, &workspace.base().commit, &snapshot.commit).await.unwrap();
    fs::write(scene.folder.path().join("patch"), patch).unwrap();
    scene.git(&["apply", "../patch"]);
    assert_eq!(fs::read(scene.repository.join("latin-1.txt")).unwrap(), text);
}
