//! Who may know whom: the layers of ARCHITECTURE.md, held against `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Our packages (without their prefix) with what they depend on, tests apart.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata: Value = serde_json::from_str(&cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ]))
    .unwrap();
    let short = |name: &str| name.strip_prefix("journeyman-").unwrap_or(name).to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let needed = package["dependencies"].as_array().unwrap().iter();
            let needed = needed
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| short(dependency["name"].as_str().unwrap()))
                .collect();
            (short(package["name"].as_str().unwrap()), needed)
        })
        .collect()
}

const PURE: [&str; 2] = ["domain", "learning"];
const EFFECTS: [&str; 8] =
    ["tokio", "sqlx", "ractor", "reqwest", "axum", "hyper", "rustix", "tracing"];
/// Each capability with the capabilities that it may use.
const CAPABILITIES: [(&str, &[&str]); 5] = [
    ("store", &[]),
    ("workspace", &["launcher"]),
    ("launcher", &[]),
    ("drivers", &["workspace"]),
    ("integrations", &[]),
];

#[test]
fn pure_crates_have_no_effects() {
    let dependencies = dependencies();
    for name in PURE {
        for effect in EFFECTS {
            assert!(!dependencies[name].contains(effect), "{name} depends on {effect}");
        }
    }
}

#[test]
fn one_crate_knows_each_foreign_system() {
    let knowers = |foreign: &str| -> Vec<String> {
        dependencies()
            .into_iter()
            .filter(|(_, needed)| needed.contains(foreign))
            .map(|(name, _)| name)
            .collect()
    };
    assert_eq!(knowers("ractor"), ["actors", "supervision"]);
    assert_eq!(knowers("axum"), ["web"]);
    assert_eq!(knowers("opentelemetry-otlp"), ["telemetry"]);
    let sqlx: Vec<_> = knowers("sqlx")
        .into_iter()
        .filter(|name| !["testkit", "chaos"].contains(&name.as_str()))
        .collect();
    assert_eq!(sqlx, ["store"]);
}

#[test]
fn capabilities_do_not_know_each_other() {
    let dependencies = dependencies();
    for (name, allowed) in CAPABILITIES {
        for (other, _) in CAPABILITIES {
            assert!(
                !dependencies[name].contains(other) || allowed.contains(&other),
                "{name} depends on {other}"
            );
        }
        for above in ["actors", "web", "journeyman", "supervision"] {
            assert!(!dependencies[name].contains(above), "{name} depends on {above}");
        }
    }
    assert!(!dependencies["supervision"].iter().any(|name| dependencies.contains_key(name)));
}

#[test]
fn only_the_launcher_may_hold_unsafe_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    for name in dependencies().keys().filter(|name| *name != "launcher") {
        let folder = match name.as_str() {
            "journeyman" => root.to_owned(),
            "actors" => root.join("actors"),
            other => root.join("crates").join(other),
        };
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} has lints of its own");
    }
}

#[test]
fn span_propagation_of_ractor_is_off_and_panics_unwind() {
    let features = cargo(&["tree", "--offline", "-e", "features,no-dev", "-i", "ractor"]);
    assert!(features.contains("ractor feature \"tokio_runtime\""), "{features}");
    assert!(!features.contains("message_span_propogation"), "{features}");
    let manifest =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    for (name, profile) in manifest["profile"].as_table().unwrap() {
        assert_ne!(profile.get("panic").and_then(toml::Value::as_str), Some("abort"), "{name}");
    }
}

#[test]
fn files_stay_readable() {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    for path in String::from_utf8(listed.stdout).unwrap().lines() {
        let Ok(text) = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        else {
            continue;
        };
        assert!(text.lines().count() <= 600, "{path} has more than 600 lines");
        assert!(!path.ends_with("/mod.rs"), "{path}: a module's file bears its name");
    }
}

/// Parts of a write that has its point where it ends.
const WITHIN_A_POINT: [&str; 2] = ["tables/tasks/insert/copy.rs", "attempt.commit()"];

/// What is sent without a transaction, and lasts no longer than it takes to hear it.
const HINT: &str = "query(NOTIFY)";
/// What starts and ends processes.
const ACTS: [&str; 3] = ["reap::reap(", "reap::reap_node(", "runner.start("];

/// All files below a folder: their names there, and their texts.
fn files_below(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    files
}

/// The lines of all files below a folder, each with the name of its file there.
fn lines_below(folder: &str) -> Vec<(String, String)> {
    let lines = |(name, text): (String, String)| -> Vec<(String, String)> {
        text.lines().map(|line| (name.clone(), line.to_owned())).collect()
    };
    files_below(folder).into_iter().flat_map(lines).collect()
}

/// Whether a constant of a file is SQL that writes.
fn is_writing(text: &str, constant: &str) -> bool {
    let Some((_, rest)) = text.split_once(&format!("const {constant}: &str")) else { return false };
    let sql = rest.split(";\n").next().unwrap_or_default();
    ["INSERT INTO ", "DELETE FROM "].iter().any(|word| sql.contains(word))
        || sql.replace("FOR UPDATE", "").replace("FOR NO KEY UPDATE", "").contains("UPDATE ")
}

#[test]
fn every_commit_stands_between_failpoints() {
    let mut commits = 0;
    for (name, line) in lines_below("crates/store/src") {
        let is_write = line.contains(".execute(self.") && line.contains("pool()).await");
        if !is_write && !line.contains(".commit()") {
            continue;
        }
        commits += 1;
        let is_part = WITHIN_A_POINT.iter().any(|part| name == *part || line.contains(part));
        assert!(
            line.contains("around(points::") || is_part || line.contains(HINT),
            "{name}: {line}"
        );
    }
    assert!(commits > 20, "{commits}");
}

#[test]
fn every_write_on_the_pool_stands_between_failpoints() {
    let mut writes = 0;
    for (name, text) in files_below("crates/store/src") {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code = code.replace("}\n", ";\n");
        let mut writing = false;
        for statement in code.split(";\n").filter(|statement| !statement.contains("const ")) {
            // A query may be made in one statement, and sent in a later one.
            writing &= !statement.contains(" fn ");
            let words = statement.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
            writing |= words.into_iter().any(|word| word.len() > 2 && is_writing(&text, word));
            if writing && statement.contains("pool())") {
                writes += 1;
                assert!(statement.contains("around(points::"), "{name}: {statement}");
            }
            // What is written on another connection is a transaction's, whose commit counts.
            writing &= !statement.contains(".await");
        }
    }
    assert_eq!(writes, 6, "as many as there are");
}

#[test]
fn processes_are_started_and_ended_between_failpoints() {
    let mut acts = 0;
    for (name, line) in ["actors/src", "src/boot"].into_iter().flat_map(lines_below) {
        if ACTS.iter().any(|act| line.contains(act)) {
            acts += 1;
            assert!(line.contains("around(points::"), "{name}: {line}");
        }
    }
    assert!(acts >= 5, "{acts}");
}
