//! What the scripted model says.
//!
//! Owns: the words of a reply and how fast they come. Must never: know a wire format.

use std::time::Duration;

use journeyman_domain::model::TokenUsage;
use serde_json::Value;

/// Why the model stops, where it is not the natural end of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The limit of output tokens.
    Length,
    /// The model refuses.
    Refusal,
    /// A content filter cut it off.
    ContentFilter,
    /// The context window is full.
    ContextWindow,
    /// The provider paused a long turn; only `anthropic_messages` has it.
    PauseTurn,
}

/// A part of a reply, in the order in which it is said.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Reasoning(String),
    Text(String),
    /// The arguments as they stand on the wire: JSON, unless the test wants them malformed.
    Call {
        name: String,
        arguments: String,
    },
}

/// What the reply says of its use of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum UsageSaid {
    /// Computed from lengths.
    #[default]
    Computed,
    Given(TokenUsage),
    Nothing,
}

/// How the bytes of an answer go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) before_headers: Duration,
    pub(super) per_chunk: Duration,
    /// Bytes of a chunk; 0 is one event a chunk.
    pub(super) split_bytes: usize,
}

/// Bytes of one delta, unless the reply says otherwise.
const DELTA_BYTES: usize = 512;

/// One reply of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub(super) parts: Vec<Part>,
    pub(super) ending: Option<Ending>,
    pub(super) usage: UsageSaid,
    pub(super) delta_bytes: usize,
    pub(super) pace: Pace,
    pub(super) headers: Vec<(String, String)>,
}

impl Reply {
    /// A reply without any content.
    pub fn empty() -> Self {
        Self {
            parts: Vec::new(),
            ending: None,
            usage: UsageSaid::Computed,
            delta_bytes: DELTA_BYTES,
            pace: Pace::default(),
            headers: Vec::new(),
        }
    }

    /// A text and no call.
    pub fn text(text: impl Into<String>) -> Self {
        Self::empty().then_text(text)
    }

    /// One tool call.
    pub fn call(name: &str, arguments: &Value) -> Self {
        Self::empty().then_call(name, arguments)
    }

    /// Several tool calls in one turn.
    pub fn calls<'a>(calls: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        calls.into_iter().fold(Self::empty(), |reply, (name, args)| reply.then_call(name, &args))
    }

    /// One tool call whose arguments are this very text, malformed or not.
    pub fn raw_call(name: &str, arguments: impl Into<String>) -> Self {
        Self::empty().then_raw_call(name, arguments)
    }

    /// Says a text after what it says already.
    #[must_use]
    pub fn then_text(mut self, text: impl Into<String>) -> Self {
        self.parts.push(Part::Text(text.into()));
        self
    }

    /// Calls a tool after what it says already.
    #[must_use]
    pub fn then_call(self, name: &str, arguments: &Value) -> Self {
        self.then_raw_call(name, arguments.to_string())
    }

    /// Calls a tool with these very arguments after what it says already.
    #[must_use]
    pub fn then_raw_call(mut self, name: &str, arguments: impl Into<String>) -> Self {
        self.parts.push(Part::Call { name: name.to_owned(), arguments: arguments.into() });
        self
    }

    /// Thinks first: a thinking block with a signature, or a reasoning item with encrypted content.
    /// Nothing of it is seen on `openai_chat` but in the usage.
    #[must_use]
    pub fn reasoning(mut self, thought: impl Into<String>) -> Self {
        self.parts.insert(0, Part::Reasoning(thought.into()));
        self
    }

    /// Stops for this reason.
    #[must_use]
    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = Some(ending);
        self
    }

    /// Says that it used these tokens. Without it, tokens are a quarter of the bytes, and the
    /// prefix that the request shares with the one before it in the conversation was cached.
    #[must_use]
    pub fn usage(mut self, usage: TokenUsage) -> Self {
        self.usage = UsageSaid::Given(usage);
        self
    }

    /// Does not say what it used.
    #[must_use]
    pub fn without_usage(mut self) -> Self {
        self.usage = UsageSaid::Nothing;
        self
    }

    /// Says its texts and arguments in deltas of about this many bytes, at borders of characters.
    #[must_use]
    pub fn delta_bytes(mut self, bytes: usize) -> Self {
        self.delta_bytes = bytes.max(1);
        self
    }

    /// Splits the stream every `bytes` bytes, within characters and lines too, instead of sending
    /// whole events.
    #[must_use]
    pub fn split_every(mut self, bytes: usize) -> Self {
        self.pace.split_bytes = bytes.max(1);
        self
    }

    /// Waits before each chunk.
    #[must_use]
    pub fn wait_per_chunk(mut self, wait: Duration) -> Self {
        self.pace.per_chunk = wait;
        self
    }

    /// Waits before the headers of the answer.
    #[must_use]
    pub fn wait_before_headers(mut self, wait: Duration) -> Self {
        self.pace.before_headers = wait;
        self
    }

    /// Adds a header to the answer, such as those of rate limits.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Whether it calls a tool.
    pub(super) fn has_calls(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Call { .. }))
    }

    /// The reply as a model without tools gives it under a JSON schema: its first call, or else its
    /// text, as one JSON object. Arguments that are no JSON stay as they are.
    pub(super) fn under_schema(&self) -> Self {
        let call = self.parts.iter().find_map(|part| match part {
            Part::Call { name, arguments } => Some(format!(
                "{{\"tool\":{},\"tool_arguments\":{arguments}}}",
                Value::from(&**name)
            )),
            Part::Reasoning(_) | Part::Text(_) => None,
        });
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Reasoning(_) | Part::Call { .. } => None,
        });
        let text = call.or_else(|| {
            let text: String = texts.collect();
            (!text.is_empty()).then(|| serde_json::json!({ "answer": text }).to_string())
        });
        let reasoning = self.parts.iter().filter(|part| matches!(part, Part::Reasoning(_)));
        let parts = reasoning.cloned().chain(text.map(Part::Text)).collect();
        Self { parts, ..self.clone() }
    }
}

/// A text in pieces of at most `bytes` bytes, but at least one character.
pub(super) fn pieces(text: &str, bytes: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let first = rest.chars().next().map_or(1, char::len_utf8);
        let at = rest.floor_char_boundary(bytes).max(first);
        let (piece, after) = rest.split_at(at);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pieces_keep_characters_whole() {
        assert_eq!(pieces("aäöb", 2), ["a", "ä", "ö", "b"]);
        assert_eq!(pieces("äö", 1), ["ä", "ö"]);
        assert_eq!(pieces("", 4), Vec::<&str>::new());
    }

    #[test]
    fn under_a_schema_a_reply_is_one_object() {
        let call = Reply::text("so").then_call("read", &json!({ "path": "a" })).under_schema();
        let expected = r#"{"tool":"read","tool_arguments":{"path":"a"}}"#;
        assert_eq!(call.parts, [Part::Text(expected.into())]);
        let text = Reply::text("fer").then_text("tig").under_schema();
        assert_eq!(text.parts, [Part::Text(r#"{"answer":"fertig"}"#.into())]);
        let broken = Reply::raw_call("read", "{\"path").under_schema();
        assert_eq!(broken.parts, [Part::Text(r#"{"tool":"read","tool_arguments":{"path}"#.into())]);
        assert_eq!(Reply::empty().under_schema().parts, []);
    }
}
