//! What goes back to the agent when a change is not verified.

use std::fmt::Write as _;

use super::Verdict;
use crate::check::CheckOutcome;
use crate::check::output::{cut, telling_parts};

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
