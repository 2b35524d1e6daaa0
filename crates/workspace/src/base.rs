//! What a run needs to know of its base, and of the user behind the repository.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::clone::Workspace;
use crate::deliver::Signature;
use crate::error::WorkspaceError;
use crate::git::{Git, ObjectId};
use crate::repository::entries;
use crate::snapshot::Snapshot;

/// The files of a commit, relative and sorted, at most `limit` of them. Names that are not UTF-8
/// are passed over: no driver could name them in its answers.
///
/// # Errors
/// Git's.
pub async fn files(
    repository: &Path,
    commit: &ObjectId,
    limit: usize,
) -> Result<Vec<String>, WorkspaceError> {
    let arguments = ["ls-tree", "-r", "-z", "--full-tree", "--name-only", commit.as_str()];
    let listed = Git::within(repository).run(arguments).await?;
    let mut files: Vec<String> = entries(&listed)
        .filter_map(|name| std::str::from_utf8(name).ok())
        .take(limit)
        .map(str::to_owned)
        .collect();
    files.sort_unstable();
    Ok(files)
}

/// What these files of a commit hold, at most `limit` bytes of each. One that is a link counts as
/// what it leads to within the commit; one that is missing, or leads elsewhere, is left out.
///
/// # Errors
/// Git's.
pub async fn contents(
    repository: &Path,
    commit: &ObjectId,
    files: &[String],
    limit: usize,
) -> Result<BTreeMap<String, String>, WorkspaceError> {
    // The question is a line.
    let files: Vec<_> = files.iter().filter(|file| !file.contains('\n')).collect();
    if files.is_empty() {
        return Ok(BTreeMap::new());
    }
    let question: String = files.iter().fold(String::new(), |mut text, file| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{commit}:{file}");
        text
    });
    let git = Git::within(repository);
    let batch = ["cat-file", "--batch", "--follow-symlinks"];
    let answer = git.run_with(batch, question.into_bytes()).await?;
    let mut rest = answer.as_slice();
    let mut contents = BTreeMap::new();
    for file in files {
        let Some((is_blob, content)) = next_answer(&mut rest) else { break };
        if is_blob {
            let content = &content[..content.len().min(limit)];
            contents.insert(file.clone(), String::from_utf8_lossy(content).into_owned());
        }
    }
    Ok(contents)
}

/// The next answer of `git cat-file --batch`: whether it is a file's content, and the bytes.
fn next_answer<'a>(rest: &mut &'a [u8]) -> Option<(bool, &'a [u8])> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&rest[..end]).ok()?;
    *rest = &rest[end + 1..];
    // `<name> missing`, `<hash> blob <size>`, or the kind of a link that leads nowhere and a size.
    let (head, size) = line.rsplit_once(' ')?;
    let Ok(size) = size.parse::<usize>() else { return Some((false, &[])) };
    let content = rest.get(..size)?;
    *rest = rest.get(size + 1..)?;
    Some((head.ends_with(" blob"), content))
}

/// A snapshot by its commit.
///
/// # Errors
/// Git's.
pub(crate) async fn snapshot_of(
    workspace: &Workspace,
    commit: &ObjectId,
) -> Result<Snapshot, WorkspaceError> {
    let name = format!("{commit}^{{tree}}");
    let tree = workspace.repository().object(["rev-parse", "--verify", &name]).await?;
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
    let git = workspace.repository();
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
