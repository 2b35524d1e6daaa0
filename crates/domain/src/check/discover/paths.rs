//! Which paths hold tests.

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
