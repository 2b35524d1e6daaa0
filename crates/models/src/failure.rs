//! What a provider's refusal means.
//!
//! Owns: the map from statuses, error codes and, last, words to the kinds of failure, and the one
//! sentence that a person reads. Typed code first, words second. Must never take the provider's
//! text for more than text: it is cut, made one line, and only looked at for known phrases.

use journeyman_domain::model::{FailureKind, ModelFailure};
use serde_json::Value;

use crate::limits::named_wait_ms;

/// Characters of a provider's words that a sentence keeps.
const MOST_WORDS: usize = 500;

/// What a provider said of an error, wherever it said so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Its code and its type, in small letters.
    codes: Vec<String>,
    /// Its words on one line, cut.
    words: String,
}

impl Complaint {
    /// From the body of an answer: JSON of any of the known forms, else its text.
    pub(crate) fn of_body(body: &str) -> Self {
        if let Ok(value) = serde_json::from_str::<Value>(body) {
            return Self::of_json(&value);
        }
        let text = body.trim_start();
        let words = if text.starts_with('<') { "an HTML page" } else { text };
        Self { codes: Vec::new(), words: one_line(words) }
    }

    /// From JSON: `{"error": {...}}`, `{"error": "..."}`, `{"message": ...}`, `{"detail": ...}`, or
    /// the error itself; some gateways wrap it into a list.
    pub(crate) fn of_json(value: &Value) -> Self {
        let value = value.get(0).unwrap_or(value);
        let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
        let mut codes = Vec::new();
        for source in [error, value] {
            for key in ["code", "type", "status"] {
                if let Some(code) = source.get(key).and_then(Value::as_str) {
                    codes.push(code.to_ascii_lowercase());
                }
            }
        }
        let message = ["message", "detail", "error", "msg"]
            .into_iter()
            .filter_map(|key| error.get(key))
            .find_map(|said| match said {
                Value::String(text) => Some(text.clone()),
                Value::Array(list) => list.first()?.get("msg")?.as_str().map(str::to_owned),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
            });
        let words = match (message, error) {
            (Some(message), _) => message,
            (None, Value::String(text)) => text.clone(),
            (None, other) => other.to_string(),
        };
        Self { codes, words: one_line(&words) }
    }

    fn has(&self, known: &[&str]) -> bool {
        self.codes.iter().any(|code| known.contains(&code.as_str()))
    }
}

/// What the codes themselves say, whatever the status.
fn by_code(complaint: &Complaint) -> Option<FailureKind> {
    let money = ["billing", "insufficient_quota", "credit", "spend_limit", "spending_limit"];
    if complaint.codes.iter().any(|code| money.iter().any(|part| code.contains(part)))
        || complaint.has(&["payment_required", "usage_not_included", "usage_limit_reached"])
    {
        return Some(FailureKind::Quota);
    }
    if complaint.has(&[
        "context_length_exceeded",
        "context_window_exceeded",
        "model_context_window_exceeded",
        "exceed_context_size_error",
    ]) {
        return Some(FailureKind::ContextOverflow);
    }
    if complaint.has(&[
        "content_policy_violation",
        "content_filter",
        "responsibleaipolicyviolation",
    ]) || complaint.codes.iter().any(|code| code.contains("policy"))
    {
        return Some(FailureKind::ContentPolicy);
    }
    if complaint.has(&["invalid_api_key", "authentication_error"]) {
        return Some(FailureKind::Auth);
    }
    complaint.has(&["model_not_found"]).then_some(FailureKind::NotFound)
}

/// What the words say, where the status leaves it open.
fn by_words(words: &str) -> Option<FailureKind> {
    let words = words.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    if says(&[
        "prompt is too long",
        "maximum context length",
        "context length exceeded",
        "exceed context limit",
        "exceeds the context window",
        "exceeds the model's context",
        "exceeds the available context size",
        "input is too long for",
    ]) {
        return Some(FailureKind::ContextOverflow);
    }
    if says(&[
        "credit balance is too low",
        "current quota",
        "insufficient credit",
        "out of credits",
        "spend limit",
        "spending limit",
        "api usage limits",
        "billing",
    ]) {
        return Some(FailureKind::Quota);
    }
    says(&[
        "content policy",
        "content management policy",
        "usage policy",
        "usage policies",
        "content filtering policy",
    ])
    .then_some(FailureKind::ContentPolicy)
}

