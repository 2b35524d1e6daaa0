//! Classifies a failure: structured evidence first, then what the text says, then where it was.

mod rules;
mod structured;

use journeyman_domain::failure::{Category, Classification, Evidence, Phase};
use journeyman_domain::redact::Redactor;

use crate::fingerprint::{Subject, fingerprint};
use crate::window::{boundary, is_hit, windows};
use crate::{crash, frames};

/// Bytes of a headline.
const HEADLINE_BYTES: usize = 200;

/// What one way of looking found.
#[derive(Clone, Debug, PartialEq)]
struct Finding {
    category: Category,
    kind: String,
    /// Whether the kind alone makes two failures one kind.
    kind_is_telling: bool,
    /// The line that says it; empty where no line does.
    headline: String,
    confidence: f64,
    by: String,
}

/// Classifies a failure. Pure; the work is linear in the text, and only the first and last
/// windows around faults of a large text are looked at closely.
pub fn classify(evidence: &Evidence) -> Classification {
    let text = windows(&evidence.text);
    let finding = structured::certain(evidence)
        .or_else(|| rules::by_text(evidence, &text))
        .or_else(|| structured::likely(evidence))
        .unwrap_or_else(|| by_place(evidence));
    let headline =
        if finding.headline.is_empty() { first_fault(&text) } else { finding.headline.as_str() };
    let frames = frames::frames(&text);
    let prints = fingerprint(&Subject {
        category: finding.category,
        kind: &finding.kind,
        kind_is_telling: finding.kind_is_telling,
        headline,
        frames: &frames,
        text: &text,
    });
    Classification {
        category: finding.category,
        class: finding.category.class(),
        severity: finding.category.severity(),
        headline: shown(headline, &finding, evidence),
        kind: finding.kind,
        fingerprint: prints.exact,
        group: prints.group,
        confidence: finding.confidence,
        classified_by: finding.by,
    }
}

/// The functions of the program's own code that a failure's text shows, innermost first.
pub fn stack(text: &str) -> Vec<String> {
    frames::frames(&windows(text))
}

/// The message of a failed check, an assertion or a panic in a crash's text, where it has one.
pub fn crash_message(text: &str) -> Option<String> {
    crash::crash(&windows(text)).filter(|crash| crash.message_tells).map(|crash| crash.headline)
}

/// The first line that speaks of a fault, else the last line.
fn first_fault(text: &str) -> &str {
    let hit = text.lines().map(str::trim).find(|line| is_hit(line));
    hit.or_else(|| text.lines().map(str::trim).rfind(|line| !line.is_empty())).unwrap_or_default()
}

fn shown(headline: &str, finding: &Finding, evidence: &Evidence) -> String {
    let line = headline.lines().next().unwrap_or_default();
    if line.is_empty() {
        let source = evidence.source.as_deref().unwrap_or_default();
        if let (false, Some(code)) = (source.is_empty(), evidence.exit_code) {
            let said = format!("{source} ended with exit code {code} and said nothing");
            return said[..boundary(&said, HEADLINE_BYTES)].to_owned();
        }
        return if finding.kind.is_empty() {
            finding.category.to_string()
        } else {
            finding.kind.clone()
        };
    }
    let clean = Redactor::default().redact(line).into_owned();
    clean[..boundary(&clean, HEADLINE_BYTES)].to_owned()
}

/// Where nothing speaks, the place does: what a check is for is what failed.
fn by_place(evidence: &Evidence) -> Finding {
    let source = evidence.source.as_deref().unwrap_or_default();
    let about = |words: &[&str]| words.iter().any(|word| source.contains(word));
    let category = match evidence.phase {
        Phase::Prepare if source.is_empty() => Category::Unknown,
        Phase::Prepare => Category::DependencyResolution,
        Phase::Verify if about(&["lint", "clippy", "ruff", "vet", "fmt", "format"]) => {
            Category::Lint
        }
        Phase::Verify if about(&["test", "spec"]) => Category::TestAssertion,
        Phase::Verify if about(&["check", "build", "tsc", "compile"]) => Category::BuildCompile,
        // The runtime's own tools, which refuse what is no file or does not match.
        Phase::Act if matches!(source, "edit" | "read" | "restore") => Category::ToolMisuse,
        Phase::Verify | Phase::Act | Phase::Deliver => Category::Unknown,
    };
    let confidence = if category == Category::Unknown { 0.0 } else { 0.4 };
    Finding {
        category,
        kind: String::new(),
        kind_is_telling: false,
        headline: String::new(),
        confidence,
        by: "place".to_owned(),
    }
}

#[cfg(test)]
mod tests;
