//! The names that a reader collected, and how each test ended.

use std::collections::BTreeMap;

use super::TestReport;

/// Names kept of one runner; beyond it only counts are believed.
const MOST_NAMES: usize = 200_000;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Passed,
    Failed,
    Skipped,
}

/// Counts of a runner's closing lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

#[derive(Debug, Default)]
pub(super) struct Names {
    known: BTreeMap<String, Status>,
    /// How often a name was added.
    repeats: BTreeMap<String, u32>,
}

impl Names {
    /// One more test; an equal name is another test, so it gets a number.
    pub(super) fn add(&mut self, name: &str, status: Status) {
        if self.known.len() >= MOST_NAMES {
            return;
        }
        if !self.known.contains_key(name) {
            self.known.insert(name.to_owned(), status);
            return;
        }
        let number = self.repeats.entry(name.to_owned()).or_insert(1);
        *number += 1;
        self.known.insert(format!("{name} #{number}"), status);
    }

    /// What a runner says again of the same test; the last word counts.
    pub(super) fn set(&mut self, name: String, status: Status) {
        if self.known.len() < MOST_NAMES || self.known.contains_key(&name) {
            self.known.insert(name, status);
        }
    }

    /// As `set`, but a failure stays one.
    pub(super) fn set_unless_failed(&mut self, name: String, status: Status) {
        if self.known.get(&name) != Some(&Status::Failed) {
            self.set(name, status);
        }
    }

    /// Whether a test failed whose name begins so.
    pub(super) fn any_failed(&self, prefix: &str) -> bool {
        let from = self.known.range(prefix.to_owned()..);
        from.take_while(|(name, _)| name.starts_with(prefix))
            .any(|(_, status)| *status == Status::Failed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// How many ended so.
    fn count(&self, status: Status) -> u64 {
        self.known.values().filter(|known| **known == status).count() as u64
    }

    /// The report; where the runner printed no counts, those of the names.
    pub(super) fn report(self, counts: Option<Counts>) -> TestReport {
        let counts = counts.unwrap_or_else(|| Counts {
            passed: self.count(Status::Passed),
            failed: self.count(Status::Failed),
            skipped: self.count(Status::Skipped),
        });
        let mut report = TestReport {
            passed_count: counts.passed,
            failed_count: counts.failed,
            skipped_count: counts.skipped,
            ..TestReport::default()
        };
        for (name, status) in self.known {
            match status {
                Status::Passed => report.passed.push(name),
                Status::Failed => report.failed.push(name),
                Status::Skipped => report.skipped.push(name),
            }
        }
        report
    }
}

/// The number at the start of a text, and what follows it.
pub(super) fn leading_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}
