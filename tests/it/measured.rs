//! Measures the classifier against labelled failures that others collected.
//!
//! `JOURNEYMAN_ERROR_DATA` names a folder with `clippy/labels.jsonl`, `clusterfuzz/labels.jsonl` and
//! its `data/`, and `flakeranker/patterns.csv`; the data are not part of this repository, so the tests
//! are ignored unless asked for: `cargo test --test it -- measured:: --ignored --nocapture`. The
//! figures are printed, and the floors below are what the classifier has reached and must not lose.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use journeyman_domain::failure::{Category, Classification, Evidence, Phase};
use journeyman_learning::classify;
use journeyman_learning::classify::{crash_message, stack};
use serde_json::Value;

/// The folder; asked for these tests without it, they fail.
fn data() -> PathBuf {
    std::env::var_os("JOURNEYMAN_ERROR_DATA").unwrap().into()
}

fn rows(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn classified(phase: Phase, source: Option<&str>, text: &str) -> Classification {
    classify(&Evidence {
        phase,
        source: source.map(str::to_owned),
        exit_code: Some(1),
        signal: None,
        timed_out: false,
        http_status: None,
        sqlstate: None,
        model_failure: None,
        text: text.to_owned(),
    })
}

fn share(part: usize, whole: usize) -> f64 {
    f64::from(u32::try_from(part).unwrap()) / f64::from(u32::try_from(whole.max(1)).unwrap())
}

/// How pure the groups are of labels, or the labels of groups.
fn purity<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> f64 {
    let mut groups: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut all = 0;
    for (group, label) in pairs {
        *groups.entry(group).or_default().entry(label).or_default() += 1;
        all += 1;
    }
    share(groups.values().map(|labels| labels.values().max().copied().unwrap_or(0)).sum(), all)
}

#[test]
#[ignore = "needs labelled failures: JOURNEYMAN_ERROR_DATA"]
fn clippy_diagnostics_fall_into_their_lints() {
    let folder = data();
    let rows = rows(&folder.join("clippy/labels.jsonl"));
    let names_lint = |line: &str| {
        ["clippy::", "rust-clippy", "implied by", "[warn(", "[deny(", "[allow("]
            .iter()
            .any(|part| line.contains(part))
    };
    let mut groups = Vec::new();
    let (mut told, mut right) = (0, 0);
    for row in &rows {
        let (text, label) = (row["text"].as_str().unwrap(), row["label"].as_str().unwrap());
        let without: Vec<&str> = text.lines().filter(|line| !names_lint(line)).collect();
        groups.push((
            classified(Phase::Verify, Some("cargo clippy"), &without.join("\n")).group,
            label,
        ));
        if text.contains("clippy::") {
            told += 1;
            let kind = classified(Phase::Verify, Some("cargo clippy"), text).kind;
            right += usize::from(kind == format!("clippy:{label}"));
        }
    }
    let pure = purity(groups.iter().map(|(group, label)| (group.as_str(), *label)));
    let inverse = purity(groups.iter().map(|(group, label)| (*label, group.as_str())));
    let count = groups.iter().map(|(group, _)| group).collect::<BTreeSet<_>>().len();
    println!(
        "clippy without codes: {} diagnostics, purity {pure:.3}, inverse purity {inverse:.3}, {count} groups",
        rows.len()
    );
    println!("clippy with codes: {right} of {told} told ({:.3})", share(right, told));
    assert!(pure >= 0.95 && inverse >= 0.95 && share(right, told) >= 0.98);
}

#[test]
#[ignore = "needs labelled failures: JOURNEYMAN_ERROR_DATA"]
fn crashes_have_their_type_and_first_frame() {
    let folder = data();
    let (mut types, mut frames, mut right_types, mut right_frames) = (0, 0, 0, 0);
    for row in rows(&folder.join("clusterfuzz/labels.jsonl")) {
        let file = row["file"].as_str().unwrap();
        let Ok(bytes) = std::fs::read(folder.join("clusterfuzz/data").join(file)) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        let found = classified(Phase::Verify, None, &text);
        if let Some(label) = row["crash_type"].as_str().filter(|label| !label.is_empty()) {
            types += 1;
            let kind = found.kind.split_once(':').map_or(found.kind.as_str(), |(_, kind)| kind);
            let right = kind == label.replace('\n', " ");
            right_types += usize::from(right);
            if !right {
                println!("  type of {file}: {label:?}, found {:?}", found.kind);
            }
        }
        let Some(label) = row["crash_state"]
            .as_str()
            .and_then(|state| state.lines().next())
            .filter(|line| *line != "NULL")
        else {
            continue;
        };
        frames += 1;
        let first =
            crash_message(&text).or_else(|| stack(&text).into_iter().next()).unwrap_or_default();
        let first = first.trim_end_matches(['.', ' ']);
        let right = !first.is_empty() && (label.starts_with(first) || first.starts_with(label));
        right_frames += usize::from(right);
        if !right {
            println!("  frame of {file}: {label:?}, found {first:?}");
        }
    }
    println!(
        "clusterfuzz: type {right_types} of {types} ({:.3}), first frame {right_frames} of {frames} ({:.3})",
        share(right_types, types),
        share(right_frames, frames)
    );
    assert!(share(right_types, types) >= 0.85 && share(right_frames, frames) >= 0.70);
}

/// Which of our categories mean one of FlakeRanker's groups.
fn meant(group: &str) -> &'static [Category] {
    use Category as C;
    match group {
        "unauthorized_access" => &[C::ProviderAuth],
        "dependency_issues" | "internal_os_issues" => &[C::DependencyResolution, C::EnvMissing],
        "environment_variables" | "container_issues" | "internal_repository_issues" => {
            &[C::EnvMissing, C::SandboxDenied, C::VcsTransient]
        }
        "memory_issues" => &[C::ResourceMemory, C::ResourceDisk],
        "networking_issues" | "remote_resource_errors" => {
            &[C::ProviderTransient, C::ProviderInvalid]
        }
        "limits_exceeded" => &[C::TimeoutHard, C::ProviderRateLimit, C::ProviderTransient],
        "transient_vcs_errors" => &[C::VcsTransient],
        "flaky_test" => &[C::TestAssertion, C::TestFlaky],
        "database_issues" => &[C::InfraDatabase],
        _ => &[],
    }
}

