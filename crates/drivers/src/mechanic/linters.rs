//! Reads what ruff and eslint write as JSON, and the file lists of formatters.

use journeyman_domain::tool::Ended;
use serde::Deserialize;

use super::place::inside;
use super::report::{Fix, Phase, Place, Problem, Report, Suggested};

#[derive(Deserialize)]
struct RuffLine {
    cell: Option<serde::de::IgnoredAny>,
    code: Option<String>,
    message: String,
    filename: String,
    location: Option<Position>,
    fix: Option<RuffFix>,
}

#[derive(Clone, Copy, Deserialize)]
struct Position {
    row: usize,
    column: usize,
}

#[derive(Deserialize)]
struct RuffFix {
    applicability: String,
    edits: Vec<RuffEdit>,
}

#[derive(Deserialize)]
struct RuffEdit {
    content: String,
    location: Position,
    end_location: Position,
}

/// Reads `ruff check --output-format=json-lines`.
pub(super) fn ruff(output: &str, ended: &Ended, workspace: &str) -> Report {
    let mut report = linted("ruff", ended);
    for line in output.lines().filter(|line| line.starts_with('{')) {
        let Ok(line) = serde_json::from_str::<RuffLine>(line) else {
            report.complete = false;
            continue;
        };
        let path = inside(workspace, "", &line.filename).unwrap_or_default();
        let is_syntax = line.code.as_deref().is_none_or(|code| code == "invalid-syntax");
        let row = line.location.map_or(0, |at| at.row);
        let place = row * 10_000 + line.location.map_or(0, |at| at.column);
        let fix = line
            .fix
            .filter(|fix| fix.applicability == "safe" && line.cell.is_none() && !path.is_empty());
        let problem = Problem {
            unit: "ruff".to_owned(),
            phase: if is_syntax { Phase::Syntax } else { Phase::Lint },
            code: line.code.unwrap_or_else(|| "syntax".to_owned()),
            message: line.message,
            line: row,
            line_text: String::new(),
            fix: fix.map(|fix| Fix {
                sure: true,
                edits: fix.edits.into_iter().map(|edit| ruff_edit(edit, &path)).collect(),
            }),
            path,
        };
        report.add(place, problem);
    }
    report
}

