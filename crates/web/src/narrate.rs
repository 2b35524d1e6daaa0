//! A journal entry as one line for a person. Pure.
//!
//! The words come from programs and agents as well, so no terminal code of theirs gets through.

use std::fmt::Write as _;

use journeyman_domain::check::CheckOutcome;
use journeyman_domain::check::output::without_escapes;
use journeyman_domain::step::{Entry, Outcome};
use journeyman_domain::tool::{Ended, ToolCall, ToolResult};
use journeyman_domain::verdict::{Comparison, Verdict};

/// Items of a list that a line shows at the most.
const SHOWN: usize = 3;

mod model;

/// Tells a run's journal from its beginning: a result is told with the title of its call.
#[derive(Debug, Default)]
pub(crate) struct Narrator {
    /// Those without a result so far.
    calls: Vec<ToolCall>,
}

impl Narrator {
    /// The line of the next entry; empty where there is nothing to say.
    pub(crate) fn line(&mut self, entry: &Entry) -> String {
        let line = match entry {
            Entry::Started { driver, plan, base_commit, uncommitted, .. } => {
                let names: Vec<_> = plan.checks.iter().map(|check| check.name.as_str()).collect();
                let checks = if names.is_empty() {
                    "no checks were found".to_owned()
                } else {
                    format!("checks: {}", names.join(", "))
                };
                let without = match uncommitted {
                    0 => String::new(),
                    1 => ", without 1 file that is not committed".to_owned(),
                    count => format!(", without {count} files that are not committed"),
                };
                format!("{driver} starts from {}{without}; {checks}", abbreviated(base_commit))
            }
            Entry::BaseChecked { checks } if checks.is_empty() => String::new(),
            Entry::BaseChecked { checks } => {
                let lines: Vec<_> = checks.iter().map(check).collect();
                let took = checks.iter().map(|outcome| outcome.duration_ms).sum();
                timed(format!("before: {}", lines.join("; ")), took)
            }
            Entry::ModelResponse { turn, cost_nanousd, duration_ms, .. } => {
                timed(model::said(turn, *cost_nanousd), *duration_ms)
            }
            Entry::ModelFailed { failure, .. } => format!("the model: {}", failure.message),
            Entry::Resumed { .. } => "goes on".to_owned(),
            Entry::ToolIntent { call, .. } => {
                self.calls.push(call.clone());
                String::new()
            }
            Entry::ToolResult { result } => self.result(result),
            Entry::ClaimedDone { finished, summary } => {
                let word = if *finished { "done, by its word" } else { "can do no more" };
                joined(word, summary)
            }
            Entry::Verification { verdict, checks, files_changed, .. } => {
                verification(verdict, checks, *files_changed)
            }
            Entry::RoundStarted { round, .. } => format!("round {round}: evidence went back"),
            Entry::Approved => "approved by the user".to_owned(),
            Entry::Delivered { branch: Some(branch), commit, .. } => {
                let commit = commit.as_deref().map(abbreviated).unwrap_or_default();
                format!("delivered: branch {branch} at {commit}")
            }
            Entry::Delivered { patch: Some(patch), .. } => format!("delivered: patch {patch}"),
            Entry::Delivered { .. } | Entry::ModelRequest { .. } => String::new(),
            Entry::LimitReached { hit } => hit.to_string(),
            Entry::Refused { reason, .. } => format!("it waits: {reason}"),
            Entry::Outcome { outcome } => ended(outcome),
        };
        one_line(&line)
    }

    fn result(&mut self, result: &ToolResult) -> String {
        let place = self.calls.iter().position(|call| call.call_id == result.call_id);
        let call = place.map(|place| self.calls.remove(place));
        let title = call.map_or_else(|| "a call".to_owned(), |call| call.title);
        let mut how = said(&result.ended);
        if !result.ended.is_success() && result.tail.is_none() {
            match errors(&result.head) {
                0 => {}
                1 => how.push_str(", 1 error"),
                count => {
                    let _ = write!(how, ", {count} errors");
                }
            }
        }
        timed(format!("{title}  {how}"), result.duration_ms)
    }
}