/// A line that the simple alternatives of a regular expression stand for.
fn examples(pattern: &str) -> Vec<String> {
    let simple = |part: &&str| !part.contains(['(', ')', '[', ']', '?', '$']);
    pattern
        .split('|')
        .filter(simple)
        .map(|part| {
            part.replace(".*", " x ")
                .replace("\\n", "\n")
                .replace('\\', "")
                .replace(". ", ": ")
                .replace('^', "")
                .split(' ')
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

#[test]
#[ignore = "needs labelled failures: JOURNEYMAN_ERROR_DATA"]
fn intermittent_ci_failures_fall_into_their_groups() {
    let folder = data();
    let text = std::fs::read_to_string(folder.join("flakeranker/patterns.csv")).unwrap();
    let (mut all, mut right) = (0, 0);
    for line in text.lines().skip(1) {
        let groups = [
            "container_issues",
            "database_issues",
            "dependency_issues",
            "environment_variables",
            "flaky_test",
            "internal_os_issues",
            "internal_repository_issues",
            "limits_exceeded",
            "memory_issues",
            "networking_issues",
            "remote_resource_errors",
            "transient_vcs_errors",
            "unauthorized_access",
        ];
        let Some((at, group)) =
            groups.iter().find_map(|group| Some((line.find(&format!(",{group},"))?, *group)))
        else {
            continue;
        };
        for example in examples(&line[..at]) {
            all += 1;
            let found = classified(Phase::Prepare, None, &example);
            let fits = meant(group).contains(&found.category);
            right += usize::from(fits);
            if !fits {
                println!("  {group}: {example:?}, found {}", found.category);
            }
        }
    }
    println!(
        "flakeranker: {right} of {all} lines made from its patterns in a category of their group ({:.3})",
        share(right, all)
    );
    assert!(share(right, all) >= 0.65);
}