fn ruff_edit(edit: RuffEdit, path: &str) -> Suggested {
    let at = |position: Position| (position.row, position.column);
    Suggested {
        path: path.to_owned(),
        place: Place::Rows { start: at(edit.location), end: at(edit.end_location) },
        replacement: edit.content,
        line_text: None,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EslintFile {
    file_path: String,
    messages: Vec<EslintMessage>,
    source: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EslintMessage {
    rule_id: Option<String>,
    severity: u8,
    #[serde(default)]
    fatal: bool,
    message: String,
    line: Option<usize>,
    #[serde(default)]
    column: usize,
    fix: Option<EslintFix>,
}

#[derive(Deserialize)]
struct EslintFix {
    /// Signed: -1 stands for the byte order mark, which stays.
    range: (i64, i64),
    text: String,
}

/// Reads `eslint --format=json`.
pub(super) fn eslint(output: &str, ended: &Ended, workspace: &str) -> Report {
    let mut report = linted("eslint", ended);
    let files = output
        .lines()
        .filter(|line| line.starts_with('['))
        .find_map(|line| serde_json::from_str::<Vec<EslintFile>>(line).ok());
    let Some(files) = files else {
        return Report::default();
    };
    for file in files {
        let path = inside(workspace, "", &file.file_path).unwrap_or_default();
        for message in file.messages {
            let line = message.line.unwrap_or(0);
            let text =
                file.source.as_deref().and_then(|source| source.lines().nth(line.checked_sub(1)?));
            let place = message.fix.as_ref().and_then(|fix| {
                Some(Place::Utf16 {
                    start: fix.range.0.try_into().ok()?,
                    end: fix.range.1.try_into().ok()?,
                })
            });
            let edit = message.fix.zip(place).filter(|_| !path.is_empty()).map(|(fix, place)| {
                Suggested { path: path.clone(), place, replacement: fix.text, line_text: None }
            });
            let problem = Problem {
                unit: "eslint".to_owned(),
                phase: match (message.fatal, message.severity) {
                    (true, _) => Phase::Syntax,
                    (false, 2..) => Phase::Lint,
                    (false, _) => Phase::Warning,
                },
                code: message.rule_id.unwrap_or_else(|| "syntax".to_owned()),
                message: message.message,
                path: path.clone(),
                line,
                line_text: text.unwrap_or_default().to_owned(),
                fix: edit.map(|edit| Fix { sure: true, edits: vec![edit] }),
            };
            report.add(line * 10_000 + message.column, problem);
        }
    }
    report
}

/// Both linters end with 0 or 1 when they could judge, and with 2 when they could not.
fn linted(unit: &str, ended: &Ended) -> Report {
    let mut report = Report::new(matches!(ended, Ended::Exited { code: 0 | 1 }));
    if report.complete {
        report.reached(unit);
    }
    report
}

/// Reads the list of files that a formatter would change; `mend` is given that list.
pub(super) fn formatter(
    output: &str,
    ended: &Ended,
    workspace: &str,
    mend: impl FnOnce(Vec<String>) -> Vec<String>,
) -> Report {
    let files: Vec<String> = output
        .lines()
        .filter_map(|line| inside(workspace, "", line.trim()))
        .filter(|path| is_source(path))
        .collect();
    let mut report = Report::new(ended.is_success() || !files.is_empty());
    for path in &files {
        let problem = Problem {
            unit: "format".to_owned(),
            phase: Phase::Lint,
            code: "format".to_owned(),
            message: "not formatted".to_owned(),
            path: path.clone(),
            line: 1,
            line_text: String::new(),
            fix: None,
        };
        report.add(0, problem);
    }
    if report.complete {
        report.reached("format");
    }
    if !files.is_empty() {
        report.mend = Some(mend(files));
    }
    report
}

fn is_source(path: &str) -> bool {
    [".rs", ".go"].iter().any(|ending| path.ends_with(ending))
        && !super::expectation::is_protected_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUFF: &str = include_str!("../../../../tests/fixtures/drivers/ruff.jsonl");
    const ESLINT: &str = include_str!("../../../../tests/fixtures/drivers/eslint.json");
    const FAULTS: Ended = Ended::Exited { code: 1 };

    fn codes(report: &Report) -> Vec<(Phase, &str, usize, bool)> {
        report
            .problems
            .iter()
            .map(|p| (p.phase, p.code.as_str(), p.line, p.fix.is_some()))
            .collect()
    }

    #[test]
    fn ruff_is_read_with_its_safe_fixes_only() {
        let report = ruff(RUFF, &FAULTS, "/w");
        let lint = |code, line, fixable| (Phase::Lint, code, line, fixable);
        assert_eq!(
            codes(&report),
            [
                lint("I001", 1, true),
                lint("F401", 1, true),
                lint("F401", 2, true),
                lint("I001", 6, false),
                lint("F401", 6, true),
                lint("F541", 8, true),
            ]
        );
        let edit = &report.problems[1].fix.as_ref().unwrap().edits[0];
        assert_eq!(
            (edit.path.as_str(), edit.place),
            ("pkg/m.py", Place::Rows { start: (1, 1), end: (2, 1) })
        );
        let unsafe_only = RUFF.replace("\"safe\"", "\"unsafe\"");
        assert!(
            ruff(&unsafe_only, &FAULTS, "/w").problems.iter().all(|problem| problem.fix.is_none())
        );
        assert!(!ruff("error: no such option\n", &Ended::Exited { code: 2 }, "/w").ran());
        assert!(
            !ruff(&RUFF[..RUFF.len() - 50], &FAULTS, "/w").complete,
            "cut in the middle of a line"
        );
    }

    #[test]
    fn eslint_is_read_with_errors_and_warnings_apart() {
        let report = eslint(ESLINT, &FAULTS, "/w");
        assert_eq!(
            codes(&report),
            [
                (Phase::Lint, "prefer-const", 2, true),
                (Phase::Lint, "no-var", 3, true),
                (Phase::Warning, "no-extra-boolean-cast", 4, true),
                (Phase::Lint, "no-undef", 4, false),
            ]
        );
        assert!(
            report.complete
                && !eslint("npm error could not determine executable to run\n", &FAULTS, "/w")
                    .ran()
        );
    }

    #[test]
    fn a_formatter_leaves_expected_output_alone() {
        let mend = |files| files;
        let report =
            formatter("/w/a.go\ntestdata/b.go\nc.go\n", &Ended::Exited { code: 0 }, "/w", mend);
        assert_eq!(report.mend, Some(vec!["a.go".to_owned(), "c.go".to_owned()]));
        let clean = formatter("", &Ended::Exited { code: 0 }, "/w", mend);
        assert!(clean.complete && !clean.has_errors() && clean.mend.is_none());
        assert!(!formatter("error: expected item\n", &FAULTS, "/w", mend).ran());
    }
}
