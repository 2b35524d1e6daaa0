//! Tests of the base that no longer run, and what explains that.

use std::collections::BTreeSet;

use super::Change;
use crate::check::TestReport;

/// Tests that ran on the base, do not run now, and whose absence nothing explains.
///
/// A test that is skipped now is never explained. Both reports must name their tests.
pub(super) fn unexplained(before: &TestReport, now: &TestReport, change: &Change) -> Vec<String> {
    let ran: BTreeSet<&String> = now.passed.iter().chain(&now.failed).collect();
    let known: BTreeSet<&String> = before.passed.iter().chain(&before.failed).chain(&before.skipped).collect();
    let skipped: BTreeSet<&String> = now.skipped.iter().collect();
    // What passes now and was unknown before may be what a missing test became.
    let mut new: Vec<&String> = now.passed.iter().filter(|name| !known.contains(name)).collect();
    let mut missing = Vec::new();
    for test in before.passed.iter().chain(&before.failed).filter(|test| !ran.contains(test)) {
        if skipped.contains(test) {
            missing.push(test.clone());
        } else if let Some(at) = new.iter().position(|name| leaf(name) == leaf(test)) {
            // Moved: one new test explains one missing test.
            new.swap_remove(at);
        } else if let Some(at) = replacement(test, &new, change) {
            new.swap_remove(at);
        } else {
            missing.push(test.clone());
        }
    }
    missing.sort_unstable();
    missing
}

/// Where in `new` the test is that the diff shows in the place of a missing one.
fn replacement(test: &str, new: &[&String], change: &Change) -> Option<usize> {
    let mut pairs = change.replaced_tests.iter().filter(|(old, _)| is_test(test, old));
    pairs.find_map(|(_, name)| new.iter().position(|candidate| is_test(candidate, name)))
}

/// The last part of a runner's name for a test, without its parameters:
/// "demo src/lib.rs tests::ok", "tests/t.py::test_a[1]", "pkg TestX/sub", "t.js > suite > name".
fn leaf(name: &str) -> &str {
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

/// Whether a runner's name means the test that the source calls so.
fn is_test(name: &str, source: &str) -> bool {
    let leaf = leaf(name);
    // A Go subtest belongs to its function.
    leaf == source || name == source || leaf.split('/').next() == Some(source)
}