fn said(ended: &Ended) -> String {
    match ended {
        Ended::Exited { code: 0 } => "ok".to_owned(),
        Ended::Exited { code: 1 | 101 } => "failed".to_owned(),
        Ended::Exited { code } => format!("failed with exit code {code}"),
        Ended::Signalled { signal } => format!("ended by signal {signal}"),
        Ended::TimedOut { after_ms } => format!("stopped after {}", duration(*after_ms)),
        Ended::Refused { reason } => format!("not done: {reason}"),
        Ended::Interrupted => "interrupted".to_owned(),
    }
}

/// Errors in the output of compilers and linters of the rustc family, as text or JSON lines.
fn errors(output: &str) -> usize {
    let is_error = |line: &str| {
        let closing = line.contains("aborting due to") || line.contains("could not compile");
        let text = line.starts_with("error:") || line.starts_with("error[");
        let json = line.starts_with('{') && line.contains("\"level\":\"error\"");
        (text || json) && !closing
    };
    output.lines().filter(|line| is_error(line)).count()
}

/// "cargo test failed, 2 of 12 tests fail".
fn check(outcome: &CheckOutcome) -> String {
    let how = if outcome.passed() { "passed".to_owned() } else { said(&outcome.ended) };
    let mut line = format!("{} {how}", outcome.check);
    if let Some(tests) = outcome.tests.as_ref().filter(|tests| tests.failed_count > 0) {
        let all = tests.passed_count + tests.failed_count;
        // Writing to a String cannot fail.
        let _ = write!(line, ", {} of {all} tests fail", tests.failed_count);
    }
    line
}

fn verification(verdict: &Verdict, checks: &[CheckOutcome], files_changed: usize) -> String {
    if !verdict.checked {
        return "nothing could check the change".to_owned();
    }
    if !verdict.verified {
        return format!("not verified: {}", some(&verdict.reasons));
    }
    let became: Vec<_> = verdict
        .checks
        .iter()
        .map(|(check, comparison)| format!("{check} {}", word(*comparison)))
        .collect();
    let changed = match files_changed {
        0 => "nothing had to change".to_owned(),
        1 => "1 file changed".to_owned(),
        count => format!("{count} files changed"),
    };
    let took = checks.iter().map(|outcome| outcome.duration_ms).sum();
    timed(format!("verified: {}; {changed}", became.join(", ")), took)
}

const fn word(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Passes => "passes",
        Comparison::Mended => "mended",
        Comparison::Broken => "broken",
        Comparison::Better => "better",
        Comparison::StillFails => "still fails",
    }
}

fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Verified => "completed, verified".to_owned(),
        Outcome::Unverified => "completed, not verified".to_owned(),
        Outcome::Failed { reason, .. } => joined("failed", reason),
        Outcome::TimedOut { reason } => joined("out of time", reason),
    }
}

fn joined(word: &str, more: &str) -> String {
    if more.trim().is_empty() { word.to_owned() } else { format!("{word}: {}", more.trim()) }
}

fn some(items: &[String]) -> String {
    let mut shown: Vec<_> = items.iter().take(SHOWN).cloned().collect();
    if items.len() > SHOWN {
        shown.push(format!("{} more", items.len() - SHOWN));
    }
    shown.join("; ")
}

fn abbreviated(commit: &str) -> &str {
    commit.get(..8).unwrap_or(commit)
}

/// All lines as one, without control characters, of at most 300 characters.
pub(crate) fn one_line(text: &str) -> String {
    let text = without_escapes(text);
    let line = text.split(['\n', '\r', '\t']).map(str::trim_end).filter(|part| !part.is_empty());
    let line = line.collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 300 {
        return line;
    }
    line.chars().take(299).chain(['…']).collect()
}

/// A line with its duration; what takes no time needs no figure.
fn timed(line: String, ms: u64) -> String {
    match ms {
        ..100 => line,
        _ => format!("{line}  {}", duration(ms)),
    }
}

/// "0.4 s", "12 s", "3 min 05 s", "2 h 10 min".
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        ..10 => format!("{seconds}.{} s", (ms % 1000) / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, (seconds % 3600) / 60),
    }
}

#[cfg(test)]
mod tests {
    use journeyman_domain::check::{CheckKind, TestReport};
    use journeyman_domain::failure::Policy;
    use journeyman_domain::tool::{EffectClass, Tool};

    use super::*;

    fn intent(call_id: &str, title: &str) -> Entry {
        Entry::ToolIntent {
            call: ToolCall {
                call_id: call_id.into(),
                title: title.into(),
                tool: Tool::Edit { edits: vec![] },
            },
            effect: EffectClass::Workspace,
        }
    }

