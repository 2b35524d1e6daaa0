//! What a wire format has to know, and what the wires share.
//!
//! Owns: the border between the server and its wires. Must never: hold state; a wire is a set of
//! functions of a request and a reply.

use journeyman_domain::model::{TokenUsage, Wire};
use serde_json::Value;

use super::misbehaviour::StreamError;
use super::reply::{Part, Reply};
use super::{Seen, anthropic, chat, responses};

/// A request, as its wire reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct History {
    /// The system prompt, without cache marks.
    pub(super) system: Value,
    /// The tools, or else the JSON schema of the answer; without cache marks.
    pub(super) tools: Vec<Value>,
    /// Everything said, in the wire's smallest items; without system prompt and cache marks.
    pub(super) entries: Vec<Value>,
    /// The items of each assistant turn.
    pub(super) turns: Vec<Vec<Value>>,
    /// The text of the first user message.
    pub(super) first_user: String,
    /// The texts after the last assistant turn.
    pub(super) last: Vec<String>,
    /// Cache marks anywhere in the request.
    pub(super) cache_marks: usize,
    /// What this wire would not take, in the words of its API.
    pub(super) faults: Vec<String>,
}

/// A reply on its way to the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub(super) reply: &'a Reply,
    pub(super) seen: &'a Seen,
    /// Makes ids unique: the same for the same conversation, turn and number of the answer.
    pub(super) tag: &'a str,
    /// `None`: it does not say.
    pub(super) usage: Option<TokenUsage>,
}

/// A reply in the words of a wire.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rendered {
    /// The stream's events, each with its empty line.
    pub(super) events: Vec<String>,
    /// How many of them close the answer: without them it is not complete.
    pub(super) closing: usize,
    /// The answer without a stream.
    pub(super) whole: Value,
    /// The items of the turn, as a later request has to repeat them.
    pub(super) items: Vec<Value>,
}

/// A wire format.
pub(super) trait Dialect {
    /// Reads a request, and what is wrong with it.
    fn read(&self, seen: &Seen) -> History;
    /// Whether an item of a turn is sent back as it was given.
    fn same(&self, given: &Value, sent_back: &Value) -> bool;
    /// Writes a reply.
    fn render(&self, answer: Answer<'_>) -> Rendered;
    /// An error within a stream.
    fn stream_error(&self, error: StreamError) -> String;
}

pub(super) fn of(wire: Wire) -> &'static dyn Dialect {
    match wire {
        Wire::OpenAiChat => &chat::Chat,
        Wire::OpenAiResponses => &responses::Responses,
        Wire::AnthropicMessages => &anthropic::Anthropic,
    }
}

/// A list inside a body; missing is empty.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The text of a content: a string, or the texts of its parts.
pub(super) fn text_of(content: &Value) -> String {
    match content.as_str() {
        Some(text) => text.to_owned(),
        None => list(content)
            .iter()
            .map(|part| part["text"].as_str().or(part["refusal"].as_str()).unwrap_or_default())
            .collect(),
    }
}

/// A string field, empty where it is missing.
pub(super) fn word<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// An event with a name.
pub(super) fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// Whether everything in `part` stands in `whole` too.
pub(super) fn within(part: &Value, whole: &Value) -> bool {
    if let (Some(part), Some(whole)) = (part.as_object(), whole.as_object()) {
        let known =
            |(key, value): (&String, &Value)| whole.get(key).is_some_and(|w| within(value, w));
        return part.iter().all(known);
    }
    if let (Some(part), Some(whole)) = (part.as_array(), whole.as_array()) {
        return part.len() == whole.len() && part.iter().zip(whole).all(|(p, w)| within(p, w));
    }
    part == whole
}

/// The tools whose schema has a list as `type`, which some servers do not take.
pub(super) fn listed_types(seen: &Seen) -> Vec<String> {
    fn has_list(schema: &Value) -> bool {
        if let Some(object) = schema.as_object() {
            return object.get("type").is_some_and(Value::is_array)
                || object.values().any(has_list);
        }
        list(schema).iter().any(has_list)
    }
    let tools = list(&seen.body["tools"]).iter().filter(|tool| has_list(tool));
    tools.map(|tool| format!("the schema of a tool has a list as `type`: {tool}")).collect()
}

/// The schema that the answer shall follow instead of calling tools, as the only tool.
pub(super) fn tools_or_schema(tools: Vec<Value>, format: &Value) -> Vec<Value> {
    if tools.is_empty() && format["type"] == "json_schema" { vec![format.clone()] } else { tools }
}

/// Bytes of a reply, and those of them that are reasoning.
pub(super) fn reply_bytes(reply: &Reply) -> (usize, usize) {
    reply.parts.iter().fold((0, 0), |(all, reasoning), part| match part {
        Part::Reasoning(thought) => (all + thought.len(), reasoning + thought.len()),
        Part::Text(text) => (all + text.len(), reasoning),
        Part::Call { name, arguments } => (all + name.len() + arguments.len(), reasoning),
    })
}
