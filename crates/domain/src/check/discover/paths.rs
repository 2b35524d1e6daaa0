//! Which paths hold tests, and which ones say how they are run.

/// Folders whose files are tests or what tests compare with.
const FOLDERS: &[&str] = &[
    "test",
    "tests",
    "__tests__",
    "spec",
    "specs",
    "e2e",
    "testdata",
    "__snapshots__",
    "snapshots",
    "fixtures",
    "__fixtures__",
    "cypress",
];

/// Whether a file at this path holds tests, or what tests compare with, by the habits of Rust,
/// Python, Go, JavaScript and the JVM. Tests inside a source file cannot be told by its path.
pub fn is_test_path(path: &str) -> bool {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    if folders.split('/').any(|folder| FOLDERS.contains(&folder)) {
        return true;
    }
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    match extension {
        "rs" => {
            stem == "tests" || stem == "test" || stem.ends_with("_test") || stem.ends_with("_tests")
        }
        "py" => {
            stem.starts_with("test_")
                || stem.ends_with("_test")
                || matches!(stem, "conftest" | "tests" | "test")
        }
        "go" => stem.ends_with("_test"),
        "js" | "jsx" | "ts" | "tsx" | "mjs" | "cjs" | "mts" | "cts" => {
            matches!(stem.rsplit('.').next(), Some("test" | "spec" | "cy"))
        }
        "java" | "kt" => stem.ends_with("Test") || stem.ends_with("Tests"),
        "rb" => stem.ends_with("_spec") || stem.ends_with("_test"),
        "snap" => true,
        _ => false,
    }
}

/// Files that say which checks there are and what they run, by their name.
const DEFINITIONS: &[&str] = &[
    ".journeyman.toml",
    "Cargo.toml",
    "build.rs",
    "nextest.toml",
    "clippy.toml",
    ".clippy.toml",
    "rustfmt.toml",
    ".rustfmt.toml",
    "package.json",
    "tsconfig.json",
    "pyproject.toml",
    "pytest.ini",
    ".pytest.ini",
    "tox.ini",
    "setup.cfg",
    "setup.py",
    "conftest.py",
    "noxfile.py",
    "mypy.ini",
    "ruff.toml",
    ".ruff.toml",
    ".flake8",
    "go.mod",
    "Makefile",
    "makefile",
    "GNUmakefile",
    "justfile",
    "Justfile",
];

/// The beginnings of names of such files, where the rest is one of several formats.
const DEFINITION_STEMS: &[&str] = &[
    "jest.config.",
    "vitest.config.",
    "vite.config.",
    "karma.conf.",
    "playwright.config.",
    "cypress.config.",
    "eslint.config.",
    ".eslintrc",
    ".mocharc",
    ".golangci.",
];

/// Whether a file at this path defines checks: a manifest, or settings of a test runner or linter.
/// Lock files and the tests themselves do not.
pub fn is_definition_path(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let cargo = folder.rsplit('/').next() == Some(".cargo");
    DEFINITIONS.contains(&name)
        || DEFINITION_STEMS.iter().any(|stem| name.starts_with(stem))
        || cargo && matches!(name, "config" | "config.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_and_runners_settings_define_checks() {
        for path in ["Cargo.toml", "a/b/Makefile", "x/.cargo/config.toml", "web/jest.config.mjs"] {
            assert!(is_definition_path(path), "{path}");
        }
        for path in ["Cargo.lock", "config.toml", "src/lib.rs", "tests/test_a.py", "cargo.toml.md"]
        {
            assert!(!is_definition_path(path), "{path}");
        }
    }
}
