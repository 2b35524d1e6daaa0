//! What is sent to a model: one file a wire, and what they share.
//!
//! Owns: the body of a request and its hash. A body is a function of its arguments alone: no time,
//! no randomness, keys in their order. What was sent once is sent again unchanged in the next turn,
//! with more behind it, or providers' prompt caches would not hold. Must never send or read.

pub(crate) mod anthropic_messages;
pub(crate) mod constrained;
pub(crate) mod openai_chat;
pub(crate) mod openai_responses;

use std::fmt::Write as _;

use journeyman_domain::model::{
    CallRequest, Item, ModelRequest, ModelSettings, ModelTurn, Stop, ToolAnswer, Wire,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::answer::Asked;

/// Told where a call has no answer, since providers take no call without one.
const UNANSWERED: &str = "This call was not run.";

/// The body of a request. `cache_key` names the conversation for a provider's prompt cache.
pub fn body(settings: &ModelSettings, request: &ModelRequest, cache_key: &str) -> Value {
    match settings.wire {
        Wire::OpenAiChat => openai_chat::body(settings, request),
        Wire::OpenAiResponses => openai_responses::body(settings, request, cache_key),
        Wire::AnthropicMessages => anthropic_messages::body(settings, request),
    }
}

/// The SHA-256 of a body's canonical bytes, in hexadecimal.
pub fn hash(body: &Value) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(canonical(body)) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes of a body: without space, keys sorted. `serde_json` sorts them by itself, unless a
/// crate of the build turns its feature `preserve_order` on; a hash must not hang on that.
pub(crate) fn canonical(body: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_canonical(body, &mut bytes);
    bytes
}

fn write_canonical(value: &Value, to: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            if map.keys().is_sorted() {
                write_entries(map.iter(), to);
            } else {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                write_entries(entries.into_iter(), to);
            }
        }
        Value::Array(list) => {
            to.push(b'[');
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    to.push(b',');
                }
                write_canonical(value, to);
            }
            to.push(b']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            write_plain(value, to);
        }
    }
}

/// Writes an object of which these are the entries, in their order.
fn write_entries<'a>(entries: impl Iterator<Item = (&'a String, &'a Value)>, to: &mut Vec<u8>) {
    to.push(b'{');
    for (index, (key, value)) in entries.enumerate() {
        if index > 0 {
            to.push(b',');
        }
        write_plain(key, to);
        to.push(b':');
        write_canonical(value, to);
    }
    to.push(b'}');
}

/// Writes what has no keys to sort.
fn write_plain(value: &(impl serde::Serialize + ?Sized), to: &mut Vec<u8>) {
    // Neither a vector nor such a value refuses to be written.
    let _ = serde_json::to_writer(to, value);
}

/// Turns of the model in a body, for identifiers that are made up.
pub(crate) fn turns(body: &Value) -> usize {
    let list = body.get("messages").or_else(|| body.get("input")).and_then(Value::as_array);
    let is_models = |item: &&Value| {
        item["role"] == "assistant"
            || item["type"] == "function_call"
            || item["type"] == "reasoning"
    };
    list.map_or(0, |list| list.iter().filter(is_models).count())
}

/// Whether a body asks for an answer under a schema that stands for tools.
pub(crate) fn is_constrained(body: &Value) -> bool {
    body.get("response_format").is_some() || body.pointer("/text/format").is_some()
}

/// A conversation, such that each call has its answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// What the user or the runtime says.
    User(&'a str),
    /// What the model said.
    Model(&'a ModelTurn),
    /// The answers to all its calls, in the calls' order.
    Answers(Vec<Answered<'a>>),
}

/// The answer to a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered<'a> {
    /// The call.
    pub(crate) call_id: &'a str,
    /// The tool's name.
    pub(crate) name: &'a str,
    /// What the model is told.
    pub(crate) output: &'a str,
    /// Whether the call failed.
    pub(crate) is_error: bool,
}

/// The conversation as wires take it: no empty words, an answer right behind each call, and none
/// without a call.
pub(crate) fn entries(items: &[Item]) -> Vec<Entry<'_>> {
    let mut entries = Vec::with_capacity(items.len());
    let mut open: Option<&ModelTurn> = None;
    for item in items {
        match item {
            Item::User { text } => {
                entries.extend(open.take().map(|turn| answers(turn, &[])));
                if !text.trim().is_empty() {
                    entries.push(Entry::User(text));
                }
            }
            Item::Assistant { turn } => {
                entries.extend(open.take().map(|turn| answers(turn, &[])));
                entries.push(Entry::Model(turn));
                open = (!turn.calls.is_empty()).then_some(turn);
            }
            Item::ToolResults { answers: given } => {
                entries.extend(open.take().map(|turn| answers(turn, given)));
            }
        }
    }
    entries.extend(open.take().map(|turn| answers(turn, &[])));
    entries
}

fn answers<'a>(turn: &'a ModelTurn, given: &'a [ToolAnswer]) -> Entry<'a> {
    let answered = turn.calls.iter().map(|call| {
        let answer = given.iter().find(|answer| answer.call_id == call.call_id);
        Answered {
            call_id: &call.call_id,
            name: &call.name,
            output: answer.map_or(UNANSWERED, |answer| &answer.output),
            is_error: answer.is_none_or(|answer| answer.is_error),
        }
    });
    Entry::Answers(answered.collect())
}

/// A turn under the schema of [`constrained`] as a call or as the last word. An object that was cut
/// off by the limit of tokens stays text; one that breaks the schema is a call that is none, which
/// the model is told: the answer is paid for, and asking the same again would be paid for again.
pub(crate) fn understood(asked: &Asked, mut turn: ModelTurn) -> ModelTurn {
    if !asked.constrained || turn.stop != Stop::End {
        return turn;
    }
    match constrained::meaning(&turn.text) {
        Some(constrained::Meaning::Call { name, arguments }) => {
            let call_id = format!("call_{}_0", asked.turn);
            turn.calls = vec![CallRequest { call_id, name, arguments }];
            turn.text.clear();
            turn.stop = Stop::ToolCalls;
        }
        Some(constrained::Meaning::Answer(answer)) => turn.text = answer,
        None if turn.text.trim_start().starts_with('{') => turn.stop = Stop::ToolCalls,
        // The server knows no schemas: plain words are the last word.
        None => {}
    }
    turn
}

/// The part of a model's name that says its family: `openai/gpt-5.4` is `gpt-5.4`.
pub(crate) fn family(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

#[cfg(test)]
pub(crate) mod tests;