    fn result(call_id: &str, ended: Ended, head: &str, tail: Option<&str>) -> Entry {
        Entry::ToolResult {
            result: ToolResult {
                call_id: call_id.into(),
                ended,
                head: head.into(),
                tail: tail.map(str::to_owned),
                output_bytes: 1,
                duration_ms: 1234,
                changed: false,
            },
        }
    }

    fn outcome(code: i32, tests: Option<(u64, u64)>) -> CheckOutcome {
        CheckOutcome {
            check: "cargo test".into(),
            kind: CheckKind::Test,
            ended: Ended::Exited { code },
            duration_ms: 61_000,
            tests: tests.map(|(passed_count, failed_count)| TestReport {
                passed_count,
                failed_count,
                ..TestReport::default()
            }),
            head: String::new(),
            tail: None,
        }
    }

    fn told(entries: &[Entry]) -> String {
        let mut narrator = Narrator::default();
        let lines = entries.iter().map(|entry| narrator.line(entry));
        lines.last().unwrap_or_default()
    }

    #[test]
    fn a_result_bears_the_title_of_its_own_call() {
        let check = intent("1", "cargo check");
        let text = "error[E0308]: mismatched\n  error: no\nerror: x\nerror: aborting due to 2 previous errors\nerror: could not compile `x`\n";
        let failed = Ended::Exited { code: 101 };
        let failing = result("1", failed.clone(), text, None);
        assert_eq!(told(&[check.clone(), failing]), "cargo check  failed, 2 errors  1.2 s");
        let json = "{\"message\":{\"level\":\"error\",\"message\":\"x\"}}\n{\"message\":{\"level\":\"error\",\"message\":\"aborting due to 1 previous error\"}}\n{\"message\":{\"level\":\"warning\"}}";
        let failing = result("1", failed.clone(), json, None);
        assert_eq!(told(&[check.clone(), failing]), "cargo check  failed, 1 error  1.2 s");
        // Where the output was cut, a count would be a guess.
        let cut = result("1", failed, text, Some("…"));
        assert_eq!(told(&[check.clone(), cut]), "cargo check  failed  1.2 s");
        let ok = result("2", Ended::Exited { code: 0 }, "error: words", None);
        assert_eq!(told(&[check, ok]), "a call  ok  1.2 s");
    }

    #[test]
    fn a_verdict_is_one_line() {
        let mut verdict = Verdict {
            verified: true,
            checked: true,
            checks: vec![
                ("cargo build".into(), Comparison::Mended),
                ("cargo test".into(), Comparison::Better),
            ],
            newly_failing: vec![],
            newly_passing: vec![],
            missing: vec![],
            edited_tests: vec![],
            edited_checks: vec![],
            reasons: vec![],
        };
        let entry = |verdict: &Verdict, checks| Entry::Verification {
            tree: "t".into(),
            verdict: verdict.clone(),
            checks,
            failures: vec![],
            policy: Policy::RetryWithEvidence,
            evidence: String::new(),
            files_changed: 2,
        };
        assert_eq!(
            told(&[entry(&verdict, vec![outcome(0, None)])]),
            "verified: cargo build mended, cargo test better; 2 files changed  1 min 01 s"
        );
        verdict.verified = false;
        verdict.reasons = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        assert_eq!(told(&[entry(&verdict, vec![])]), "not verified: a; b; c; 2 more");
        verdict.checked = false;
        assert_eq!(told(&[entry(&verdict, vec![])]), "nothing could check the change");
        let base =
            Entry::BaseChecked { checks: vec![outcome(101, Some((10, 2))), outcome(0, None)] };
        assert_eq!(
            told(&[base]),
            "before: cargo test failed, 2 of 12 tests fail; cargo test passed  2 min 02 s"
        );
    }

    #[test]
    fn foreign_words_stay_on_their_line_and_send_no_codes() {
        let claim = |summary: &str| Entry::ClaimedDone { finished: true, summary: summary.into() };
        assert_eq!(
            told(&[claim("\u{1b}[31mred\u{1b}[0m\u{7}\nsecond line")]),
            "done, by its word: red second line"
        );
        assert_eq!(told(&[claim(" \n")]), "done, by its word");
        let long = told(&[claim(&"ä".repeat(1000))]);
        assert_eq!(long.chars().count(), 300);
        assert!(long.ends_with('…'));
    }
}
