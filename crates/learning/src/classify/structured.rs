//! Evidence that is no text: time limits, HTTP status, SQLSTATE, exit codes and signals.

use journeyman_domain::failure::{CLAIM, Category, Evidence, Phase, VERDICT};

use super::Finding;

fn finding(category: Category, kind: String, confidence: f64, by: &str) -> Finding {
    Finding {
        category,
        kind,
        kind_is_telling: true,
        headline: String::new(),
        confidence,
        by: by.to_owned(),
    }
}

/// What leaves no doubt, whatever the text says.
pub(super) fn certain(evidence: &Evidence) -> Option<Finding> {
    if evidence.timed_out {
        let source = evidence.source.as_deref().unwrap_or("run");
        return Some(finding(
            Category::TimeoutHard,
            format!("timeout:{source}"),
            1.0,
            "time limit",
        ));
    }
    // The wire's own codes were read before.
    if let Some(kind) = evidence.model_failure {
        return Some(finding(kind.category(), format!("model:{kind}"), 1.0, "model call"));
    }
    if let Some(state) = &evidence.sqlstate {
        let category = match state.get(..2) {
            Some("53") if state == "53100" => Category::ResourceDisk,
            _ => Category::InfraDatabase,
        };
        return Some(finding(category, format!("sqlstate:{state}"), 1.0, "sqlstate"));
    }
    if let Some(found) = judged(evidence) {
        return Some(found);
    }
    evidence.http_status.and_then(|status| http(status, &evidence.text))
}

/// What the runtime's own judgement found although no program failed. Its text is the reasons, which
/// no matcher for the output of tools may read.
fn judged(evidence: &Evidence) -> Option<Finding> {
    let category = match (evidence.phase, evidence.source.as_deref()?) {
        (Phase::Verify, CLAIM) => Category::AgentFalseSuccess,
        (Phase::Verify, VERDICT) => Category::AgentStuck,
        _ => return None,
    };
    let headline = evidence.text.lines().next().unwrap_or_default().to_owned();
    let found = finding(category, String::new(), 1.0, "verdict");
    Some(Finding { headline, kind_is_telling: false, ..found })
}

/// An HTTP status; where one status has several meanings, the provider's code decides.
fn http(status: u16, text: &str) -> Option<Finding> {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let category = match status {
        402 => Category::Budget,
        429 if says(&["insufficient_quota", "exceeded your current quota", "credit balance"]) => {
            Category::Budget
        }
        429 | 529 => Category::ProviderRateLimit,
        401 | 403 => Category::ProviderAuth,
        400 | 413
            if says(&[
                "context_length_exceeded",
                "maximum context",
                "too long",
                "too many tokens",
                "context window",
            ]) =>
        {
            Category::ContextOverflow
        }
        400 if says(&["credit balance is too low", "billing"]) => Category::Budget,
        408 | 409 | 425 | 500..=599 => Category::ProviderTransient,
        400..=499 => Category::ProviderInvalid,
        _ => return None,
    };
    Some(finding(category, format!("http:{status}"), 1.0, "http status"))
}

/// What a program's end suggests where its text says nothing.
pub(super) fn likely(evidence: &Evidence) -> Option<Finding> {
    let signal = evidence.signal.or_else(|| {
        evidence.exit_code.filter(|code| (129..=159).contains(code)).map(|code| code - 128)
    });
    if let Some(signal) = signal {
        let (category, confidence) = match signal {
            // Nobody but the kernel's memory killer kills so, since the runtime's own limit is known.
            9 => (Category::ResourceMemory, 0.6),
            4 | 5 | 6 | 7 | 8 | 11 | 31 => (Category::ProgramCrash, 0.9),
            24 => (Category::TimeoutHard, 0.8),
            _ => (Category::Unknown, 0.2),
        };
        return Some(finding(category, format!("signal:{signal}"), confidence, "signal"));
    }
    let (category, confidence) = match evidence.exit_code? {
        124 => (Category::TimeoutHard, 0.6),
        126 => (Category::SandboxDenied, 0.6),
        127 => (Category::EnvMissing, 0.8),
        _ => return None,
    };
    Some(finding(category, format!("exit:{}", evidence.exit_code?), confidence, "exit code"))
}
