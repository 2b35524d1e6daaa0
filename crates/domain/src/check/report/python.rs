//! pytest and unittest.

use super::names::{Counts, Status, leading_number};
use super::{Names, Reader, TestReport};

/// pytest: the lines of `-v`, the short summary, and the closing counts.
#[derive(Default)]
pub(super) struct Pytest {
    names: Names,
    counts: Option<Counts>,
    started: bool,
    in_summary: bool,
}

fn pytest_status(word: &str) -> Option<Status> {
    match word {
        "PASSED" | "XPASS" => Some(Status::Passed),
        "FAILED" | "ERROR" => Some(Status::Failed),
        "SKIPPED" | "XFAIL" => Some(Status::Skipped),
        _ => None,
    }
}

/// "tests/a.py::test_x PASSED   [ 12%]", or with pytest-xdist "[gw0] [ 12%] PASSED tests/a.py::test_x".
fn verbose_line(line: &str) -> Option<(&str, Status)> {
    if !line.contains("::") {
        return None;
    }
    if line.starts_with("[gw") {
        let (_, rest) = line.split_once("%] ")?;
        let (word, name) = rest.split_once(' ')?;
        return Some((name.trim(), pytest_status(word)?));
    }
    // Names of parameters may hold blanks and status words, so the last one counts.
    for (at, _) in line.rmatch_indices(' ') {
        let word = line[at + 1..].split([' ', '(']).next().unwrap_or_default();
        if let Some(status) = pytest_status(word) {
            let name = line[..at].trim_end();
            return name.contains("::").then_some((name, status));
        }
    }
    None
}

/// "=== 1 failed, 4 passed, 1 error in 0.04s ===", with or without the frame.
fn pytest_counts(line: &str) -> Option<Counts> {
    let text = line.trim_matches(['=', ' ']);
    let (parts, time) = text.rsplit_once(" in ")?;
    if !time.split(' ').next()?.strip_suffix('s')?.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    {
        return None;
    }
    let mut counts = Counts::default();
    let mut known = parts == "no tests ran";
    for part in parts.split(", ") {
        let (number, what) = leading_number(part)?;
        match what.trim() {
            "passed" | "xpassed" => counts.passed += number,
            "failed" | "error" | "errors" => counts.failed += number,
            "skipped" | "xfailed" => counts.skipped += number,
            "warning" | "warnings" | "deselected" | "rerun" => {}
            what if what.starts_with("subtests") => {}
            _ => return None,
        }
        known = true;
    }
    known.then_some(counts)
}

impl Reader for Pytest {
    fn line(&mut self, line: &str) {
        if line.starts_with('=') {
            self.started |= line.contains(" test session starts ");
            self.in_summary = line.contains(" short test summary info ");
        }
        if let Some(counts) = pytest_counts(line) {
            let sum = self.counts.get_or_insert_default();
            sum.passed += counts.passed;
            sum.failed += counts.failed;
            sum.skipped += counts.skipped;
            self.in_summary = false;
        } else if self.in_summary {
            let Some((word, rest)) = line.split_once(' ') else {
                return;
            };
            let Some(status) = pytest_status(word) else {
                return;
            };
            // Skipped ones are folded to "[2] file:line: reason", which is no name.
            if rest.starts_with('[') {
                return;
            }
            let name = rest.split(" - ").next().unwrap_or(rest).trim();
            self.names.set_unless_failed(name.to_owned(), status);
        } else if let Some((name, status)) = verbose_line(line) {
            self.names.set_unless_failed(name.to_owned(), status);
        }
    }

    fn finish(self: Box<Self>) -> Option<TestReport> {
        (self.counts.is_some() || (self.started && !self.names.is_empty()))
            .then(|| self.names.report(self.counts))
    }
}

/// unittest, quiet and verbose.
#[derive(Default)]
pub(super) struct Unittest {
    names: Names,
    counts: Option<Counts>,
    ran: u64,
    pending: Option<String>,
}

/// "test_a (mod.Class.test_a)" at the start of a line: its full name, and what follows.
fn unittest_name(line: &str) -> Option<(String, &str)> {
    let (test, rest) = line.split_once(" (")?;
    let (path, rest) = rest.split_once(')')?;
    let word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.')
    };
    if !word(test) || test.contains('.') || !word(path) {
        return None;
    }
    // Before Python 3.11 the class alone stands in the brackets.
    let whole = if path.rsplit('.').next() == Some(test) {
        path.to_owned()
    } else {
        format!("{path}.{test}")
    };
    Some((whole, rest))
}

fn unittest_status(text: &str) -> Option<Status> {
    match text.trim() {
        "ok" => Some(Status::Passed),
        "FAIL" | "ERROR" | "unexpected success" => Some(Status::Failed),
        "expected failure" => Some(Status::Skipped),
        skipped if skipped.starts_with("skipped") => Some(Status::Skipped),
        _ => None,
    }
}

impl Unittest {
    fn closing(&mut self, details: &str) {
        let mut counts = Counts::default();
        for part in details.trim_matches(['(', ')', ' ']).split(", ") {
            let Some((what, number)) = part.split_once('=') else {
                continue;
            };
            let number: u64 = number.parse().unwrap_or(0);
            match what {
                "failures" | "errors" | "unexpected successes" => counts.failed += number,
                "skipped" | "expected failures" => counts.skipped += number,
                _ => {}
            }
        }
        let sum = self.counts.get_or_insert_default();
        sum.passed += self.ran.saturating_sub(counts.failed + counts.skipped);
        sum.failed += counts.failed;
        sum.skipped += counts.skipped;
        (self.ran, self.pending) = (0, None);
    }
}

impl Reader for Unittest {
    fn line(&mut self, line: &str) {
        if let Some((number, rest)) = line.strip_prefix("Ran ").and_then(leading_number) {
            if rest.starts_with(" test") {
                self.ran = number;
            }
            return;
        }
        for word in ["OK", "FAILED", "NO TESTS RAN"] {
            if let Some(details) =
                line.strip_prefix(word).filter(|rest| rest.is_empty() || rest.starts_with(" ("))
            {
                if self.ran > 0 || word == "NO TESTS RAN" {
                    self.closing(details);
                }
                return;
            }
        }
        let section = line.strip_prefix("FAIL: ").or_else(|| line.strip_prefix("ERROR: "));
        if let Some((name, _)) = section.and_then(unittest_name) {
            self.names.set(name, Status::Failed);
            return;
        }
        if let Some((name, rest)) = unittest_name(line.trim_start()) {
            match rest.rsplit_once(" ... ").map(|(_, status)| unittest_status(status)) {
                Some(Some(status)) => self.names.set_unless_failed(name, status),
                // A docstring, or what the test printed, comes first.
                Some(None) => self.pending = Some(name),
                None if rest.is_empty() => self.pending = Some(name),
                None => {}
            }
            return;
        }
        let status = line.rsplit(" ... ").next().and_then(unittest_status);
        if let (Some(status), Some(name)) = (status, self.pending.take_if(|_| status.is_some())) {
            self.names.set_unless_failed(name, status);
        }
    }

    fn finish(self: Box<Self>) -> Option<TestReport> {
        self.counts.is_some().then(|| self.names.report(self.counts))
    }
}
