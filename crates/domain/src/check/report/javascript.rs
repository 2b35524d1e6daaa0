//! TAP, node's own runner, jest, vitest and mocha.
//!
//! Their lines of single tests look alike; the closing lines tell which one ran.

use super::names::{Counts, Status, leading_number};
use super::{Names, Reader, TestReport};

/// Between the suites of a test's name.
const SEPARATOR: &str = " > ";

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The suites around a line, by their indentation.
#[derive(Default)]
struct Suites(Vec<(usize, String)>);

impl Suites {
    fn enter(&mut self, indent: usize, name: &str) {
        self.leave(indent);
        self.0.push((indent, name.to_owned()));
    }

    fn leave(&mut self, indent: usize) {
        self.0.retain(|(outer, _)| *outer < indent);
    }

    fn path(&mut self, indent: usize, name: &str) -> String {
        self.leave(indent);
        self.0
            .iter()
            .map(|(_, suite)| suite.as_str())
            .chain([name])
            .collect::<Vec<_>>()
            .join(SEPARATOR)
    }
}

/// A name without the time behind it: "(1.3 ms)", "(5ms)", "12ms".
fn untimed(name: &str) -> &str {
    let name = name.trim_end();
    let timed = |text: &str| {
        let unit = text.trim_end_matches(|c: char| c.is_alphabetic());
        unit.len() < text.len() && unit.trim_end().parse::<f64>().is_ok()
    };
    if let Some((front, time)) = name.strip_suffix(')').and_then(|name| name.rsplit_once(" ("))
        && timed(time)
    {
        return front;
    }
    match name.rsplit_once(' ') {
        Some((front, time)) if timed(time) => front.trim_end(),
        _ => name,
    }
}

/// Splits "# SKIP reason" or "# TODO" off.
fn directive(text: &str) -> (&str, bool) {
    for word in [" # SKIP", " # TODO", " # skip", " # todo"] {
        if let Some(at) = text.find(word) {
            return (&text[..at], true);
        }
    }
    (text, false)
}

/// "pass 2" and its like of node's runner, after "# " or "\u{2139} ".
#[derive(Default)]
struct NodeCounts {
    counts: Counts,
    seen: bool,
}

impl NodeCounts {
    fn line(&mut self, text: &str) {
        let mut words = text.split_whitespace();
        let (Some(what), Some(number), None) = (words.next(), words.next(), words.next()) else {
            return;
        };
        let Ok(number) = number.parse::<u64>() else {
            return;
        };
        match what {
            "tests" => self.seen = true,
            "pass" => self.counts.passed += number,
            "fail" | "cancelled" => self.counts.failed += number,
            "skipped" | "todo" => self.counts.skipped += number,
            _ => {}
        }
    }
}

/// TAP: node's runner, tape, bats and others. Suites are results too.
#[derive(Default)]
pub(super) struct Tap {
    names: Names,
    suites: Suites,
    counts: NodeCounts,
    seen: bool,
}

impl Reader for Tap {
    fn line(&mut self, line: &str) {
        if line.starts_with("TAP version ")
            || (line.starts_with("1..") && leading_number(&line[3..]).is_some())
        {
            self.seen = true;
        }
        let depth = indent(line);
        let text = &line[depth..];
        if let Some(name) = text.strip_prefix("# Subtest: ") {
            self.suites.enter(depth, name);
        } else if let Some(text) = line.strip_prefix("# ") {
            self.counts.line(text);
        }
        let (rest, status) = match (text.strip_prefix("ok "), text.strip_prefix("not ok ")) {
            (Some(rest), _) => (rest, Status::Passed),
            (_, Some(rest)) => (rest, Status::Failed),
            _ => return,
        };
        let Some((_, rest)) = leading_number(rest) else {
            return;
        };
        let rest = rest.trim_start();
        let (name, skipped) = directive(rest.strip_prefix("- ").unwrap_or(rest));
        let name = self.suites.path(depth, name.trim_end());
        self.names.add(&name, if skipped { Status::Skipped } else { status });
    }

    fn finish(self: Box<Self>) -> Option<TestReport> {
        let counts = self.counts.seen.then_some(self.counts.counts);
        (self.seen && (counts.is_some() || !self.names.is_empty()))
            .then(|| self.names.report(counts))
    }
}

/// The default reporter of `node --test`. Suites are results too.
#[derive(Default)]
pub(super) struct NodeSpec {
    names: Names,
    suites: Suites,
    counts: NodeCounts,
    over: bool,
}

impl Reader for NodeSpec {
    fn line(&mut self, line: &str) {
        if let Some(text) = line.strip_prefix("\u{2139} ") {
            self.counts.line(text);
            return;
        }
        // What failed is listed once more at the end, without its suites.
        self.over |= self.counts.seen;
        if self.over {
            return;
        }
        let depth = indent(line);
        let mut chars = line[depth..].chars();
        let Some(mark) = chars.next() else { return };
        let Some(text) = chars.as_str().strip_prefix(' ') else {
            return;
        };
        if mark == '\u{25b6}' {
            self.suites.enter(depth, untimed(text));
            return;
        }
        let status = match mark {
            '\u{2714}' => Status::Passed,
            '\u{2716}' => Status::Failed,
            '\u{fe63}' => Status::Skipped,
            _ => return,
        };
        let (text, skipped) = directive(text);
        let name = self.suites.path(depth, untimed(text));
        self.names.add(&name, if skipped { Status::Skipped } else { status });
    }

    fn finish(self: Box<Self>) -> Option<TestReport> {
        self.counts.seen.then(|| self.names.report(Some(self.counts.counts)))
    }
}

