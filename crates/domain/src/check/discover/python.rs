//! Python: pytest or unittest, ruff where it is configured, dependencies in a `.venv`.
//!
//! The project itself is never installed into the shared environment: an installed copy could be
//! tested instead of the candidate's code. Its code is imported from the tree.

use super::manifest::Manifest;
use super::paths::is_test_path;
use super::{CheckKind, CheckPlan, Folder, Prepare, check};

/// Groups of dependencies that checks may need.
const TEST_GROUPS: &[&str] = &["test", "tests", "testing", "dev"];
const REQUIREMENTS: &[&str] = &[
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-test.txt",
    "dev-requirements.txt",
    "test-requirements.txt",
];

struct Project<'a> {
    folder: &'a Folder<'a>,
    pyproject: Manifest,
    setup: Manifest,
    tox: Manifest,
    /// Requirements as the manifests spell them.
    declared: Vec<String>,
    /// Requirement files, relative to the folder.
    files: Vec<&'static str>,
}

/// The checks of a folder with Python code.
pub(super) fn checks(folder: &Folder<'_>, plan: &mut CheckPlan) {
    let markers = ["pyproject.toml", "setup.cfg", "setup.py", "pytest.ini", "tox.ini"];
    let tests: Vec<&str> =
        folder.below().filter(|path| is_python(path) && is_test_path(path)).collect();
    let marked =
        markers.into_iter().chain(REQUIREMENTS.iter().copied()).any(|name| folder.has(name));
    // A lone test file somewhere below makes no Python project of another language's repository.
    let lone = folder.dir.is_empty() && plan.checks.is_empty() && !tests.is_empty();
    if !marked && !lone {
        return;
    }
    let project = Project::read(folder);
    let venv = project.prepare(plan);
    if project.uses_ruff() {
        let own = project.declares("ruff");
        let argv: &[&str] =
            if own && venv { &[".venv/bin/python", "-m", "ruff"] } else { &["ruff"] };
        let argv = folder.argv(&[argv, &["check", "--no-cache", "."]].concat());
        plan.checks.push(check(folder.name("ruff check"), CheckKind::Lint, argv));
    }
    let python = if venv { ".venv/bin/python" } else { "python3" };
    // Code below src/ is imported from there, as an installed project would be.
    let source = folder.below().any(|path| path.starts_with("src/") && is_python(path));
    let place: &[&str] = if source { &["env", "PYTHONPATH=src"] } else { &[] };
    if project.uses_pytest() {
        let argv = folder.argv(&[place, &[python, "-m", "pytest", "-v", "-rfEp"]].concat());
        plan.checks.push(check(folder.name("pytest"), CheckKind::Test, argv));
    } else if tests.is_empty() {
        plan.notes.push(format!(
            "{}: Python without tests",
            if folder.dir.is_empty() { "root" } else { folder.dir }
        ));
    } else {
        let start = start_folder(&tests);
        let argv = folder
            .argv(&[place, &[python, "-m", "unittest", "discover", "-v", "-s", start]].concat());
        plan.checks.push(check(folder.name("unittest"), CheckKind::Test, argv));
    }
}

fn is_python(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| extension == "py")
}

/// Where unittest starts to look: the root if it is importable from there, else the one folder.
fn start_folder<'a>(tests: &[&'a str]) -> &'a str {
    let package = |folder: &str| tests.iter().any(|path| *path == format!("{folder}/__init__.py"));
    let mut folders: Vec<&str> =
        tests.iter().map(|path| path.split_once('/').map_or(".", |(top, _)| top)).collect();
    folders.dedup();
    match folders.as_slice() {
        [one] if !package(one) => one,
        _ => ".",
    }
}

