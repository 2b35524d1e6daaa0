//! A git remote on this machine that is spoken to like one on a forge, and that can take a push and let its sender
//! believe that it failed.
//!
//! Its address is that of a forge by SSH; the repository's own `core.sshCommand` leads to a script here, which runs
//! git's own servers on a bare repository. What was pushed is in that repository, whatever the other side believes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::git;

/// Stands for SSH: writes down what is asked, and runs it here, as a server would: it outlives whoever speaks to it,
/// and knows nothing of their environment.
const TRANSPORT: &str = r#"#!/bin/sh
for last; do :; done
program=${last%% *}
case "$program" in
git-receive-pack|git-upload-pack) ;;
*) exit 1 ;;
esac
echo "$program" >> FOLDER/sessions
if [ -e FOLDER/denied ]; then echo "git@forge: Permission denied (publickey)." >&2; exit 255; fi
if [ -e FOLDER/away ]; then echo "ssh: connect to host forge port 22: Connection refused" >&2; exit 255; fi
exec env -i PATH="$PATH" setsid --wait "${program%%-*}" "${program#git-}" FOLDER/bare.git
"#;

/// Runs in the bare repository once references have changed, before the sender is told.
const CHANGED: &str = r#"#!/bin/sh
[ "$1" = committed ] || exit 0
while read -r _ _ name; do echo "$name" >> FOLDER/changes; done
if [ -e FOLDER/lose-answer ] && [ "$(wc -l < FOLDER/changes)" -ge "$(cat FOLDER/lose-answer)" ]; then
    rm FOLDER/lose-answer; kill -9 $PPID
fi
while [ -e FOLDER/hold ]; do sleep 0.05; done
exit 0
"#;

/// The remote. Its files are the caller's.
#[derive(Debug)]
pub struct GitRemote {
    folder: PathBuf,
}

impl GitRemote {
    /// Makes it in a folder that is not there yet, and makes it the `origin` of a repository, under this address;
    /// the repository's branch `main` is there already.
    pub fn new(folder: &Path, repository: &Path, address: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let remote = Self { folder: folder.to_owned() };
        let here = folder.to_str().context("a path that is no text")?;
        git(folder, &["init", "-q", "--bare", "-b", "main", "bare.git"])?;
        let transport = remote.script("transport", TRANSPORT)?;
        fs::create_dir_all(folder.join("bare.git/hooks"))?;
        remote.script("bare.git/hooks/reference-transaction", CHANGED)?;
        git(repository, &["remote", "add", "origin", address])?;
        git(repository, &["config", "core.sshCommand", &transport])?;
        git(repository, &["config", "ssh.variant", "simple"])?;
        git(repository, &["push", "-q", &format!("{here}/bare.git"), "HEAD:refs/heads/main"])?;
        git(repository, &["update-ref", "refs/remotes/origin/main", "HEAD"])?;
        git(repository, &["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"])?;
        let _ = fs::remove_file(folder.join("changes"));
        Ok(remote)
    }

    fn script(&self, name: &str, text: &str) -> anyhow::Result<String> {
        let path = self.folder.join(name);
        let here = self.folder.to_str().context("a path that is no text")?;
        fs::write(&path, text.replace("FOLDER", here))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path.to_str().context("a path that is no text")?.to_owned())
    }

    /// Takes the next push, and ends before its sender is told.
    pub fn lose_answer(&self) -> std::io::Result<()> {
        self.lose_answer_to(0)
    }

    /// The same with the push that makes this number of changes full, from 1.
    pub fn lose_answer_to(&self, change: u32) -> std::io::Result<()> {
        fs::write(self.folder.join("lose-answer"), change.to_string())
    }

    /// Takes pushes and keeps their senders waiting, until [`GitRemote::release`].
    pub fn hold(&self) -> std::io::Result<()> {
        fs::write(self.folder.join("hold"), "")
    }

    /// Lets them go on.
    pub fn release(&self) -> std::io::Result<()> {
        fs::remove_file(self.folder.join("hold"))
    }

    /// Lets nobody in (`true`), or everybody.
    pub fn deny(&self, denied: bool) -> std::io::Result<()> {
        self.mark("denied", denied)
    }

    /// Is not reached (`true`), or is.
    pub fn away(&self, away: bool) -> std::io::Result<()> {
        self.mark("away", away)
    }

    fn mark(&self, name: &str, set: bool) -> std::io::Result<()> {
        let path = self.folder.join(name);
        if set { fs::write(path, "") } else { fs::remove_file(path) }
    }

    /// How often a push came so far that it was spoken with.
    pub fn pushes(&self) -> usize {
        let sessions = fs::read_to_string(self.folder.join("sessions")).unwrap_or_default();
        sessions.lines().filter(|program| *program == "git-receive-pack").count()
    }

    /// How often this branch changed.
    pub fn changes(&self, branch: &str) -> usize {
        let changes = fs::read_to_string(self.folder.join("changes")).unwrap_or_default();
        changes.lines().filter(|name| *name == format!("refs/heads/{branch}")).count()
    }

    /// What a branch is at.
    pub fn branch(&self, branch: &str) -> Option<String> {
        let name = format!("refs/heads/{branch}");
        git(&self.bare(), &["rev-parse", "--verify", "--quiet", &name]).ok()
    }

    /// The bare repository.
    pub fn bare(&self) -> PathBuf {
        self.folder.join("bare.git")
    }
}
