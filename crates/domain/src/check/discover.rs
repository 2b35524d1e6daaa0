//! Finds the checks of a repository from the names and contents of its files.
//!
//! It guesses only what the codebase itself says: a linter counts where it is configured, a test
//! runner where tests are. Each choice is told in the plan's notes. It never reads a file: the
//! caller lists the names, asks `wanted` for what to read, and gives the contents.

mod languages;
mod manifest;
mod node;
mod paths;
mod python;

use std::collections::{BTreeMap, BTreeSet};

pub use self::paths::{is_definition_path, is_test_path};
use super::{Check, CheckKind, CheckPlan, Prepare};

/// What is known of a repository's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepositoryFiles {
    /// Paths of files, relative with forward slashes; bounded by the caller.
    pub paths: Vec<String>,
    /// Contents of those that `wanted` named.
    pub contents: BTreeMap<String, String>,
}

/// Manifests whose contents decide something.
const MANIFESTS: &[&str] = &[
    "Cargo.toml",
    "package.json",
    ".yarnrc.yml",
    "pyproject.toml",
    "setup.cfg",
    "pytest.ini",
    "tox.ini",
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-test.txt",
    "dev-requirements.txt",
    "test-requirements.txt",
    "go.mod",
    "Makefile",
    "makefile",
    "GNUmakefile",
];

/// Folders of other people's code; manifests in them are not the codebase's.
const FOREIGN: &[&str] =
    &["node_modules", "vendor", "third_party", "target", "venv", "dist", "build"];

/// The files whose contents `discover` needs: known manifests at the root and one level down.
pub fn wanted(paths: &[String]) -> Vec<String> {
    let known = |path: &&String| {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        MANIFESTS.contains(&name) && (folder.is_empty() || is_candidate(folder))
    };
    paths.iter().filter(known).cloned().collect()
}

/// Whether a folder one level down may be a codebase of its own.
fn is_candidate(folder: &str) -> bool {
    !folder.contains('/') && !folder.starts_with('.') && !FOREIGN.contains(&folder)
}

/// A folder of the repository and what is in it.
struct Folder<'a> {
    files: &'a RepositoryFiles,
    paths: &'a BTreeSet<&'a str>,
    /// Relative to the repository; empty for its root.
    dir: &'a str,
}

impl<'a> Folder<'a> {
    /// A path inside the folder, relative to the repository.
    fn path(&self, inside: &str) -> String {
        if self.dir.is_empty() { inside.to_owned() } else { format!("{}/{inside}", self.dir) }
    }

    fn has(&self, inside: &str) -> bool {
        self.paths.contains(self.path(inside).as_str())
    }

    fn text(&self, inside: &str) -> Option<&'a str> {
        self.files.contents.get(&self.path(inside)).map(String::as_str)
    }

    /// All files below, relative to the folder.
    fn below(&self) -> impl Iterator<Item = &'a str> {
        let prefix = if self.dir.is_empty() { String::new() } else { format!("{}/", self.dir) };
        self.paths.iter().filter_map(move |path| path.strip_prefix(prefix.as_str()))
    }

    /// A check's name: "cargo test", or "cargo test (sub)" for a folder.
    fn name(&self, name: &str) -> String {
        if self.dir.is_empty() { name.to_owned() } else { format!("{name} ({})", self.dir) }
    }

    /// The command as it runs in the folder, for tools that cannot be told one.
    fn argv(&self, argv: &[&str]) -> Vec<String> {
        let mut whole: Vec<&str> = vec![];
        if !self.dir.is_empty() {
            whole.extend(["sh", "-c", "cd -- \"$0\" && exec \"$@\"", self.dir]);
        }
        whole.extend(argv);
        whole.into_iter().map(str::to_owned).collect()
    }
}

fn check(name: String, kind: CheckKind, argv: Vec<String>) -> Check {
    Check { name, kind, argv, network: false, timeout_ms: None }
}

/// Finds how this repository is checked. Pure: the same files give the same plan.
pub fn discover(files: &RepositoryFiles) -> CheckPlan {
    let paths: BTreeSet<&str> = files.paths.iter().map(String::as_str).collect();
    let mut plan = CheckPlan::default();
    if !find(&Folder { files, paths: &paths, dir: "" }, &mut plan) {
        let below: BTreeSet<&str> = files
            .contents
            .keys()
            .filter_map(|path| path.rsplit_once('/').map(|(folder, _)| folder))
            .filter(|folder| is_candidate(folder))
            .collect();
        for dir in below {
            let folder = Folder { files, paths: &paths, dir };
            if find(&folder, &mut plan) {
                plan.notes
                    .push(format!("{dir}: looked at, since the root has no checks of its own"));
            }
        }
    }
    if plan.checks.is_empty() {
        plan.notes
            .push("no check was found; give one with --check or in .journeyman.toml".to_owned());
    }
    plan
}

/// Adds what one folder has; whether it has any check.
fn find(folder: &Folder<'_>, plan: &mut CheckPlan) -> bool {
    let before = plan.checks.len();
    languages::cargo(folder, plan);
    node::scripts(folder, plan);
    python::checks(folder, plan);
    languages::go(folder, plan);
    let found = plan.checks.len() > before;
    languages::make(folder, plan, found);
    plan.checks.len() > before
}

/// Checks from commands that a user gave; each one runs through `sh -c`. A check is named by its command as it is
/// shown: without secrets.
pub fn custom(commands: &[String], shown: impl Fn(&str) -> String) -> Vec<Check> {
    let mut names = BTreeSet::new();
    let mut checks = Vec::new();
    for command in
        commands.iter().map(|command| command.trim()).filter(|command| !command.is_empty())
    {
        // Before the cut, so that no half of a secret stays.
        let shown = shown(command);
        let line = shown.lines().next().unwrap_or_default();
        let mut name = line.chars().take(60).collect::<String>();
        let mut number = 2;
        while !names.insert(name.clone()) {
            name = format!("{} ({number})", line.chars().take(60).collect::<String>());
            number += 1;
        }
        let argv = ["sh", "-c", command].map(str::to_owned).to_vec();
        checks.push(check(name, CheckKind::Custom, argv));
    }
    checks
}

#[cfg(test)]
mod tests;
