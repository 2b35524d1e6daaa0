//! Reads what `cargo check` and `cargo clippy` write with `--message-format=json`.

use serde::Deserialize;

use super::place::inside;
use super::report::{Fix, Phase, Place, Problem, Report, Suggested};

/// One line of cargo; only what is used.
#[derive(Deserialize)]
struct Line {
    reason: String,
    #[serde(default)]
    package_id: String,
    target: Option<Target>,
    message: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Target {
    #[serde(default)]
    kind: Vec<String>,
    name: String,
}

#[derive(Deserialize)]
struct Diagnostic {
    message: String,
    code: Option<Code>,
    level: String,
    spans: Vec<Span>,
    children: Vec<Self>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    line_start: usize,
    is_primary: bool,
    #[serde(default)]
    text: Vec<SpanLine>,
    suggested_replacement: Option<String>,
    suggestion_applicability: Option<String>,
    /// Present where the place is the product of a macro, so that nobody wrote it there.
    expansion: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct SpanLine {
    text: String,
}

/// Reads the whole output; `folder` is where the Cargo workspace lies ("" or "sub/folder").
pub(super) fn parse(output: &str, workspace: &str, folder: &str) -> Report {
    let mut report = Report::default();
    for line in output.lines().filter(|line| line.starts_with("{\"reason\":")) {
        let Ok(line) = serde_json::from_str::<Line>(line) else {
            continue;
        };
        if line.reason == "build-finished" {
            report.complete = true;
        }
        let Some(target) = line.target else { continue };
        let unit = format!("{} {} {}", line.package_id, target.kind.join(","), target.name);
        match line.message {
            Some(diagnostic) if line.reason == "compiler-message" => {
                add(&mut report, &unit, &diagnostic, workspace, folder);
            }
            Some(_) | None if line.reason == "compiler-artifact" => report.reached(&unit),
            Some(_) | None => {}
        }
    }
    report
}

fn add(report: &mut Report, unit: &str, diagnostic: &Diagnostic, workspace: &str, folder: &str) {
    let primary = diagnostic.spans.iter().find(|span| span.is_primary);
    let is_error = diagnostic.level.starts_with("error");
    let closing_line =
        primary.is_none() && (!is_error || diagnostic.message.starts_with("aborting due to"));
    if closing_line || !(is_error || diagnostic.level == "warning") {
        return;
    }
    let code = diagnostic.code.as_ref().map(|code| code.code.clone());
    let problem = Problem {
        unit: unit.to_owned(),
        phase: if is_error { phase(code.as_deref(), &diagnostic.message) } else { Phase::Warning },
        code: code.unwrap_or_else(|| "syntax".to_owned()),
        message: diagnostic.message.clone(),
        path: primary
            .and_then(|span| inside(workspace, folder, &span.file_name))
            .unwrap_or_default(),
        line: primary.map_or(0, |span| span.line_start),
        line_text: primary.and_then(first_line).unwrap_or_default(),
        fix: fix(diagnostic, is_error, workspace, folder),
    };
    report.add(primary.map_or(0, |span| span.byte_start), problem);
}

fn first_line(span: &Span) -> Option<String> {
    span.text.first().map(|line| line.text.clone())
}

/// What rustc vouches for; for an error, else, its only guess. To import what has exactly this name
/// is a better guess than another name, and guesses on several names of one line belong together.
fn fix(diagnostic: &Diagnostic, is_error: bool, workspace: &str, folder: &str) -> Option<Fix> {
    let proposes =
        |child: &&Diagnostic| child.spans.iter().any(|span| span.suggested_replacement.is_some());
    let applicable = |child: &Diagnostic, how: &str| {
        child.spans.iter().all(|span| span.suggestion_applicability.as_deref() == Some(how))
    };
    let proposals: Vec<&Diagnostic> = diagnostic.children.iter().filter(proposes).collect();
    let mut vouched = proposals.iter().filter(|child| applicable(child, "MachineApplicable"));
    if let Some(edits) = vouched.find_map(|child| edits(&[child], workspace, folder)) {
        return Some(Fix { sure: true, edits });
    }
    let imports: Vec<&Diagnostic> = proposals
        .iter()
        .copied()
        .filter(|child| child.message.starts_with("consider importing"))
        .collect();
    let guess = if imports.len() == 1 { imports } else { proposals };
    let is_one = is_error
        && !guess.is_empty()
        && guess
            .iter()
            .all(|child| applicable(child, "MaybeIncorrect") && child.message == guess[0].message);
    let edits = is_one.then(|| edits(&guess, workspace, folder))??;
    Some(Fix { sure: false, edits })
}

/// The replacements of these proposals together; `None` where they lie in a macro's product or
/// outside the workspace, or overlap: rustc writes alternatives as replacements of one place.
fn edits(proposals: &[&Diagnostic], workspace: &str, folder: &str) -> Option<Vec<Suggested>> {
    let mut spans: Vec<&Span> = proposals.iter().flat_map(|proposal| &proposal.spans).collect();
    spans.sort_by_key(|span| (&span.file_name, span.byte_start, span.byte_end));
    let overlap = spans.windows(2).any(|pair| {
        pair[0].file_name == pair[1].file_name
            && (pair[1].byte_start < pair[0].byte_end || pair[1].byte_start == pair[0].byte_start)
    });
    if overlap {
        return None;
    }
    spans
        .into_iter()
        .map(|span| {
            Some(Suggested {
                path: span
                    .expansion
                    .is_none()
                    .then(|| inside(workspace, folder, &span.file_name))??,
                place: Place::Bytes { start: span.byte_start, end: span.byte_end },
                replacement: span.suggested_replacement.clone()?,
                line_text: first_line(span),
            })
        })
        .collect()
}

/// The phase of rustc in which an error is found. What is in no list counts as an error of types.
fn phase(code: Option<&str>, message: &str) -> Phase {
    const NAMES: &[&str] = &[
        "E0252", "E0254", "E0255", "E0260", "E0404", "E0405", "E0407", "E0408", "E0411", "E0412",
        "E0415", "E0416", "E0422", "E0423", "E0424", "E0425", "E0426", "E0428", "E0429", "E0430",
        "E0431", "E0433", "E0434", "E0435", "E0437", "E0438", "E0530", "E0531", "E0532", "E0573",
        "E0574", "E0575", "E0576", "E0603",
    ];
    const BORROWS: &[&str] = &[
        "E0004", "E0005", "E0373", "E0381", "E0382", "E0384", "E0499", "E0501", "E0502", "E0503",
        "E0504", "E0505", "E0506", "E0507", "E0508", "E0509", "E0510", "E0515", "E0521", "E0594",
        "E0596", "E0597", "E0621", "E0626", "E0700", "E0712", "E0713", "E0716",
    ];
    match code {
        Some("E0364" | "E0365" | "E0432") => Phase::Imports,
        None if message.starts_with("cannot find") => Phase::Imports,
        None if message.starts_with("lifetime may not") => Phase::Borrows,
        None | Some("E0583" | "E0765" | "E0766" | "E0758") => Phase::Syntax,
        Some(code) if NAMES.contains(&code) => Phase::Names,
        Some(code) if BORROWS.contains(&code) => Phase::Borrows,
        Some(code) if code.len() == 5 && code.starts_with('E') => Phase::Types,
        Some(_) => Phase::Lint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUSTC: &str = include_str!("../../../../tests/fixtures/drivers/rustc.jsonl");
    const CLIPPY: &str = include_str!("../../../../tests/fixtures/drivers/clippy.jsonl");

    /// Phase, code, line, and of the fix whether it is sure and how many edits it has.
    type Row<'a> = (Phase, &'a str, usize, Option<(bool, usize)>);

    fn fixes(report: &Report) -> Vec<Row<'_>> {
        let mut fixes: Vec<_> = report
            .problems
            .iter()
            .map(|p| {
                (
                    p.phase,
                    p.code.as_str(),
                    p.line,
                    p.fix.as_ref().map(|fix| (fix.sure, fix.edits.len())),
                )
            })
            .collect();
        fixes.sort();
        fixes
    }

