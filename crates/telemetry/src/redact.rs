//! What never leaves in a log line or a span.
//!
//! Owns: the names of private fields, and the secrets that the process registered. Must never:
//! show a registered secret, in whatever field it turns up.

use std::borrow::Cow;
use std::sync::{LazyLock, OnceLock, PoisonError, RwLock};

use journeyman_domain::redact::Redactor;

/// What stands for a removed value.
pub const MASK: &str = "***";
/// The most bytes of one value that are recorded; the rest is cut.
pub const MAX_VALUE_BYTES: usize = 8 * 1024;
/// Last parts of field names whose values are never recorded.
const PRIVATE: &[&str] = &[
    "api_key",
    "apikey",
    "authorization",
    "content",
    "cookie",
    "credential",
    "credentials",
    "env",
    "environment",
    "messages",
    "password",
    "private_key",
    "prompt",
    "secret",
    "system_instructions",
    "token",
];

/// What the process registered, and the redactor of all of it.
static SECRETS: LazyLock<RwLock<(Vec<String>, Redactor)>> = LazyLock::new(RwLock::default);

/// Makes `secret` unspeakable in this process from now on. One that is too short to be told from
/// ordinary words is ignored, as [`Redactor`] says.
pub fn register(secret: &str) {
    let mut known = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    if !known.0.iter().any(|one| one == secret) {
        known.0.push(secret.to_owned());
        known.1 = Redactor::new(known.0.clone());
    }
}

/// Whether the value of this field is never recorded: by the last part of its dotted name.
pub fn is_private(field: &str) -> bool {
    let last = field.rsplit('.').next().unwrap_or(field);
    PRIVATE.iter().any(|private| last.eq_ignore_ascii_case(private))
}

/// The variable by which a user asks for what is said to models and by them, as the conventions for
/// generative AI name it.
pub const CAPTURE_CONTENT: &str = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";

/// Whether spans of model calls hold what was said, without secrets and cut. Only where it was asked
/// for when the process first looked.
pub fn captures_content() -> bool {
    static ASKED: OnceLock<bool> = OnceLock::new();
    *ASKED.get_or_init(|| {
        let words = ["true", "span_only", "span_and_event"];
        let value = std::env::var(CAPTURE_CONTENT).unwrap_or_default();
        words.iter().any(|word| value.eq_ignore_ascii_case(word))
    })
}

/// The whole text without secrets.
pub fn mask(text: &str) -> Cow<'_, str> {
    SECRETS.read().unwrap_or_else(PoisonError::into_inner).1.redact(text)
}

/// The text without secrets, cut to [`MAX_VALUE_BYTES`].
pub fn clean(text: &str) -> Cow<'_, str> {
    // Before the cut, so that no half of a secret stays.
    let mut text = mask(text);
    if text.len() > MAX_VALUE_BYTES {
        let kept = text.floor_char_boundary(MAX_VALUE_BYTES);
        text = Cow::Owned(format!("{}… ({} bytes)", &text[..kept], text.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_secrets_are_masked_wherever_they_stand() {
        register("inner-value");
        register("outer-inner-value-outer\n");
        register("abc");
        assert_eq!(clean("x outer-inner-value-outer, inner-value, abc"), "x ***, ***, abc");
        let url = "postgres://me:hunter22@host:5432/db is away";
        assert_eq!(clean(url), "postgres://me:***@host:5432/db is away");
    }

    #[test]
    fn a_secret_on_the_edge_of_the_cut_leaves_no_half() {
        register("edge-of-the-cut");
        let text = format!("{}edge-of-the-cut{}", "é".repeat(4090), "z".repeat(9000));
        let cleaned = clean(&text);
        assert!(cleaned.len() < MAX_VALUE_BYTES + 40);
        assert!(!cleaned.contains("edge"), "{cleaned}");
        let whole = mask(&text);
        assert!(whole.ends_with(&"z".repeat(9000)) && !whole.contains("edge"));
    }

    #[test]
    fn private_fields_are_told_by_their_last_part() {
        for private in ["prompt", "gen_ai.input.messages", "http.Authorization", "child.env"] {
            assert!(is_private(private), "{private}");
        }
        for open in ["prompt.bytes", "gen_ai.usage.input_tokens", "run.id", "environment.name"] {
            assert!(!is_private(open), "{open}");
        }
    }
}
