//! `POST /v1/messages`: how a reply is written.
//!
//! Owns: the events of Anthropic's messages. Must never: judge a request; `request.rs` does.

mod request;

use journeyman_domain::model::{TokenUsage, Wire};
use serde_json::{Map, Value, json};

use super::Seen;
use super::dialect::{Answer, Dialect, History, Rendered, event, word};
use super::misbehaviour::StreamError;
use super::refusal::in_stream;
use super::reply::{Ending, Part, Reply, pieces};

pub(super) struct Anthropic;

impl Dialect for Anthropic {
    fn read(&self, seen: &Seen) -> History {
        request::read(seen)
    }

    fn same(&self, given: &Value, sent_back: &Value) -> bool {
        request::same(given, sent_back)
    }

    fn render(&self, answer: Answer<'_>) -> Rendered {
        let blocks: Vec<_> = answer.reply.parts.iter().enumerate().collect();
        let blocks: Vec<_> = blocks.iter().map(|(at, part)| block(answer.tag, *at, part)).collect();
        let stop = stop_reason(answer.reply);
        let mut events = vec![start(answer)];
        if blocks.is_empty() {
            events.push(event("ping", &json!({ "type": "ping" })));
        }
        for (index, (block, part)) in blocks.iter().zip(&answer.reply.parts).enumerate() {
            write(&mut events, index, block, part, answer.reply.delta_bytes);
        }
        let mut delta = json!({
            "type": "message_delta",
            "delta": { "stop_reason": stop, "stop_sequence": null },
        });
        if let Some(usage) = answer.usage {
            delta["usage"] = usage_json(&usage, usage.output);
        }
        events.push(event("message_delta", &delta));
        events.push(event("message_stop", &json!({ "type": "message_stop" })));
        let whole = whole(answer, &blocks, stop);
        // A text without a word in it would be refused in a request.
        let blank =
            |block: &Value| word(block, "type") == "text" && word(block, "text").trim().is_empty();
        let items = blocks.into_iter().filter(|block| !blank(block)).collect();
        Rendered { events, closing: 2, whole, items }
    }

    fn stream_error(&self, error: StreamError) -> String {
        let (kind, message) = in_stream(Wire::AnthropicMessages, error);
        let data = json!({ "type": "error", "error": { "type": kind, "message": message } });
        event("error", &data)
    }
}

fn stop_reason(reply: &Reply) -> &'static str {
    match reply.ending {
        Some(Ending::Length) => "max_tokens",
        Some(Ending::Refusal | Ending::ContentFilter) => "refusal",
        Some(Ending::ContextWindow) => "model_context_window_exceeded",
        Some(Ending::PauseTurn) => "pause_turn",
        None if reply.has_calls() => "tool_use",
        None => "end_turn",
    }
}

/// A block, complete. The input of a call whose arguments are no object is `null`: whatever stands
/// for it in a later request is right.
fn block(tag: &str, index: usize, part: &Part) -> Value {
    match part {
        Part::Reasoning(thought) => json!({
            "type": "thinking", "thinking": thought, "signature": format!("sig-{tag}-{index}"),
        }),
        Part::Text(text) => json!({ "type": "text", "text": text }),
        Part::Call { name, arguments } => json!({
            "type": "tool_use",
            "id": format!("toolu_{tag}_{index}"),
            "name": name,
            "input": serde_json::from_str::<Map<String, Value>>(arguments).ok(),
        }),
    }
}

fn message(answer: Answer<'_>) -> Value {
    json!({
        "id": format!("msg_{}", answer.tag),
        "type": "message",
        "role": "assistant",
        "model": answer.seen.model(),
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
    })
}

fn start(answer: Answer<'_>) -> String {
    let mut message = message(answer);
    if let Some(usage) = answer.usage {
        message["usage"] = usage_json(&usage, usage.output.min(1));
    }
    event("message_start", &json!({ "type": "message_start", "message": message }))
}

fn whole(answer: Answer<'_>, blocks: &[Value], stop: &str) -> Value {
    let mut message = message(answer);
    let mut content = blocks.to_vec();
    for block in content.iter_mut().filter(|block| word(block, "type") == "tool_use") {
        if block["input"].is_null() {
            block["input"] = json!({});
        }
    }
    message["content"] = Value::from(content);
    message["stop_reason"] = Value::from(stop);
    if let Some(usage) = answer.usage {
        message["usage"] = usage_json(&usage, usage.output);
    }
    message
}

/// Usage so far: it is cumulative.
fn usage_json(usage: &TokenUsage, output: u64) -> Value {
    json!({
        "input_tokens": usage.uncached_input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": output,
        "output_tokens_details": { "thinking_tokens": usage.reasoning.min(output) },
        "service_tier": "standard",
    })
}

/// The events of one block.
fn write(events: &mut Vec<String>, index: usize, block: &Value, part: &Part, delta_bytes: usize) {
    let (opened, deltas) = match part {
        Part::Reasoning(thought) => {
            let deltas = pieces(thought, delta_bytes).into_iter();
            let deltas = deltas.map(|piece| json!({ "type": "thinking_delta", "thinking": piece }));
            let signed = json!({ "type": "signature_delta", "signature": block["signature"] });
            let opened = json!({ "type": "thinking", "thinking": "", "signature": "" });
            (opened, deltas.chain([signed]).collect::<Vec<_>>())
        }
        Part::Text(text) => {
            let deltas = pieces(text, delta_bytes).into_iter();
            let deltas = deltas.map(|piece| json!({ "type": "text_delta", "text": piece }));
            (json!({ "type": "text", "text": "" }), deltas.collect())
        }
        Part::Call { arguments, .. } => {
            let mut opened = block.clone();
            opened["input"] = json!({});
            // The first piece is empty, as the API has it.
            let deltas = [""].into_iter().chain(pieces(arguments, delta_bytes));
            let json = |piece| json!({ "type": "input_json_delta", "partial_json": piece });
            (opened, deltas.map(json).collect())
        }
    };
    let data = json!({ "type": "content_block_start", "index": index, "content_block": opened });
    events.push(event("content_block_start", &data));
    if index == 0 {
        events.push(event("ping", &json!({ "type": "ping" })));
    }
    for delta in deltas {
        let data = json!({ "type": "content_block_delta", "index": index, "delta": delta });
        events.push(event("content_block_delta", &data));
    }
    let data = json!({ "type": "content_block_stop", "index": index });
    events.push(event("content_block_stop", &data));
}
