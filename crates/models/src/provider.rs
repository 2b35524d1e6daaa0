//! Where a provider is and how it knows us.
//!
//! Owns: addresses and the key. Must never show the key: it leaves this crate in one header only.

use std::fmt;
use std::time::Duration;

use journeyman_domain::model::Wire;

/// Letters that a key must have before its echo is taken out of a sentence; shorter ones are the
/// dummies of local servers, and would cut words to pieces.
const SHORTEST_SECRET: usize = 4;

/// A provider's key. Shows itself nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// A key as the user stored it; space around it is cut.
    pub fn new(key: &str) -> Self {
        Self(key.trim().to_owned())
    }

    /// The key itself, for the header.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// A text without the key.
    pub(crate) fn redact(&self, text: &str) -> String {
        if self.0.len() < SHORTEST_SECRET {
            return text.to_owned();
        }
        text.replace(&self.0, "[key]")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A provider, as the settings have it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name in the settings, for sentences.
    pub name: String,
    /// How it is spoken to.
    pub wire: Wire,
    /// Where its API begins, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// Its key; local servers need none.
    pub key: Option<Key>,
    /// How long the headers of an answer may take. Local servers send them only when the whole
    /// prompt is read.
    pub header_timeout: Duration,
    /// How long the stream may be without an event; comments are none.
    pub idle_timeout: Duration,
    /// How long a whole answer may take, however busy its stream is.
    pub answer_timeout: Duration,
}

impl Provider {
    /// A provider without a key, with ten minutes until the headers, as the official client
    /// libraries have it, five between events, and an hour for all of an answer.
    pub fn new(name: impl Into<String>, wire: Wire, base_url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            wire,
            base_url: base_url.into(),
            key: None,
            header_timeout: Duration::from_mins(10),
            idle_timeout: Duration::from_mins(5),
            answer_timeout: Duration::from_hours(1),
        }
    }

    /// The address that a request goes to. `/v1` may be written in the base of an Anthropic
    /// address or not: users copy both.
    pub(crate) fn url(&self) -> String {
        let base = self.base_url.trim().trim_end_matches('/');
        match self.wire {
            Wire::OpenAiChat => format!("{base}/chat/completions"),
            Wire::OpenAiResponses => format!("{base}/responses"),
            Wire::AnthropicMessages => {
                format!("{}/v1/messages", base.strip_suffix("/v1").unwrap_or(base))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_the_wire() {
        let url = |wire, base: &str| Provider::new("p", wire, base).url();
        assert_eq!(url(Wire::OpenAiChat, "http://a/v1/"), "http://a/v1/chat/completions");
        assert_eq!(url(Wire::OpenAiResponses, "http://a/v1"), "http://a/v1/responses");
        assert_eq!(url(Wire::AnthropicMessages, "http://a"), "http://a/v1/messages");
        assert_eq!(url(Wire::AnthropicMessages, " http://a/v1/ "), "http://a/v1/messages");
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = Key::new(" sk-secret\n");
        let provider =
            Provider { key: Some(key.clone()), ..Provider::new("p", Wire::OpenAiChat, "u") };
        assert!(!format!("{provider:?}").contains("secret"));
        assert_eq!(key.redact("wrong key sk-secret!"), "wrong key [key]!");
        assert_eq!(key.expose(), "sk-secret");
        assert_eq!(Key::new("x").redact("exact"), "exact");
    }
}
