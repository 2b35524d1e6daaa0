use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

/// A workspace with these files.
fn tree(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let whole = tree.path().join(path);
        fs::create_dir_all(whole.parent().unwrap()).unwrap();
        fs::write(whole, content).unwrap();
    }
    tree
}

fn text(tree: &tempfile::TempDir, path: &str) -> String {
    fs::read_to_string(tree.path().join(path)).unwrap()
}

fn sentence<T: std::fmt::Debug>(result: Result<T, WorkspaceError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn files_and_directories_are_viewed() {
    let tree = tree(&[
        ("b.txt", b"one\ntwo\n"),
        ("a/x", b""),
        ("bin", b"a\0b"),
        ("latin", b"caf\xe9\n"),
        (".git/config", b"x"),
    ]);
    let at = tree.path();
    assert_eq!(view(at, "./b.txt", 2, 9).unwrap(), "     2\ttwo\n");
    assert_eq!(view(at, "latin", 1, 9).unwrap(), "     1\tcaf\u{fffd}\n");
    assert_eq!(view(at, ".", 1, 100).unwrap(), "a/\nb.txt\nbin\nlatin\n");
    assert_eq!(view(at, "", 2, 2).unwrap(), "b.txt\nbin\n[1 names more; read on with offset 4]");
    assert_eq!(view(at, "a", 9, 9).unwrap(), "");
    assert_eq!(sentence(view(at, "bin", 1, 9)), "bin: it is a binary file of 3 bytes");
    assert_eq!(sentence(view(at, "no", 1, 9)), "no: there is no such file");
    assert_eq!(sentence(view(at, "/", 1, 9)), "'/' is no path within the workspace");
}

#[test]
fn replaced_and_written_files_keep_their_mode() {
    let tree = tree(&[("run.sh", b"echo a\r\necho b\r\n")]);
    let script = tree.path().join("run.sh");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let changed = replace(tree.path(), "run.sh", "echo a\necho b", "echo c", false).unwrap();
    assert_eq!(changed, [PathBuf::from("run.sh")]);
    assert_eq!(text(&tree, "run.sh"), "echo c\r\n");
    assert_eq!(write(tree.path(), "run.sh", "new").unwrap(), [PathBuf::from("run.sh")]);
    assert_eq!(write(tree.path(), "run.sh", "new").unwrap(), Vec::<PathBuf>::new());
    assert_eq!(write(tree.path(), "deep/er/x", "y").unwrap(), [PathBuf::from("deep/er/x")]);
    assert_eq!((text(&tree, "run.sh").as_str(), text(&tree, "deep/er/x").as_str()), ("new", "y"));
    assert_eq!(fs::metadata(&script).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(
        sentence(replace(tree.path(), "run.sh", "old", "x", false)),
        "run.sh: the text to replace is not in the file"
    );
    assert_eq!(
        sentence(replace(tree.path(), "none", "old", "x", false)),
        "none: there is no such file"
    );
    assert_eq!(sentence(write(tree.path(), "deep", "x")), "deep: it is no file");
    assert_eq!(sentence(write(tree.path(), "run.sh/x", "x")), "run.sh/x: run.sh is no directory");
}

#[test]
fn a_patch_adds_moves_updates_and_deletes_at_once() {
    let tree = tree(&[("old.sh", b"a\nb\n"), ("gone", b"x\n"), ("twice", b"1\n2\n")]);
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(tree.path().join("old.sh"), mode).unwrap();
    let text_of_patch = "*** Begin Patch\n*** Add File: new/x\n+n\n*** Update File: old.sh\n*** \
                         Move to: moved/new.sh\n@@\n a\n-b\n+c\n*** Delete File: gone\n*** Update \
                         File: twice\n@@\n-1\n+one\n*** Update File: twice\n@@\n-2\n+two\n*** End \
                         Patch";
    let changed = patch(tree.path(), text_of_patch).unwrap();
    let expected = ["gone", "moved/new.sh", "new/x", "old.sh", "twice"].map(PathBuf::from);
    assert_eq!(changed, expected);
    let moved = tree.path().join("moved/new.sh");
    assert_eq!(fs::metadata(&moved).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(
        [text(&tree, "moved/new.sh"), text(&tree, "new/x"), text(&tree, "twice")],
        ["a\nc\n", "n\n", "one\ntwo\n"]
    );
    assert!(!tree.path().join("gone").exists() && !tree.path().join("old.sh").exists());
}

#[test]
fn a_patch_that_does_not_fit_leaves_every_file_as_it_was() {
    let tree = tree(&[("a", b"a\n"), ("b", b"b\n"), ("folder/x", b"")]);
    let cases = [
        (
            "*** Update File: b\n@@\n-x\n+y",
            "b: hunk 1: its first line 'x' is not in the file after line 0",
        ),
        ("*** Update File: c\n@@\n-x\n+y", "c: there is no such file"),
        ("*** Add File: b\n+y", "b: it exists already; update it instead"),
        (
            "*** Update File: b\n*** Move to: a\n@@\n-b\n+y",
            "a: it exists already, so nothing can move there",
        ),
        ("*** Add File: folder\n+y", "folder: it is no file"),
        ("*** Add File: ../x\n+y", "'../x' is no path within the workspace"),
        ("*** Delete File: .git/config", "'.git/config' is no path within the workspace"),
    ];
    for (part, expected) in cases {
        let whole =
            format!("*** Begin Patch\n*** Update File: a\n@@\n-a\n+A\n{part}\n*** End Patch");
        assert_eq!(sentence(patch(tree.path(), &whole)), expected);
        assert_eq!((text(&tree, "a").as_str(), text(&tree, "b").as_str()), ("a\n", "b\n"));
        assert_eq!(fs::read_dir(tree.path()).unwrap().count(), 3, "nothing is left beside");
    }
}

#[test]
fn what_is_no_patch_is_told_by_its_line() {
    let tree = tree(&[]);
    let told = sentence(patch(tree.path(), "--- a\n+++ b\n"));
    assert_eq!(told, "this patch: at its line 1: it must begin with '*** Begin Patch'");
}

#[test]
fn what_is_no_text_of_bounded_size_is_refused() {
    let tree = tree(&[("latin", b"caf\xe9\n"), ("large", b"")]);
    let large = fs::File::options().write(true).open(tree.path().join("large")).unwrap();
    large.set_len(FILE_BYTES + 1).unwrap();
    let no_text = "latin: it is no text in UTF-8, so it cannot be edited as text";
    assert_eq!(sentence(replace(tree.path(), "latin", "caf", "x", false)), no_text);
    let update = "*** Begin Patch\n*** Update File: latin\n@@\n-caf\n+x\n*** End Patch";
    assert_eq!(sentence(patch(tree.path(), update)), no_text);
    let too_large = "large: it has 10485761 bytes, and no more than 10485760 are taken";
    assert_eq!(sentence(view(tree.path(), "large", 1, 1)), too_large);
    assert_eq!(sentence(replace(tree.path(), "large", "a", "b", false)), too_large);
    let much = "x".repeat(usize::try_from(FILE_BYTES).unwrap() + 1);
    assert_eq!(sentence(write(tree.path(), "large", &much)), too_large);
    let pipe = tree.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(sentence(view(tree.path(), "pipe", 1, 1)), "pipe: it is no file");
    assert_eq!(sentence(write(tree.path(), "pipe", "x")), "pipe: it is no file");
}

#[test]
fn no_tool_leaves_the_workspace() {
    let tree = tree(&[("in", b"x\n")]);
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("secret"), "s\n").unwrap();
    symlink(elsewhere.path(), tree.path().join("folder")).unwrap();
    symlink(elsewhere.path().join("secret"), tree.path().join("link")).unwrap();
    let at = tree.path();
    for path in ["../x", "a/../../x", "/etc/x", "folder/secret", "link", ".git/config", "./.GIT/x"]
    {
        let outside = format!("'{path}' is no path within the workspace");
        assert_eq!(sentence(view(at, path, 1, 1)), outside);
        assert_eq!(sentence(replace(at, path, "s", "t", false)), outside);
        assert_eq!(sentence(write(at, path, "t")), outside);
        for change in [
            format!("*** Update File: {path}\n@@\n-s\n+t"),
            format!("*** Delete File: {path}"),
            format!("*** Update File: in\n*** Move to: {path}\n@@\n-x\n+t"),
        ] {
            let whole = format!("*** Begin Patch\n{change}\n*** End Patch");
            assert_eq!(sentence(patch(at, &whole)), outside);
        }
    }
    assert_eq!(fs::read_to_string(elsewhere.path().join("secret")).unwrap(), "s\n");
    assert_eq!(text(&tree, "in"), "x\n");
}

#[test]
fn a_link_that_was_laid_beside_a_file_is_not_written_through() {
    let tree = tree(&[("a", b"old")]);
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    // The names that were once used: an agent can guess them.
    for number in 0..3 {
        let name = format!(".journeyman-edit-{}-{number}", std::process::id());
        symlink(&secret, tree.path().join(name)).unwrap();
    }
    write(tree.path(), "a", "new").unwrap();
    patch(tree.path(), "*** Begin Patch\n*** Add File: b\n+b\n*** End Patch").unwrap();
    let edit = journeyman_domain::tool::FileEdit {
        path: "a".into(),
        start: 0,
        end: 3,
        expected: Some("new".into()),
        replacement: "newer".into(),
    };
    super::super::apply(tree.path(), &[edit]).unwrap();
    assert_eq!((text(&tree, "a").as_str(), text(&tree, "b").as_str()), ("newer", "b\n"));
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(fs::read_dir(tree.path()).unwrap().count(), 5, "nothing else is left");
}

#[test]
fn a_path_that_the_system_refuses_is_the_callers_fault() {
    let tree = tree(&[("a", b"x")]);
    let long = "n".repeat(300);
    let deep = "d/".repeat(3_000) + "f";
    for path in [long.as_str(), deep.as_str(), "a/b", "nul\0"] {
        let is_told = |error: WorkspaceError| {
            matches!(error, WorkspaceError::Edit { .. }) || error.is_of_the_path()
        };
        assert!(is_told(view(tree.path(), path, 1, 1).unwrap_err()), "{path:.9}");
        assert!(is_told(write(tree.path(), path, "x").unwrap_err()), "{path:.9}");
        assert!(is_told(replace(tree.path(), path, "x", "y", false).unwrap_err()), "{path:.9}");
    }
    let full = std::io::Error::from(ErrorKind::StorageFull);
    let full = WorkspaceError::Io { doing: "write".into(), source: full };
    assert!(!full.is_of_the_path());
}
