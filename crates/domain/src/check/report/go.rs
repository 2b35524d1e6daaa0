//! `go test`: plain, verbose and JSON.

use serde::Deserialize;

use super::names::Status;
use super::{Names, Reader, TestReport};

/// Without `-v` go names only packages and failures, so a package counts as one test then.
#[derive(Default)]
pub(super) struct GoTest {
    names: Names,
    packages: Names,
    /// Tests whose package is named only after them.
    waiting: Vec<(String, Status)>,
    verbose: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    package: Option<String>,
    import_path: Option<String>,
    test: Option<String>,
}

impl GoTest {
    fn event(&mut self, line: &str) {
        let Ok(event) = serde_json::from_str::<Event>(line) else {
            return;
        };
        let status = match event.action.as_str() {
            "pass" => Status::Passed,
            "fail" => Status::Failed,
            "skip" => Status::Skipped,
            _ => return,
        };
        self.verbose = true;
        match (event.package.or(event.import_path), event.test) {
            (Some(package), Some(test)) => self.names.set(format!("{package} {test}"), status),
            (Some(package), None) => self.packages.set(package, status),
            (None, _) => {}
        }
    }

    fn package(&mut self, package: &str, status: Status) {
        for (test, status) in self.waiting.drain(..) {
            self.names.set(format!("{package} {test}"), status);
        }
        self.packages.set(package.to_owned(), status);
    }
}

impl Reader for GoTest {
    fn line(&mut self, line: &str) {
        if line.starts_with("{\"") && line.contains("\"Action\":") {
            self.event(line);
        } else if line.starts_with("=== RUN ") {
            self.verbose = true;
        } else if let Some(rest) = line.strip_prefix("ok  \t") {
            self.package(rest.split('\t').next().unwrap_or(rest), Status::Passed);
        } else if let Some(rest) = line.strip_prefix("FAIL\t") {
            let package = rest.split(['\t', ' ']).next().unwrap_or(rest);
            self.package(package, Status::Failed);
        } else if let Some((test, status)) = ended(line) {
            self.waiting.push((test, status));
        }
    }

    fn finish(mut self: Box<Self>) -> Option<TestReport> {
        if self.packages.is_empty() && self.names.is_empty() {
            return None;
        }
        if !self.verbose {
            return Some(self.packages.report(None));
        }
        for (test, status) in std::mem::take(&mut self.waiting) {
            self.names.set(test, status);
        }
        // A package that does not build has no tests to fail; it fails itself.
        for package in self.packages.report(None).failed {
            if !self.names.any_failed(&format!("{package} ")) {
                self.names.set(package, Status::Failed);
            }
        }
        Some(self.names.report(None))
    }
}

/// "--- PASS: TestX/sub (0.00s)"; what the test printed last may stand before it.
fn ended(line: &str) -> Option<(String, Status)> {
    let rest = &line[line.find("--- ")? + 4..];
    let (word, rest) = rest.split_once(": ")?;
    let status = match word {
        "PASS" => Status::Passed,
        "FAIL" => Status::Failed,
        "SKIP" => Status::Skipped,
        _ => return None,
    };
    let (test, time) = rest.rsplit_once(" (")?;
    time.ends_with("s)").then(|| (test.to_owned(), status))
}