/// "1 failed, 1 skipped, 3 passed, 6 total", or with bars between and a total in brackets.
fn listed_counts(text: &str, separator: char) -> Counts {
    let mut counts = Counts::default();
    for part in text.split(separator) {
        let Some((number, what)) = leading_number(part.trim_start()) else {
            continue;
        };
        match what.split_whitespace().next().unwrap_or_default() {
            "passed" => counts.passed += number,
            "failed" => counts.failed += number,
            "skipped" | "todo" | "pending" => counts.skipped += number,
            _ => {}
        }
    }
    counts
}

/// jest: names of all tests where it is verbose, of the failed ones otherwise.
#[derive(Default)]
pub(super) struct Jest {
    names: Names,
    suites: Suites,
    counts: Option<Counts>,
    file: Option<String>,
}

impl Jest {
    fn marked(&mut self, depth: usize, text: &str) -> bool {
        let Some(file) = self.file.clone() else {
            return false;
        };
        let mut chars = text.chars();
        let status = match chars.next() {
            Some('\u{2713}' | '\u{221a}') => Status::Passed,
            Some('\u{2715}') => Status::Failed,
            Some('\u{25cb}' | '\u{270e}') => Status::Skipped,
            _ => return false,
        };
        let text = untimed(chars.as_str().trim_start());
        let text = match status {
            Status::Skipped => {
                text.strip_prefix("skipped ").or_else(|| text.strip_prefix("todo ")).unwrap_or(text)
            }
            Status::Passed | Status::Failed => text,
        };
        let path = self.suites.path(depth, text);
        self.names.set_unless_failed(format!("{file}{SEPARATOR}{path}"), status);
        true
    }
}

impl Reader for Jest {
    fn line(&mut self, line: &str) {
        if let Some(file) = line.strip_prefix("PASS ").or_else(|| line.strip_prefix("FAIL ")) {
            self.file = Some(untimed(file.trim()).to_owned());
            self.suites.leave(0);
            return;
        }
        if let Some(text) = line.strip_prefix("Tests: ").filter(|text| text.ends_with(" total")) {
            let counts = listed_counts(text, ',');
            let sum = self.counts.get_or_insert_default();
            sum.passed += counts.passed;
            sum.failed += counts.failed;
            sum.skipped += counts.skipped;
            return;
        }
        let depth = indent(line);
        let text = &line[depth..];
        if depth < 2 || text.is_empty() || self.marked(depth, text) {
            return;
        }
        match (text.strip_prefix("\u{25cf} "), &self.file) {
            (Some(path), Some(file)) if depth == 2 && path != "Console" => {
                let name = format!("{file}{SEPARATOR}{}", path.replace(" \u{203a} ", SEPARATOR));
                self.names.set(name, Status::Failed);
            }
            _ => self.suites.enter(depth, text),
        }
    }

    fn finish(self: Box<Self>) -> Option<TestReport> {
        self.counts.is_some().then(|| self.names.report(self.counts))
    }
}

/// vitest: names of all tests with its reporter `verbose`, of the failed ones otherwise.
#[derive(Default)]
pub(super) struct Vitest {
    names: Names,
    counts: Option<Counts>,
    files: bool,
}

impl Reader for Vitest {
    fn line(&mut self, line: &str) {
        let text = line.trim_start();
        if text.starts_with("Test Files ") {
            self.files = true;
        } else if let Some(counts) = text.strip_prefix("Tests ").filter(|_| self.files) {
            if counts.trim_end().ends_with(')') {
                self.counts = Some(listed_counts(counts, '|'));
            }
        } else if text.contains(SEPARATOR) {
            let (status, name) = match text.split_once(' ') {
                Some(("\u{2713}" | "\u{221a}", name)) => (Status::Passed, name),
                Some(("\u{d7}" | "FAIL", name)) => (Status::Failed, name),
                Some(("\u{2193}", name)) => (Status::Skipped, name),
                _ => return,
            };
            self.names.set_unless_failed(untimed(name.trim()).to_owned(), status);
        }
    }

    fn finish(self: Box<Self>) -> Option<TestReport> {
        self.counts.is_some().then(|| self.names.report(self.counts))
    }
}

/// mocha's reporter `spec`.
#[derive(Default)]
pub(super) struct Mocha {
    names: Names,
    suites: Suites,
    counts: Option<Counts>,
}

impl Mocha {
    /// "  2 passing (4ms)", "  1 pending", "  2 failing".
    fn closing(&mut self, text: &str) -> bool {
        let Some((number, what)) = leading_number(text) else {
            return false;
        };
        let what = what.trim_start();
        if what.starts_with("passing (") {
            self.counts.get_or_insert_default().passed += number;
            return true;
        }
        match (&mut self.counts, what) {
            (Some(counts), "failing") => counts.failed += number,
            (Some(counts), "pending") => counts.skipped += number,
            _ => return false,
        }
        true
    }
}

impl Reader for Mocha {
    fn line(&mut self, line: &str) {
        let depth = indent(line);
        let text = &line[depth..];
        if depth < 2 || text.is_empty() || self.closing(text) || self.counts.is_some() {
            return;
        }
        let numbered = leading_number(text).and_then(|(_, rest)| rest.strip_prefix(") "));
        let marked = text.strip_prefix("\u{2714} ").or_else(|| text.strip_prefix("\u{2713} "));
        let (name, status) = match (marked, numbered, text.strip_prefix("- ")) {
            (Some(name), _, _) => (untimed(name), Status::Passed),
            (_, Some(name), _) => (name, Status::Failed),
            (_, _, Some(name)) => (name, Status::Skipped),
            _ => return self.suites.enter(depth, text),
        };
        let name = self.suites.path(depth, name);
        self.names.add(&name, status);
    }

    fn finish(self: Box<Self>) -> Option<TestReport> {
        self.counts.is_some().then(|| self.names.report(self.counts))
    }
}
