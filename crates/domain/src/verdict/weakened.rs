//! Where base and candidate cannot be compared test by test: what the diff itself takes from the
//! tests, and from what defines the checks.

use std::collections::BTreeSet;

use super::gone::leaf;
use super::{Change, Verdict, listed};
use crate::check::{CheckKind, CheckOutcome};

/// Tests that the diff removes, and of which the base cannot say whether they ran, since it told of
/// no tests at all where it should have.
pub(super) fn removed(base: &[CheckOutcome], change: &Change) -> Vec<String> {
    let silent = |outcome: &CheckOutcome| !outcome.passed() && tests(outcome) && ran(outcome) == 0;
    if !base.iter().any(silent) && base.iter().any(|outcome| ran(outcome) > 0) {
        return Vec::new();
    }
    let reports = base.iter().filter_map(|outcome| outcome.tests.as_ref());
    // What the base knew is compared by what runs now.
    let known: BTreeSet<&str> = reports
        .flat_map(|report| report.passed.iter().chain(&report.failed).chain(&report.skipped))
        .map(|name| leaf(name))
        .collect();
    let replaced = |name: &String| change.replaced_tests.iter().any(|(old, _)| old == name);
    let gone = change.removed_tests.iter();
    gone.filter(|name| !known.contains(leaf(name)) && !replaced(name)).cloned().collect()
}

pub(super) fn removed_reason(removed: &[String]) -> Option<String> {
    let unknown = "the base could not say whether";
    match removed {
        [] => None,
        [test] => Some(format!("the change removes the test {test}, and {unknown} it passes")),
        tests => Some(format!(
            "the change removes {} tests, and {unknown} they pass: {}",
            tests.len(),
            listed(tests)
        )),
    }
}

/// A change of what defines the checks stands against the change where fewer tests run than before;
/// and where nobody can say how many ran before, if it touches what the file says of tests.
pub(super) fn definition_reason(
    base: &[CheckOutcome],
    candidate: &[CheckOutcome],
    change: &Change,
    verdict: &Verdict,
) -> Option<String> {
    let before = |now: &CheckOutcome| base.iter().find(|outcome| outcome.check == now.check);
    let passing = || candidate.iter().filter(|now| now.passed() && tests(now));
    let fell = !verdict.missing.is_empty()
        || passing().any(|now| before(now).is_some_and(|before| ran(now) < ran(before)));
    if fell && !change.check_paths.is_empty() {
        let files = listed(&change.check_paths);
        return Some(format!("fewer tests run, and what defines the checks is changed: {files}"));
    }
    let incomparable = passing().find(|now| {
        before(now).is_none_or(|before| match before.tests {
            // Zero tests of a check that passes are a number like any other.
            Some(_) => !before.passed() && ran(before) == 0,
            None => !before.passed() || now.kind == CheckKind::Test,
        })
    })?;
    (!change.check_edits.is_empty()).then(|| {
        format!(
            "what decides the tests is changed, and {} cannot be compared with the base: {}",
            incomparable.check,
            listed(&change.check_edits)
        )
    })
}

/// Whether a check may run tests.
const fn tests(outcome: &CheckOutcome) -> bool {
    matches!(outcome.kind, CheckKind::Test | CheckKind::Custom)
}

fn ran(outcome: &CheckOutcome) -> u64 {
    outcome.tests.as_ref().map_or(0, |report| report.passed_count + report.failed_count)
}

/// Words of manifests and of settings of test runners that decide which tests run.
const WORDS: &[&str] = &[
    "test",
    "tests",
    "pretest",
    "posttest",
    "testpaths",
    "testmatch",
    "testregex",
    "testpathignorepatterns",
    "autotests",
    "doctest",
    "harness",
    "required-features",
    "members",
    "default-members",
    "default",
    "exclude",
    "runner",
    "rustflags",
    "rustc-cfg",
    "addopts",
    "ignore",
    "norecursedirs",
    "collect_ignore",
    "collect_ignore_glob",
    "python_files",
    "python_functions",
    "python_classes",
    "skip",
    "xfail",
    "deselect",
    "check",
    "checks",
];

/// Whether a line of a file that defines checks speaks of what they run.
pub(super) fn decides(line: &str) -> bool {
    let of_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let line = line.to_lowercase();
    line.split(|c| !of_word(c)).any(|word| WORDS.contains(&word))
}
