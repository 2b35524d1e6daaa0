//! Tests of the base that no longer run, and what explains that.

use std::collections::{BTreeMap, BTreeSet};

use super::Change;
use crate::check::TestReport;

/// Tests that ran on the base, do not run now, and whose absence nothing explains.
///
/// A test that is skipped now is never explained. Both reports must name their tests.
pub(super) fn unexplained(before: &TestReport, now: &TestReport, change: &Change) -> Vec<String> {
    let ran: BTreeSet<&String> = now.passed.iter().chain(&now.failed).collect();
    let known: BTreeSet<&String> =
        before.passed.iter().chain(&before.failed).chain(&before.skipped).collect();
    let skipped: BTreeSet<&String> = now.skipped.iter().collect();
    // How many tests of a name pass now and were unknown before: each may be what a missing one
    // became, and explains just one.
    let mut new: BTreeMap<&str, usize> = BTreeMap::new();
    for name in now.passed.iter().filter(|name| !known.contains(name)) {
        *new.entry(leaf(name)).or_default() += 1;
    }
    let mut explained = |name: &str| match new.get_mut(name) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    };
    let gone = before.passed.iter().chain(&before.failed).filter(|test| !ran.contains(test));
    let mut missing: Vec<String> = gone
        .filter(|test| {
            skipped.contains(test)
                || !(explained(leaf(test))
                    || replacement(leaf(test), change).is_some_and(|name| explained(&name)))
        })
        .cloned()
        .collect();
    missing.sort_unstable();
    missing
}

/// What the diff shows in a test's place; a Go subtest goes with its function.
fn replacement(test: &str, change: &Change) -> Option<String> {
    change.replaced_tests.iter().find_map(|(old, new)| {
        let rest = test.strip_prefix(leaf(old))?;
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("{}{rest}", leaf(new)))
    })
}

/// The last part of a runner's name for a test, without its parameters:
/// "demo src/lib.rs tests::ok", "tests/t.py::test_a[1]", "pkg TestX/sub", "t.js > suite > name".
pub(super) fn leaf(name: &str) -> &str {
    let name = name.split_once(" #").map_or(name, |(name, _number)| name);
    if let Some((_, leaf)) = name.rsplit_once(" > ") {
        return leaf;
    }
    let name = name.split_once('[').map_or(name, |(name, _parameters)| name);
    if let Some((_, leaf)) = name.rsplit_once("::") {
        return leaf;
    }
    name.rsplit([' ', '.']).next().unwrap_or(name)
}
