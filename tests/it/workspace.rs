//! Workspaces: real git, real processes, and agents that misbehave.

#![expect(clippy::unwrap_used, reason = "the functions here are parts of tests")]

mod base;
mod delivery;
mod files;
mod prepared;
mod processes;
mod touched;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use journeyman_domain::ids::RunId;
use journeyman_workspace::reap::Owner;
use journeyman_workspace::{Workspace, create, inspect};
use tempfile::TempDir;

/// The user's repository and a place for workspaces, below a path that is not plain.
struct Scene {
    folder: TempDir,
    repository: PathBuf,
}

impl Scene {
    /// A repository with one commit of some files.
    fn new() -> Self {
        let scene = Self::empty();
        scene.write("README.md", "# Über\n");
        scene.write("src/lib.rs", "fn one() {}\n");
        scene.write("run me.sh", "#!/bin/sh\n");
        scene.write(".gitignore", "target/\n*.log\n");
        scene.write(".gitattributes", "* text=auto\n*.bat eol=crlf\n");
        fs::set_permissions(scene.repository.join("run me.sh"), fs::Permissions::from_mode(0o755))
            .unwrap();
        std::os::unix::fs::symlink("src/lib.rs", scene.repository.join("link")).unwrap();
        scene.commit("first");
        scene
    }

    fn empty() -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let repository = folder.path().join("Prüf stand");
        fs::create_dir(&repository).unwrap();
        let scene = Self { folder, repository };
        scene.git(&["init", "-q", "-b", "main"]);
        scene
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.repository, arguments)
    }

    fn write(&self, path: &str, text: &str) {
        write(&self.repository, path, text);
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    async fn workspace(&self) -> Workspace {
        self.workspace_in("wörk 1").await
    }

    async fn workspace_in(&self, name: &str) -> Workspace {
        let facts = inspect(&self.repository).await.unwrap();
        let folder = self.folder.path().join(name);
        create(&facts.root, &facts.head_commit, owner(), &folder).await.unwrap()
    }
}

fn owner() -> Owner {
    Owner { run: run(), epoch: 1 }
}

fn run() -> RunId {
    "0193a2f0-1111-7abc-8def-0123456789ab".parse().unwrap()
}

/// Git as a user or an agent calls it.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=User", "-c", "user.email=user@localhost"]);
    command.args(["-c", "protocol.file.allow=always"]).args(arguments).current_dir(folder);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Every file below a folder but for its own `.git`: whether it can be executed, and its content
/// or where its link leads.
fn files(folder: &Path) -> BTreeMap<String, (char, String)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(&current).unwrap().flatten() {
            let path = entry.path();
            if path == folder.join(".git") {
                continue;
            }
            let metadata = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if metadata.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                let target = String::from_utf8_lossy(target.as_os_str().as_bytes()).into_owned();
                found.insert(name, ('l', target));
            } else if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() {
                let kind = if metadata.permissions().mode() & 0o100 == 0 { 'f' } else { 'x' };
                let text = fs::read(&path).unwrap();
                found.insert(name, (kind, String::from_utf8_lossy(&text).into_owned()));
            }
        }
    }
    found
}
