//! What a person reads of the mechanic's work.

use std::collections::BTreeSet;

use journeyman_domain::tool::head_and_tail;

use super::group::Plan;
use super::report::Problem;

/// Lines that a list may have.
const LINES: usize = 20;

/// A group that was kept.
pub(super) struct Mended {
    code: String,
    suggestions: usize,
    files: BTreeSet<String>,
}

impl Mended {
    pub(super) fn new(code: &str, plan: &Plan) -> Self {
        let files = plan.edits.iter().map(|edit| edit.path.clone()).collect();
        Self { code: code.to_owned(), suggestions: plan.suggestions, files }
    }

    fn line(&self) -> String {
        let files = self.files.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more = if self.files.len() > 5 { ", …" } else { "" };
        match self.suggestions {
            0 => "formatted".to_owned(),
            1 => format!("{} in {files}", self.code),
            many => format!("{} ({many} places) in {files}{more}", self.code),
        }
    }
}

pub(super) fn apply(suggestions: usize, code: &str) -> String {
    let plural = if suggestions == 1 { "" } else { "s" };
    format!("apply {suggestions} suggestion{plural} for {code}")
}

pub(super) fn short(title: &str) -> String {
    match head_and_tail(title, 30) {
        (head, Some(_)) => format!("{head}…"),
        (all, None) => all,
    }
}

pub(super) fn first_line(text: &str) -> Option<String> {
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(|line| head_and_tail(line, 150).0)
}

pub(super) fn problem(problem: &Problem) -> String {
    let Problem { path, line, code, message, .. } = problem;
    let what = first_line(message).unwrap_or_default();
    if path.is_empty() {
        format!("{code}: {what}")
    } else {
        format!("{path}:{line}: {code}: {what}")
    }
}

pub(super) fn summary(mended: &[Mended], checks: usize, notes: &BTreeSet<String>) -> String {
    let passed = match checks {
        0 => "there is no check to run".to_owned(),
        1 => "the check passes".to_owned(),
        many => format!("all {many} checks pass"),
    };
    let mut lines = vec![format!("{}; {passed}", what_was_mended(mended))];
    lines.extend(notes.iter().cloned());
    lines.join("\n")
}

pub(super) fn reason(mended: &[Mended], mut left: Vec<String>) -> String {
    let mut seen = BTreeSet::new();
    left.retain(|line| seen.insert(line.clone()));
    let more = left.len().saturating_sub(LINES);
    left.truncate(LINES);
    if more > 0 {
        left.push(format!("and {more} more"));
    }
    format!("{}; left:\n{}", what_was_mended(mended), left.join("\n"))
}

fn what_was_mended(mended: &[Mended]) -> String {
    if mended.is_empty() {
        return "nothing was mended".to_owned();
    }
    let lines: Vec<String> = mended.iter().map(Mended::line).collect();
    format!("mended {}", lines.join("; "))
}
