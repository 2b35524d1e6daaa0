//! What a run needs to know of its base, and of the user behind the repository.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::clone::Workspace;
use crate::deliver::Signature;
use crate::error::WorkspaceError;
use crate::git::{Git, ObjectId};
use crate::snapshot::Snapshot;

/// The files of a commit, relative and sorted, at most `limit` of them. Names that are not UTF-8
/// are passed over: no driver could name them in its answers.
///
/// # Errors
/// Git's.
pub async fn files(
    workspace: &Workspace,
    commit: &ObjectId,
    limit: usize,
) -> Result<Vec<String>, WorkspaceError> {
    let git = Git::on(&workspace.git_dir());
    let listed = git.run(["ls-tree", "-r", "-z", "--name-only", commit.as_str()]).await?;
    let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut files: Vec<String> = names
        .filter_map(|name| std::str::from_utf8(name).ok())
        .take(limit)
        .map(str::to_owned)
        .collect();
    files.sort_unstable();
    Ok(files)
}

/// A snapshot by its commit.
///
/// # Errors
/// Git's.
pub async fn snapshot_of(
    workspace: &Workspace,
    commit: &ObjectId,
) -> Result<Snapshot, WorkspaceError> {
    let name = format!("{commit}^{{tree}}");
    let tree = Git::on(&workspace.git_dir()).object(["rev-parse", "--verify", &name]).await?;
    Ok(Snapshot {
        tree,
        commit: commit.clone(),
        changed: false,
        pack: Vec::new(),
        left_out: Vec::new(),
    })
}

/// A name for what a command makes of some files of the base: equal where the files are equal.
/// Files that do not exist count as absent. 64 hexadecimal digits.
///
/// # Errors
/// Git's.
pub async fn key_of(
    workspace: &Workspace,
    argv: &[String],
    files: &[String],
) -> Result<String, WorkspaceError> {
    let git = Git::on(&workspace.git_dir());
    let base = workspace.base().commit;
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    };
    for word in argv {
        add(word);
    }
    if files.is_empty() {
        // Nothing says when the result is another one: each base has its own.
        add(base.as_str());
    }
    for file in files {
        let blob =
            git.object(["rev-parse", "--verify", "--quiet", &format!("{base}:{file}")]).await;
        add(file);
        add(blob.as_ref().map_or("absent", ObjectId::as_str));
    }
    let mut key = String::new();
    for byte in hash.finalize() {
        // Writing to a String cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    Ok(key)
}

/// Who the user is to git in this repository; ourselves where nobody said.
pub async fn identity(repository: &Path) -> Signature {
    let git = Git::within(repository).with_user_configuration();
    let name = git.line(["config", "--get", "user.name"]).await.ok();
    let email = git.line(["config", "--get", "user.email"]).await.ok();
    Signature {
        name: name.filter(|name| !name.is_empty()).unwrap_or_else(|| "Journeyman".to_owned()),
        email: email
            .filter(|email| !email.is_empty())
            .unwrap_or_else(|| "journeyman@localhost".to_owned()),
    }
}