/// What is left where neither codes nor words were specific: the general types of errors.
fn by_general_code(complaint: &Complaint) -> FailureKind {
    if complaint.has(&[
        "overloaded_error",
        "server_overloaded",
        "server_is_overloaded",
        "slow_down",
    ]) {
        FailureKind::Overloaded
    } else if complaint.has(&["rate_limit_exceeded", "rate_limit_error", "too_many_requests"]) {
        FailureKind::RateLimit
    } else if complaint.has(&["permission_error"]) {
        FailureKind::Auth
    } else if complaint.has(&["not_found_error"]) {
        FailureKind::NotFound
    } else if complaint.has(&["invalid_request_error", "invalid_prompt", "request_too_large"]) {
        FailureKind::Invalid
    } else {
        FailureKind::Transient
    }
}

/// The kind of a refusal. `status` is `None` for an error inside an answer that began well.
pub(crate) fn kind(status: Option<u16>, complaint: &Complaint) -> FailureKind {
    if status == Some(401) {
        return FailureKind::Auth;
    }
    if let Some(kind) = by_code(complaint) {
        return kind;
    }
    // llama.cpp and vLLM answer 500 to a prompt that is too long; others' 5xx are taken as they
    // are, since such pages say anything.
    let words = match status {
        None | Some(400 | 403 | 413 | 422 | 429) => by_words(&complaint.words),
        Some(500) => {
            by_words(&complaint.words).filter(|kind| matches!(kind, FailureKind::ContextOverflow))
        }
        Some(_) => None,
    };
    if let Some(kind) = words {
        return kind;
    }
    match status {
        None => by_general_code(complaint),
        Some(402) => FailureKind::Quota,
        Some(403) => FailureKind::Auth,
        // A redirect says that the address is not the API's.
        Some(300..=399 | 404 | 410) => FailureKind::NotFound,
        Some(429) => FailureKind::RateLimit,
        Some(503 | 529) => FailureKind::Overloaded,
        Some(408 | 409 | 425 | 500..) => FailureKind::Transient,
        Some(400..=499) => FailureKind::Invalid,
        Some(..=299) => FailureKind::Protocol,
    }
}

/// A refusal by HTTP status. Waits named by headers stand above the one in the words.
pub(crate) fn of_status(
    provider: &str,
    status: u16,
    reason: Option<&str>,
    complaint: &Complaint,
) -> ModelFailure {
    let head = match reason {
        Some(reason) => format!("{provider} answered {status} {reason}"),
        None => format!("{provider} answered {status}"),
    };
    ModelFailure {
        http_status: Some(status),
        retry_after_ms: named_wait_ms(&complaint.words),
        ..ModelFailure::of(kind(Some(status), complaint), sentence(&head, &complaint.words))
    }
}

/// An error inside an answer that began with status 200.
pub(crate) fn in_stream(provider: &str, complaint: &Complaint) -> ModelFailure {
    let head = format!("{provider} broke off its answer with an error");
    ModelFailure {
        http_status: Some(200),
        retry_after_ms: named_wait_ms(&complaint.words),
        ..ModelFailure::of(kind(None, complaint), sentence(&head, &complaint.words))
    }
}

/// An answer that is not what the wire format says.
pub(crate) fn protocol(provider: &str, what: &str) -> ModelFailure {
    ModelFailure {
        http_status: Some(200),
        ..ModelFailure::of(FailureKind::Protocol, format!("{provider} {what}"))
    }
}

/// A stream that ended before the answer did.
pub(crate) fn cut_off(provider: &str) -> ModelFailure {
    ModelFailure {
        http_status: Some(200),
        ..ModelFailure::of(
            FailureKind::Network,
            format!("the stream of {provider} ended before the answer was complete"),
        )
    }
}

fn sentence(head: &str, words: &str) -> String {
    if words.is_empty() { head.to_owned() } else { format!("{head}: {words}") }
}

/// On one line, without control characters, cut.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    // What is cut is never looked at, however long it is.
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if let Some((at, _)) = line.char_indices().nth(MOST_WORDS) {
            line.truncate(at);
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests;
