//! What goes back to the agent when a change is not verified.

use std::fmt::Write as _;

use super::{Comparison, Verdict};
use crate::check::CheckOutcome;
use crate::check::output::{cut, telling_parts};
use crate::failure::{CLAIM, Evidence, Phase, VERDICT};

/// The reasons, and of each failing check the telling parts of its output, in at most
/// `limit_bytes`. The text is what tools printed: it may hold anything, so secrets must be out of
/// the outcomes already.
pub fn evidence(verdict: &Verdict, candidate: &[CheckOutcome], limit_bytes: usize) -> String {
    let mut text = String::new();
    for reason in &verdict.reasons {
        let _ = writeln!(text, "- {reason}");
    }
    text.truncate(cut(&text, limit_bytes / 2).len());
    let failing: Vec<&CheckOutcome> =
        candidate.iter().filter(|outcome| is_telling(verdict, outcome)).collect();
    for (index, outcome) in failing.iter().enumerate() {
        let header = format!("\n== {}: {}\n", outcome.check, super::ending(&outcome.ended));
        // What one check leaves of its share is the next ones'.
        let share = limit_bytes.saturating_sub(text.len()) / (failing.len() - index);
        let Some(room) = share.checked_sub(header.len()).filter(|room| *room > 0) else {
            continue;
        };
        text.push_str(&header);
        let whole = match &outcome.tail {
            Some(tail) => &format!("{}\n[…]\n{tail}", outcome.head),
            None => &outcome.head,
        };
        text.push_str(&telling_parts(whole, room));
    }
    text
}

/// Failing checks, and passing ones whose tests fail nevertheless.
fn is_telling(verdict: &Verdict, outcome: &CheckOutcome) -> bool {
    let failed = outcome.tests.iter().flat_map(|report| &report.failed);
    !outcome.passed() || failed.into_iter().any(|test| verdict.newly_failing.contains(test))
}

/// What stands against a change although no program failed for it: missing tests, forbidden paths,
/// tests that fail behind a success. `None` where failing programs say it all, or nothing could be
/// checked. `claimed` says that the agent called its work done.
pub fn reasons_evidence(verdict: &Verdict, claimed: bool) -> Option<Evidence> {
    if verdict.verified || !verdict.checked {
        return None;
    }
    let reasons: Vec<&str> = verdict
        .reasons
        .iter()
        .map(String::as_str)
        .filter(|line| !is_of_failing(verdict, line))
        .collect();
    if reasons.is_empty() {
        return None;
    }
    let source = if claimed { CLAIM } else { VERDICT };
    Some(Evidence {
        source: Some(source.to_owned()),
        ..Evidence::of(Phase::Verify, reasons.join("\n"))
    })
}

/// Whether a reason says how a program failed: such a one begins with the name of its check.
fn is_of_failing(verdict: &Verdict, reason: &str) -> bool {
    let of = |name: &str| reason.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '));
    let checks = verdict.checks.iter().filter(|(name, _)| of(name));
    checks.max_by_key(|(name, _)| name.len()).is_some_and(|(_, comparison)| {
        matches!(comparison, Comparison::Broken | Comparison::StillFails)
    })
}
