//! Which tools can judge a workspace, how they are called, and who reads what they say.

use std::collections::BTreeMap;

use journeyman_domain::check::Check;
use journeyman_domain::driver::Assignment;
use journeyman_domain::tool::{Ended, Exec};

use super::report::Report;
use super::{linters, rustc};

/// Cargo workspaces that are looked at in one codebase.
const MANIFESTS: usize = 8;

/// A command that yields diagnostics, and how they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) title: String,
    pub(super) argv: Vec<String>,
    /// Probes of one language build on each other: while an earlier one has errors, later ones
    /// wait.
    pub(super) language: String,
    /// A file and what must stand in it, else the codebase does not use this tool.
    pub(super) asked_by: Option<(String, &'static str)>,
    reader: Reader,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reader {
    /// With the folder of the Cargo workspace.
    Rustc(String),
    CargoFmt(String),
    Ruff,
    Eslint,
    Gofmt,
}

impl Probe {
    /// Everything that this codebase can be probed with, in the order of its use.
    pub(super) fn find(assignment: &Assignment) -> Vec<Self> {
        let mut probes = Vec::new();
        for folder in manifests(&assignment.files) {
            cargo(&mut probes, &folder, &assignment.checks);
        }
        probes.extend(ruff(assignment));
        let eslint_is_set_up = assignment.files.iter().any(|path| {
            let name = path.rsplit('/').next().unwrap_or(path);
            name == path && (name.starts_with("eslint.config.") || name.starts_with(".eslintrc"))
        });
        if eslint_is_set_up {
            probes.push(Self::new(
                "eslint",
                "javascript",
                "npx --no-install eslint --format=json .",
                Reader::Eslint,
            ));
        }
        if assignment.files.iter().any(|path| has_ending(path, "go"))
            && check_with(&assignment.checks, "gofmt").is_some()
        {
            probes.push(Self::new("gofmt", "go", "gofmt -l .", Reader::Gofmt));
        }
        probes
    }

    fn new(title: &str, language: &str, command: &str, reader: Reader) -> Self {
        Self {
            title: title.to_owned(),
            argv: words(command),
            language: language.to_owned(),
            asked_by: None,
            reader,
        }
    }

    pub(super) fn exec(&self) -> Exec {
        let env = BTreeMap::from([("CARGO_TERM_COLOR".to_owned(), "never".to_owned())]);
        Exec { argv: self.argv.clone(), env, ..Exec::default() }
    }

    pub(super) fn read(&self, output: &str, ended: &Ended, workspace: &str) -> Report {
        match &self.reader {
            Reader::Rustc(folder) => rustc::parse(output, workspace, folder),
            Reader::Ruff => linters::ruff(output, ended, workspace),
            Reader::Eslint => linters::eslint(output, ended, workspace),
            Reader::CargoFmt(folder) => linters::formatter(output, ended, workspace, |_| {
                let mut argv = words("cargo fmt --all");
                at_manifest(&mut argv, folder);
                argv
            }),
            Reader::Gofmt => linters::formatter(output, ended, workspace, |files| {
                words("gofmt -w").into_iter().chain(files).collect()
            }),
        }
    }
}

fn cargo(probes: &mut Vec<Probe>, folder: &str, checks: &[Check]) {
    const JSON: &str = "--message-format=json --keep-going --quiet --offline";
    let language = format!("rust {folder}");
    let mut check = Probe::new(
        "cargo check",
        &language,
        &format!("cargo check --workspace --all-targets {JSON}"),
        Reader::Rustc(folder.to_owned()),
    );
    at_manifest(&mut check.argv, folder);
    probes.push(check);
    if let Some(asked) = check_with(checks, "clippy") {
        let mut probe = Probe::new(
            "cargo clippy",
            &language,
            &format!("cargo clippy --workspace --all-targets {JSON}"),
            Reader::Rustc(folder.to_owned()),
        );
        at_manifest(&mut probe.argv, folder);
        // The check's own features and levels of lints, where they can be told apart from a script.
        if folder.is_empty() && asked.argv.first().is_some_and(|program| program == "cargo") {
            let at = asked.argv.iter().position(|word| word == "--").unwrap_or(asked.argv.len());
            let shown = |word: &String| {
                word != "--offline" && word != "-q" && !word.starts_with("--message-format")
            };
            probe.argv = asked.argv[..at].iter().filter(|word| shown(word)).cloned().collect();
            probe.argv.extend(words(JSON));
            probe.argv.extend_from_slice(&asked.argv[at..]);
        }
        probes.push(probe);
    }
    if check_with(checks, "cargo fmt").is_some() {
        let mut probe = Probe::new(
            "cargo fmt",
            &language,
            "cargo fmt --all",
            Reader::CargoFmt(folder.to_owned()),
        );
        at_manifest(&mut probe.argv, folder);
        probe.argv.extend(words("-- --check -l"));
        probes.push(probe);
    }
}

fn at_manifest(argv: &mut Vec<String>, folder: &str) {
    if !folder.is_empty() {
        argv.extend(["--manifest-path".to_owned(), format!("{folder}/Cargo.toml")]);
    }
}

fn ruff(assignment: &Assignment) -> Option<Probe> {
    if !assignment.files.iter().any(|path| has_ending(path, "py")) {
        return None;
    }
    let mut probe = Probe::new(
        "ruff",
        "python",
        "ruff check --output-format=json-lines --no-cache .",
        Reader::Ruff,
    );
    let has = |name: &str| assignment.files.iter().any(|path| path == name);
    let check = check_with(&assignment.checks, "ruff check");
    if let Some(check) = check.filter(|check| {
        check.argv.windows(2).any(|pair| pair[0].ends_with("ruff") && pair[1] == "check")
    }) {
        // Ruff refuses an option that stands twice.
        let shown = |word: &&String| {
            !word.starts_with("--output-format") && !matches!(word.as_str(), "--fix" | "--no-cache")
        };
        probe.argv = check.argv.iter().filter(shown).cloned().collect();
        probe.argv.extend(words("--output-format=json-lines --no-cache"));
    } else if check.is_none() && !has("ruff.toml") && !has(".ruff.toml") {
        probe.asked_by =
            Some((has("pyproject.toml").then(|| "pyproject.toml".to_owned())?, "[tool.ruff"));
    }
    Some(probe)
}

/// The folders of the outermost Cargo manifests.
fn manifests(files: &[String]) -> Vec<String> {
    let mut folders: Vec<&str> = files
        .iter()
        .filter(|path| path.rsplit('/').next() == Some("Cargo.toml"))
        .map(|path| path.strip_suffix("Cargo.toml").unwrap_or(path).trim_end_matches('/'))
        .collect();
    folders.sort_by_key(|folder| folder.len());
    let mut outermost: Vec<String> = Vec::new();
    for folder in folders {
        let within = |outer: &String| {
            outer.is_empty() || folder == outer || folder.starts_with(&format!("{outer}/"))
        };
        if !outermost.iter().any(within) && outermost.len() < MANIFESTS {
            outermost.push(folder.to_owned());
        }
    }
    outermost
}

fn check_with<'a>(checks: &'a [Check], command: &str) -> Option<&'a Check> {
    checks.iter().find(|check| check.argv.join(" ").contains(command))
}

fn has_ending(path: &str, ending: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, found)| found == ending)
}

fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(ToOwned::to_owned).collect()
}
