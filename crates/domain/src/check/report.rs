//! Reads what test runners print.
//!
//! Every known runner's reader sees every line once; those that recognise their runner answer, and
//! their answers are added up, since one check may start several runners. Nothing is believed but
//! the runner's own lines: a name is a test only where the runner says how it ended.

mod go;
mod javascript;
mod names;
mod python;
mod rust;

use self::names::Names;
use super::output::{settled, without_escapes};
use super::{Check, CheckKind, TestReport};

/// A runner's reader.
trait Reader {
    /// Takes the next line, without terminal codes.
    fn line(&mut self, line: &str);
    /// What was read; `None` where this runner did not run.
    fn finish(self: Box<Self>) -> Option<TestReport>;
}

/// What the output of a check says of single tests; `None` where no known runner speaks in it.
/// One pass; the work is linear in the output.
pub fn read(check: &Check, output: &str) -> Option<TestReport> {
    if matches!(check.kind, CheckKind::Build | CheckKind::Lint) {
        return None;
    }
    let mut readers: Vec<Box<dyn Reader>> = vec![
        Box::<rust::Libtest>::default(),
        Box::<rust::Nextest>::default(),
        Box::<python::Pytest>::default(),
        Box::<python::Unittest>::default(),
        Box::<go::GoTest>::default(),
        Box::<javascript::Tap>::default(),
        Box::<javascript::NodeSpec>::default(),
        Box::<javascript::Jest>::default(),
        Box::<javascript::Vitest>::default(),
        Box::<javascript::Mocha>::default(),
    ];
    for line in output.lines() {
        let plain = without_escapes(line);
        let line = settled(&plain);
        for reader in &mut readers {
            reader.line(line);
        }
    }
    let reports: Vec<TestReport> = readers.into_iter().filter_map(Reader::finish).collect();
    (!reports.is_empty()).then(|| sum(reports))
}

fn sum(reports: Vec<TestReport>) -> TestReport {
    let mut total = TestReport::default();
    for report in reports {
        total.passed.extend(report.passed);
        total.failed.extend(report.failed);
        total.skipped.extend(report.skipped);
        total.passed_count += report.passed_count;
        total.failed_count += report.failed_count;
        total.skipped_count += report.skipped_count;
    }
    for list in [&mut total.passed, &mut total.failed, &mut total.skipped] {
        list.sort_unstable();
    }
    total
}

#[cfg(test)]
mod tests;
