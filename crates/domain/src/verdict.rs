//! The verdict on a change: base and candidate compared, check by check and test by test.
//!
//! "Done by its word" is the agent's; "verified" is this module's, and needs evidence. It errs on
//! the strict side: what cannot be compared, or is gone without a visible reason, is not verified.

mod change;
mod evidence;
mod gone;
mod weakened;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use self::evidence::{evidence, reasons_evidence};
use crate::check::{CheckOutcome, TestReport};
use crate::tool::Ended;

/// What the change itself touches, as the runtime took it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Changed paths, relative, sorted; empty where nothing changed.
    pub paths: Vec<String>,
    /// Those of them that hold tests.
    pub test_paths: Vec<String>,
    /// Tests that the unified diff removes on purpose: their names where they can be told. What it
    /// adds to another file was only moved.
    pub removed_tests: Vec<String>,
    /// Removed tests with the new test of the same file that stands for them. Filled only for
    /// files that gain at least as many tests as they lose.
    #[serde(default)]
    pub replaced_tests: Vec<(String, String)>,
    /// Changed paths that define the checks.
    #[serde(default)]
    pub check_paths: Vec<String>,
    /// Those of them that the diff changes where they speak of tests.
    #[serde(default)]
    pub check_edits: Vec<String>,
}

/// What became of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Passed on both.
    Passes,
    /// Failed on the base, passes now.
    Mended,
    /// Passed on the base, fails now.
    Broken,
    /// Failed on both, but at least one test was mended and none newly fails.
    Better,
    /// Failed on both, no better.
    StillFails,
}

/// The verdict, with everything that led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the change is verified.
    pub verified: bool,
    /// Whether any check ran at all.
    pub checked: bool,
    /// One line for each check: its name and what became of it.
    pub checks: Vec<(String, Comparison)>,
    /// Tests that fail now and did not before.
    pub newly_failing: Vec<String>,
    /// Tests that pass now and did not before.
    pub newly_passing: Vec<String>,
    /// Tests of the base that are gone or skipped now, without an explanation.
    pub missing: Vec<String>,
    /// Test files that the change edited, for the reader's eye.
    pub edited_tests: Vec<String>,
    /// Files that define the checks and that the change edited, for the reader's eye.
    #[serde(default)]
    pub edited_checks: Vec<String>,
    /// Why it is not verified; empty where it is.
    pub reasons: Vec<String>,
}

/// Compares the outcomes of the same checks on base and candidate.
///
/// Verified is what had at least one check, and of which each check passes, or failed on the base
/// too with at least one test mended and none newly failing; and of which no test is missing
/// without an explanation. A missing test is explained where a test of the same name passes
/// elsewhere now, or where the diff shows which new test of the same file replaces it. Where the
/// base cannot tell what it would have run, what the diff itself takes from the tests counts.
pub fn judge(base: &[CheckOutcome], candidate: &[CheckOutcome], change: &Change) -> Verdict {
    let mut verdict = Verdict {
        verified: false,
        checked: !candidate.is_empty(),
        checks: vec![],
        newly_failing: vec![],
        newly_passing: vec![],
        missing: vec![],
        edited_tests: change.test_paths.clone(),
        edited_checks: change.check_paths.clone(),
        reasons: vec![],
    };
    if candidate.is_empty() {
        verdict.reasons.push("no check ran, so nothing is known of the change".to_owned());
    }
    for now in candidate {
        let before = base.iter().find(|outcome| outcome.check == now.check);
        let tests = Tests::compare(before, now, change);
        let comparison = compare(before, now, &tests);
        verdict.reasons.extend(reason(now, before, comparison, &tests));
        verdict.reasons.extend(tests.missing_reason(&now.check));
        verdict.checks.push((now.check.clone(), comparison));
        verdict.newly_failing.extend(tests.newly_failing);
        verdict.newly_passing.extend(tests.newly_passing);
        verdict.missing.extend(tests.missing);
    }
    for gone in
        base.iter().filter(|outcome| !candidate.iter().any(|now| now.check == outcome.check))
    {
        verdict.reasons.push(format!("{} ran on the base, but not on the change", gone.check));
    }
    if verdict.checked {
        let removed = weakened::removed(base, change);
        verdict.reasons.extend(weakened::removed_reason(&removed));
        verdict.missing.extend(removed);
        verdict.reasons.extend(weakened::definition_reason(base, candidate, change, &verdict));
    }
    for list in [&mut verdict.newly_failing, &mut verdict.newly_passing, &mut verdict.missing] {
        list.sort_unstable();
        list.dedup();
    }
    verdict.verified = verdict.checked && verdict.reasons.is_empty();
    verdict
}

/// One check's tests, compared.
#[derive(Default)]
struct Tests {
    newly_failing: Vec<String>,
    newly_passing: Vec<String>,
    missing: Vec<String>,
    /// How many tests that failed before pass now.
    mended: u64,
    /// Where names were not printed: how many ran before and now, and passed before and now.
    fewer: Option<[u64; 4]>,
    /// The base told of tests, the candidate tells of none.
    silent: bool,
}