    #[test]
    fn a_compilers_errors_come_with_the_fixes_that_may_be_tried() {
        let report = parse(RUSTC, "/w", "");
        assert_eq!(
            fixes(&report),
            [
                (Phase::Names, "E0425", 18, Some((false, 1))),
                (Phase::Names, "E0425", 20, Some((false, 1))),
                (Phase::Names, "E0433", 19, Some((false, 1))),
                (Phase::Types, "E0107", 24, None), // its suggestion has placeholders
                (Phase::Types, "E0308", 26, None),
                (Phase::Types, "E0599", 6, None), // in a macro
                (Phase::Borrows, "E0384", 13, Some((true, 1))),
                (Phase::Warning, "unused_imports", 2, Some((true, 1))),
            ]
        );
        assert!(report.complete && report.has_errors());
        let nested = parse(RUSTC, "/w", "sub");
        assert!(nested.problems.iter().all(|problem| problem.path == "sub/src/lib.rs"));
    }

    #[test]
    fn lints_that_fail_the_check_are_errors_and_keep_their_parts_together() {
        let report = parse(CLIPPY, "/w", "");
        assert_eq!(
            fixes(&report),
            [
                (Phase::Lint, "clippy::clone_on_copy", 6, Some((true, 1))),
                (Phase::Lint, "clippy::len_zero", 3, Some((true, 1))),
                (Phase::Lint, "clippy::needless_return", 6, Some((true, 2))),
            ]
        );
    }

    #[test]
    fn alternatives_are_no_suggestion_and_a_cut_output_is_noticed() {
        let twice = r#"{"suggested_replacement":"use b;\n","byte_start":11"#;
        let line = RUSTC.lines().find(|line| line.contains("consider importing")).unwrap();
        let mut message: serde_json::Value = serde_json::from_str(line).unwrap();
        let spans = message["message"]["children"][0]["spans"].as_array_mut().unwrap();
        spans.push(spans[0].clone());
        spans[1]["suggested_replacement"] = "use hashbrown::HashMap;\n".into();
        let line = message.to_string();
        // Keys are sorted when written anew, and cargo writes the reason first.
        let line = line.replacen(r#""reason":"compiler-message","#, "", 1).replacen(
            '{',
            r#"{"reason":"compiler-message","#,
            1,
        );
        let report = parse(&format!("{line}\n{twice}\nerror: could not compile\n"), "/w", "");
        assert_eq!(fixes(&report), [(Phase::Names, "E0425", 18, None)]);
        assert!(!report.complete && report.ran());
        assert!(!parse("error: no matching package named `serde` found\n", "/w", "").ran());
    }
}
