//! libtest (`cargo test`) and nextest.

use std::collections::BTreeSet;

use super::names::{Counts, Status, leading_number};
use super::{Names, Reader, TestReport};

/// `cargo test`: several binaries and doc tests, each with its own closing line.
#[derive(Default)]
pub(super) struct Libtest {
    names: Names,
    counts: Option<Counts>,
    /// The binary whose tests follow: "demo src/lib.rs".
    binary: String,
    /// A test whose status is on a later line, since the test printed something.
    pending: Option<String>,
    /// Failed tests of this binary, to read its closing list without doubling them.
    failed: BTreeSet<String>,
    in_list: bool,
}

impl Libtest {
    fn name(&self, test: &str) -> String {
        // A doc test's line moves with every edit above it, which makes it no other test.
        let test = match (test.find(" (line "), test.ends_with(')')) {
            (Some(at), true) => &test[..at],
            _ => test,
        };
        let test = test.strip_suffix(" - should panic").unwrap_or(test);
        if self.binary.is_empty() { test.to_owned() } else { format!("{} {test}", self.binary) }
    }

    fn ended(&mut self, name: &str, status: Status) {
        if status == Status::Failed {
            self.failed.insert(name.to_owned());
        }
        self.names.add(name, status);
    }

    fn closing(&mut self, line: &str) {
        let counts = self.counts.get_or_insert_default();
        for part in line.split([';', '.']) {
            let Some((number, what)) = leading_number(part.trim_start()) else {
                continue;
            };
            match what.trim() {
                "passed" | "measured" => counts.passed += number,
                "failed" => counts.failed += number,
                "ignored" => counts.skipped += number,
                _ => {}
            }
        }
        (self.pending, self.in_list) = (None, false);
        self.failed.clear();
    }
}

/// How libtest spells a test's end.
fn libtest_status(text: &str) -> Option<Status> {
    let text = text.trim();
    let word = text.split([' ', ',']).next().unwrap_or_default();
    match word {
        "ok" if text == "ok" || text.starts_with("ok <") => Some(Status::Passed),
        "FAILED" if text == "FAILED" || text.starts_with("FAILED <") => Some(Status::Failed),
        "ignored" => Some(Status::Skipped),
        "bench:" => Some(Status::Passed),
        _ => None,
    }
}

/// "src/lib.rs (target/debug/deps/demo-8348ca7a80742723)" is "demo src/lib.rs".
fn binary(running: &str) -> Option<String> {
    let (source, file) = running.strip_suffix(')')?.split_once(" (")?;
    let source = source.strip_prefix("unittests ").unwrap_or(source);
    let stem = file.rsplit(['/', '\\']).next()?;
    let stem = stem.strip_suffix(".exe").unwrap_or(stem);
    let stem = stem.rsplit_once('-').map_or(stem, |(stem, _hash)| stem);
    Some(format!("{stem} {source}"))
}

impl Reader for Libtest {
    fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("test ") {
            if let Some(result) = rest.strip_prefix("result: ") {
                self.closing(result);
            } else if let Some((test, status)) = rest.split_once(" ... ") {
                let name = self.name(test);
                match libtest_status(status) {
                    Some(status) => self.ended(&name, status),
                    None => self.pending = Some(name),
                }
            }
        } else if let Some(status) = libtest_status(line) {
            if let Some(name) = self.pending.take() {
                self.ended(&name, status);
            }
        } else if let Some(running) = line.trim_start().strip_prefix("Running ") {
            if let Some(binary) = binary(running) {
                (self.binary, self.pending) = (binary, None);
            }
        } else if let Some(package) = line.trim_start().strip_prefix("Doc-tests ") {
            (self.binary, self.pending) = (format!("{package} doc"), None);
        } else if line == "failures:" {
            self.in_list = true;
        } else if self.in_list {
            match line.strip_prefix("    ").filter(|test| !test.starts_with(' ')) {
                // Quiet runs name only what failed, and only here.
                Some(test) if !test.contains(' ') || test.contains(" - ") => {
                    let name = self.name(test);
                    if !self.failed.contains(&name) {
                        self.ended(&name, Status::Failed);
                    }
                }
                Some(_) => {}
                None => self.in_list = line.is_empty() && self.failed.is_empty(),
            }
        }
    }

    fn finish(self: Box<Self>) -> Option<TestReport> {
        (self.counts.is_some() || !self.names.is_empty()).then(|| self.names.report(self.counts))
    }
}

/// nextest; a test that is tried again keeps its last status.
#[derive(Default)]
pub(super) struct Nextest {
    names: Names,
    counts: Option<Counts>,
    seen: bool,
}

impl Reader for Nextest {
    fn line(&mut self, line: &str) {
        if line.starts_with(" Nextest run ID ") {
            self.seen = true;
        }
        if !self.seen {
            return;
        }
        let Some((word, rest)) = line.trim_start().split_once(" [") else {
            return;
        };
        let Some((_time, rest)) = rest.split_once(']') else {
            return;
        };
        let rest = rest.trim_start();
        if word == "Summary" {
            self.counts = Some(nextest_counts(rest));
            return;
        }
        let verdict = word.rsplit(' ').next().unwrap_or_default();
        let status = match verdict {
            "PASS" | "LEAK" => Status::Passed,
            "FAIL" | "TIMEOUT" | "ABORT" | "LEAK-FAIL" | "XFAIL" => Status::Failed,
            "SKIP" => Status::Skipped,
            _ if word.starts_with("FLAKY ") => Status::Passed,
            _ if verdict.starts_with("SIG") => Status::Failed,
            _ => return,
        };
        // The running count "(3/20)" stands before the binary's name.
        let name = match rest.strip_prefix('(').and_then(|rest| rest.split_once(") ")) {
            Some((_, name)) => name,
            None => rest,
        };
        self.names.set(name.trim().to_owned(), status);
    }

    fn finish(self: Box<Self>) -> Option<TestReport> {
        self.seen.then(|| self.names.report(self.counts))
    }
}

/// "5 tests run: 4 passed (1 flaky), 1 failed, 1 skipped".
fn nextest_counts(text: &str) -> Counts {
    let mut counts = Counts::default();
    let parts = text.split_once(": ").map_or(text, |(_, parts)| parts);
    for part in parts.split(',') {
        let Some((number, what)) = leading_number(part.trim_start()) else {
            continue;
        };
        match what.split_whitespace().next().unwrap_or_default() {
            "passed" => counts.passed += number,
            "failed" | "timed" | "exec" => counts.failed += number,
            "skipped" => counts.skipped += number,
            _ => {}
        }
    }
    counts
}
