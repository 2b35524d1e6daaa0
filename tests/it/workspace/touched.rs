//! Snapshots where it is known what can have changed: the same as those that look at everything.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use journeyman_domain::tool::FileEdit;
use journeyman_workspace::{Snapshot, Workspace, WorkspaceError, edit, take, take_touched};

use super::{Scene, git, write};

/// What an edit does to the tree, and the files that it touches.
type Edit = (&'static [&'static str], fn(&Path));

fn remove(tree: &Path, path: &str) {
    fs::remove_file(tree.join(path)).unwrap();
}

const EDITS: [Edit; 15] = [
    (&["src/lib.rs"], |tree| write(tree, "src/lib.rs", "fn two() {}\n")),
    // In the same instant, and as long.
    (&["src/lib.rs"], |tree| write(tree, "src/lib.rs", "fn six() {}\n")),
    (&[], |_| {}),
    (&["src/new.rs", "README.md"], |tree| {
        write(tree, "src/new.rs", "new\n");
        write(tree, "README.md", "changed\n");
    }),
    (&["target/built"], |tree| write(tree, "target/built", "x")),
    (&["a.log", "run me.sh"], |tree| {
        write(tree, "a.log", "ignored\n");
        write(tree, "run me.sh", "#!/bin/sh\ntrue\n");
    }),
    (&["ö.bat"], |tree| write(tree, "ö.bat", "one\r\n")),
    (&["ö.bat"], |tree| write(tree, "ö.bat", "two\n")),
    (&["src/new.rs", "moved.rs"], |tree| {
        fs::rename(tree.join("src/new.rs"), tree.join("moved.rs")).unwrap();
    }),
    // A link's place is a file's now.
    (&["link"], |tree| {
        remove(tree, "link");
        write(tree, "link", "no link\n");
    }),
    (&["README.md", "README.md/inner.txt"], |tree| {
        remove(tree, "README.md");
        write(tree, "README.md/inner.txt", "in a folder of that name\n");
    }),
    (&["README.md/inner.txt", "README.md"], |tree| {
        fs::remove_dir_all(tree.join("README.md")).unwrap();
        write(tree, "README.md", "a file again\n");
    }),
    // What was ignored is there.
    (&[".gitignore"], |tree| write(tree, ".gitignore", "target/\n")),
    // The same file by another name.
    (&["other/lib.rs"], |tree| {
        symlink("src", tree.join("other")).unwrap();
        write(tree, "other/lib.rs", "fn by_another_name() {}\n");
    }),
    (&["sub/file.txt"], |tree| {
        fs::create_dir(tree.join("sub")).unwrap();
        git(&tree.join("sub"), &["init", "-q"]);
        write(tree, "sub/file.txt", "in a repository within\n");
    }),
];

/// Taken by what was touched; a look at everything finds no more.
async fn taken(
    workspace: &Workspace,
    seq: u64,
    previous: &Snapshot,
    touched: &[PathBuf],
) -> Snapshot {
    let taken = take_touched(workspace, seq, previous, touched).await.unwrap();
    let whole = take(workspace, 0, &taken).await.unwrap();
    assert_eq!((whole.changed, &whole.tree), (false, &taken.tree), "{touched:?}");
    taken
}

#[tokio::test]
async fn they_are_those_that_look_at_everything() {
    let scene = Scene::new();
    let workspace = scene.workspace().await;
    let mut previous = workspace.base();
    for (number, (touched, edit)) in (1..).zip(EDITS) {
        edit(&workspace.tree());
        let touched: Vec<PathBuf> = touched.iter().map(PathBuf::from).collect();
        let taken = taken(&workspace, number, &previous, &touched).await;
        assert_eq!(taken.changed, taken.tree != previous.tree, "{touched:?}");
        assert_eq!(taken.changed, !taken.pack.is_empty(), "{touched:?}");
        previous = taken;
    }
}

/// The tools say all that they touch.
#[tokio::test]
async fn the_tools_name_all_that_they_touch() {
    let scene = Scene::new();
    let workspace = scene.workspace().await;
    let tree = workspace.tree();
    let patch = "*** Begin Patch\n*** Update File: README.md\n*** Move to: docs/README.md\n@@\n-# new\n+# moved\n\
         *** Delete File: run me.sh\n*** Update File: src/lib.rs\n@@\n-fn two() {}\n+fn three() {}\n\
         *** Add File: src/more.rs\n+fn more() {}\n*** End Patch\n";
    let whole_file = FileEdit {
        path: "src/lib.rs".into(),
        start: 0,
        end: "fn three() {}\n".len(),
        expected: None,
        replacement: "fn four() {}\n".into(),
    };
    let tools: [&dyn Fn() -> Result<Vec<PathBuf>, WorkspaceError>; 4] = [
        &|| edit::write(&tree, "README.md", "# new\n"),
        &|| edit::replace(&tree, "src/lib.rs", "one", "two", false),
        &|| edit::patch(&tree, patch),
        &|| edit::apply(&tree, std::slice::from_ref(&whole_file)),
    ];
    let mut previous = workspace.base();
    for (number, tool) in (1..).zip(tools) {
        let touched = tool().unwrap();
        previous = taken(&workspace, number, &previous, &touched).await;
        assert!(previous.changed, "{touched:?}");
    }
}

/// What nobody said that it may have changed is not looked at, until a program may have changed anything.
#[tokio::test]
async fn what_was_not_touched_is_found_by_the_next_look_at_everything() {
    let scene = Scene::new();
    let workspace = scene.workspace().await;
    let tree = workspace.tree();
    write(&tree, "src/lib.rs", "fn two() {}\n");
    let only =
        take_touched(&workspace, 1, &workspace.base(), &["src/lib.rs".into()]).await.unwrap();
    write(&tree, "src/lib.rs", "fn three() {}\n");
    write(&tree, "README.md", "by hand\n");
    let without = take_touched(&workspace, 2, &only, &["src/lib.rs".into()]).await.unwrap();
    let changed = |from: &str, to: &str| {
        let range = ["diff-tree", "-r", "--name-only", from, to];
        git(&workspace.git_dir(), &range)
    };
    assert_eq!(changed(only.commit.as_str(), without.commit.as_str()), "src/lib.rs");
    let whole = take(&workspace, 3, &without).await.unwrap();
    assert_eq!(changed(without.commit.as_str(), whole.commit.as_str()), "README.md");
}

/// A file that is too large to be kept stays known as such while others are edited.
#[tokio::test]
async fn what_is_left_out_stays_left_out() {
    let scene = Scene::new();
    let workspace = scene.workspace().await;
    let large = fs::File::create(workspace.tree().join("core")).unwrap();
    large.set_len(300 * 1024 * 1024).unwrap();
    let whole = take(&workspace, 1, &workspace.base()).await.unwrap();
    assert_eq!(whole.left_out, [PathBuf::from("core")]);
    write(&workspace.tree(), "README.md", "changed\n");
    let next = take_touched(&workspace, 2, &whole, &["README.md".into()]).await.unwrap();
    assert_eq!((next.changed, next.left_out), (true, whole.left_out));
}