impl<'a> Project<'a> {
    fn read(folder: &'a Folder<'a>) -> Self {
        let text = |name| folder.text(name).unwrap_or_default();
        let pyproject = Manifest::toml(text("pyproject.toml"));
        let setup = Manifest::ini(text("setup.cfg"));
        let lists = |value: Option<&str>| {
            value
                .into_iter()
                .flat_map(str::lines)
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let mut declared = pyproject.strings("project.dependencies");
        declared.extend(lists(setup.get("options.install_requires")));
        for group in TEST_GROUPS {
            declared.extend(pyproject.strings(&format!("project.optional-dependencies.{group}")));
            declared.extend(pyproject.strings(&format!("dependency-groups.{group}")));
            declared.extend(lists(setup.get(&format!("options.extras_require.{group}"))));
        }
        let files = REQUIREMENTS.iter().copied().filter(|name| folder.has(name)).collect();
        Self { folder, pyproject, setup, tox: Manifest::ini(text("tox.ini")), declared, files }
    }

    /// Whether a requirement of this name stands in any manifest.
    fn declares(&self, name: &str) -> bool {
        let is = |requirement: &str| {
            let end = requirement.find(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)));
            requirement[..end.unwrap_or(requirement.len())].eq_ignore_ascii_case(name)
        };
        let in_files =
            self.files.iter().filter_map(|file| self.folder.text(file)).flat_map(str::lines);
        let poetry =
            ["tool.poetry.dependencies", "tool.poetry.dev-dependencies", "tool.poetry.group"];
        self.declared.iter().any(|requirement| is(requirement))
            || in_files.map(str::trim).any(is)
            || poetry.iter().any(|section| {
                self.pyproject.has(&format!("{section}.{name}"))
                    || TEST_GROUPS.iter().any(|group| {
                        self.pyproject.has(&format!("{section}.{group}.dependencies.{name}"))
                    })
            })
    }

    fn uses_ruff(&self) -> bool {
        self.pyproject.has("tool.ruff")
            || self.folder.has("ruff.toml")
            || self.folder.has(".ruff.toml")
    }

    fn uses_pytest(&self) -> bool {
        self.folder.has("pytest.ini")
            || self.pyproject.has("tool.pytest")
            || self.setup.has("tool:pytest")
            || self.tox.has("pytest")
            || self.folder.text("tox.ini").is_some_and(|text| text.contains("pytest"))
            || self.folder.below().any(|path| path.rsplit('/').next() == Some("conftest.py"))
            || self.declares("pytest")
    }

    /// How dependencies get into `.venv`; whether there will be one.
    fn prepare(&self, plan: &mut CheckPlan) -> bool {
        let folder = self.folder;
        let (argv, locks) = if folder.has("uv.lock") {
            (self.uv(), vec!["uv.lock", "pyproject.toml"])
        } else if folder.has("poetry.lock") {
            let argv =
                ["env", "POETRY_VIRTUALENVS_IN_PROJECT=true", "poetry", "install", "--no-root"];
            (argv.map(str::to_owned).to_vec(), vec!["poetry.lock", "pyproject.toml"])
        } else if !self.declared.is_empty() || !self.files.is_empty() {
            let manifests =
                ["pyproject.toml", "setup.cfg"].into_iter().filter(|name| folder.has(name));
            (self.pip(), self.files.iter().copied().chain(manifests).collect())
        } else {
            if folder.has("setup.py") {
                let file = folder.path("setup.py");
                plan.notes.push(format!("{file}: its dependencies are code; name them in .journeyman.toml if checks need them"));
            }
            return false;
        };
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        plan.notes.push(format!(
            "{}: the project's own code is imported from the tree, not installed",
            folder.path(".venv")
        ));
        plan.prepare.push(Prepare {
            argv: folder.argv(&argv),
            lock_files: locks.into_iter().map(|name| folder.path(name)).collect(),
            provides: vec![folder.path(".venv")],
        });
        plan.caches.push(folder.path(".venv"));
        true
    }

    fn uv(&self) -> Vec<String> {
        let own = if self.pyproject.has("tool.uv.workspace") {
            "--no-install-workspace"
        } else {
            "--no-install-project"
        };
        let mut argv = ["uv", "sync", "--locked", own].map(str::to_owned).to_vec();
        for (section, flag) in
            [("project.optional-dependencies", "--extra"), ("dependency-groups", "--group")]
        {
            let groups = self
                .pyproject
                .keys(section)
                .into_iter()
                .filter(|group| TEST_GROUPS.contains(group));
            argv.extend(groups.flat_map(|group| [flag.to_owned(), group.to_owned()]));
        }
        argv
    }

    fn pip(&self) -> Vec<String> {
        let install = "python3 -m venv .venv && exec .venv/bin/python -m pip install --quiet --disable-pip-version-check \"$@\"";
        let mut argv = ["sh", "-c", install, "pip"].map(str::to_owned).to_vec();
        argv.extend(self.files.iter().flat_map(|file| ["-r".to_owned(), (*file).to_owned()]));
        argv.extend(self.declared.iter().cloned());
        if self.uses_pytest() && !self.declares("pytest") {
            argv.push("pytest".to_owned());
        }
        argv
    }
}
