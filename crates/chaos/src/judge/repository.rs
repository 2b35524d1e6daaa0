//! What is the user's own in their repository, and must be as they left it.

use std::path::Path;

use anyhow::Result;
use journeyman_testkit::git;

use crate::stage::Stage;

/// What is not as the user left it: the branch that they are on, what is checked out, what they put aside, references
/// that are nobody's, and locks that keep them from their next command, but where gits were killed (`may_be_locked`).
pub fn repository(stage: &Stage<'_>, may_be_locked: bool) -> Result<Vec<String>> {
    let repository = &stage.repository;
    let mut found = Vec::new();
    let expected = [
        (&["symbolic-ref", "HEAD"][..], "refs/heads/main"),
        (&["rev-list", "--count", "main"], "1"),
        (&["status", "--porcelain"], ""),
        (&["stash", "list"], ""),
    ];
    for (command, expected) in expected {
        let answer = git(repository, command)?;
        if answer != expected {
            found.push(format!(
                "git {command:?} in the user's repository says '{answer}', not '{expected}'"
            ));
        }
    }
    let references = git(repository, &["for-each-ref", "--format=%(refname)"])?;
    let is_known =
        |name: &&str| ["refs/heads/", "refs/remotes/origin/"].iter().any(|of| name.starts_with(of));
    found.extend(
        references
            .lines()
            .filter(|name| !is_known(name))
            .map(|name| format!("reference {name} is left")),
    );
    if !may_be_locked {
        locks(&repository.join(".git"), &mut found)?;
    }
    Ok(found)
}

fn locks(folder: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            locks(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            found.push(format!("the lock {} is left", path.display()));
        }
    }
    Ok(())
}