impl Tests {
    fn compare(before: Option<&CheckOutcome>, now: &CheckOutcome, change: &Change) -> Self {
        let before = before.and_then(|outcome| outcome.tests.as_ref());
        let Some(after) = &now.tests else {
            let had = before
                .filter(|report| now.passed() && report.passed_count + report.failed_count > 0);
            let missing =
                had.map(|report| report.passed.iter().chain(&report.failed).cloned().collect());
            return Self {
                silent: had.is_some(),
                missing: missing.unwrap_or_default(),
                ..Self::default()
            };
        };
        let nothing = TestReport::default();
        let report = before.unwrap_or(&nothing);
        let named = report.is_named() && after.is_named();
        let [passed_before, failed_before] =
            [&report.passed, &report.failed].map(|names| set(names));
        let [passed, failed] = [&after.passed, &after.failed].map(|names| set(names));
        let newly = |new: &BTreeSet<&str>, old: &BTreeSet<&str>| -> Vec<String> {
            new.difference(old).map(|name| (*name).to_owned()).collect()
        };
        let mut tests = Self {
            newly_failing: newly(&failed, &failed_before),
            newly_passing: if named { newly(&passed, &passed_before) } else { vec![] },
            ..Self::default()
        };
        if named {
            tests.mended = failed_before.intersection(&passed).count() as u64;
            tests.missing = gone::unexplained(report, after, change);
            return tests;
        }
        let ran = [report, after].map(|report| report.passed_count + report.failed_count);
        if ran[1] < ran[0] || after.passed_count < report.passed_count {
            tests.fewer = Some([ran[0], ran[1], report.passed_count, after.passed_count]);
        } else {
            // Runners that print no names of passed tests still print those of failed ones.
            let over = failed_before.difference(&failed).count() as u64;
            tests.mended = over.min(after.passed_count - report.passed_count);
            if tests.newly_failing.is_empty() && after.failed_count > report.failed_count {
                let more = after.failed_count - report.failed_count;
                tests.newly_failing.push(format!("{}: {more} more without a name", now.check));
            }
        }
        tests
    }

    fn missing_reason(&self, check: &str) -> Option<String> {
        if self.silent {
            return Some(format!("{check} passes, but no longer says which tests ran"));
        }
        if let Some([ran_before, ran, passed_before, passed]) = self.fewer {
            return Some(format!(
                "{check} ran {ran} tests of which {passed} passed; on the base it ran {ran_before}, of which {passed_before} passed"
            ));
        }
        let list = listed(&self.missing);
        match self.missing.len() {
            0 => None,
            1 => Some(format!(
                "{check}: 1 test of the base no longer runs, and nothing explains it: {list}"
            )),
            count => Some(format!(
                "{check}: {count} tests of the base no longer run, and nothing explains it: {list}"
            )),
        }
    }
}

fn set(names: &[String]) -> BTreeSet<&str> {
    names.iter().map(String::as_str).collect()
}

fn compare(before: Option<&CheckOutcome>, now: &CheckOutcome, tests: &Tests) -> Comparison {
    // A check without a base is held to the standard of one that passed there.
    let passed_before = before.is_none_or(CheckOutcome::passed);
    let gained = tests.mended > 0
        && tests.newly_failing.is_empty()
        && tests.missing.is_empty()
        && tests.fewer.is_none();
    match (passed_before, now.passed()) {
        (true, true) => Comparison::Passes,
        (false, true) => Comparison::Mended,
        (true, false) => Comparison::Broken,
        (false, false) if gained => Comparison::Better,
        (false, false) => Comparison::StillFails,
    }
}

/// Why a check stands against the change, in one sentence.
fn reason(
    now: &CheckOutcome,
    before: Option<&CheckOutcome>,
    comparison: Comparison,
    of: &Tests,
) -> Option<String> {
    let check = &now.check;
    let newly = match of.newly_failing.len() {
        0 => String::new(),
        1 => format!("; 1 test newly fails: {}", of.newly_failing[0]),
        count => format!("; {count} tests newly fail: {}", listed(&of.newly_failing)),
    };
    match comparison {
        Comparison::Broken if before.is_none() => {
            Some(format!("{check} {}{newly}", ending(&now.ended)))
        }
        Comparison::Broken => {
            Some(format!("{check} passed before the change and now {}{newly}", ending(&now.ended)))
        }
        Comparison::StillFails if newly.is_empty() => Some(format!(
            "{check} {}, as before the change, and nothing got better",
            ending(&now.ended)
        )),
        Comparison::StillFails => {
            Some(format!("{check} failed before the change and now {}{newly}", ending(&now.ended)))
        }
        Comparison::Passes | Comparison::Mended if !newly.is_empty() => {
            Some(format!("{check} exits with success, but tests fail{newly}"))
        }
        Comparison::Passes | Comparison::Mended | Comparison::Better => None,
    }
}

/// How a failed check ended, to follow its name.
fn ending(ended: &Ended) -> String {
    match ended {
        Ended::Exited { code } => format!("ends with exit code {code}"),
        Ended::Signalled { signal } => format!("is ended by signal {signal}"),
        Ended::TimedOut { after_ms } => {
            format!("hangs: it was stopped after {} s", after_ms / 1000)
        }
        Ended::Refused { reason } => format!("cannot be run: {reason}"),
        Ended::Interrupted => "was interrupted".to_owned(),
    }
}

/// The first names, and how many more.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let first = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
