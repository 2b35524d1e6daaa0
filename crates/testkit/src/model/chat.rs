//! `POST /v1/chat/completions`: how a reply is written.
//!
//! Owns: the chunks of OpenAI's chat completions. Must never: judge a request; `request.rs` does.

mod request;

use journeyman_domain::model::{TokenUsage, Wire};
use serde_json::{Value, json};

use super::Seen;
use super::dialect::{Answer, Dialect, History, Rendered};
use super::misbehaviour::StreamError;
use super::refusal::in_stream;
use super::reply::{Ending, Part, Reply, pieces};

/// A fixed point in time, so that answers are the same in every test.
pub(super) const CREATED: u64 = 1_790_000_000;

pub(super) struct Chat;

impl Dialect for Chat {
    fn read(&self, seen: &Seen) -> History {
        request::read(seen)
    }

    fn same(&self, given: &Value, sent_back: &Value) -> bool {
        request::same(given, sent_back)
    }

    fn render(&self, answer: Answer<'_>) -> Rendered {
        let message = message(answer);
        let finish = finish_reason(answer.reply);
        let usage = answer.usage.map_or(Value::Null, |usage| usage_json(&usage));
        let (events, closing) = events(answer, &message, finish, &usage);
        let mut whole = json!({
            "id": id(answer),
            "object": "chat.completion",
            "created": CREATED,
            "model": answer.seen.model(),
            "choices": [{
                "index": 0, "message": message, "logprobs": null, "finish_reason": finish,
            }],
            "service_tier": "default",
            "system_fingerprint": "fp_scripted",
        });
        if !usage.is_null() {
            whole["usage"] = usage;
        }
        Rendered { events, closing, whole, items: vec![message] }
    }

    fn stream_error(&self, error: StreamError) -> String {
        let (code, message) = in_stream(Wire::OpenAiChat, error);
        let error = json!({ "message": message, "type": code, "param": null, "code": code });
        data(&json!({ "error": error }))
    }
}

fn id(answer: Answer<'_>) -> String {
    format!("chatcmpl-{}", answer.tag)
}

fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// The message that the chunks add up to.
fn message(answer: Answer<'_>) -> Value {
    let refuses = answer.reply.ending == Some(Ending::Refusal);
    let (mut text, mut calls) = (String::new(), Vec::new());
    for part in &answer.reply.parts {
        match part {
            Part::Reasoning(_) => {}
            Part::Text(more) => text.push_str(more),
            Part::Call { name, arguments } => calls.push(json!({
                "id": format!("call_{}_{}", answer.tag, calls.len()),
                "type": "function",
                "function": { "name": name, "arguments": arguments },
            })),
        }
    }
    let silent = text.is_empty() && !calls.is_empty();
    let said = if silent { Value::Null } else { Value::from(text) };
    let (content, refusal) = if refuses { (Value::Null, said) } else { (said, Value::Null) };
    let mut message = json!({ "role": "assistant", "content": content, "refusal": refusal });
    if !calls.is_empty() {
        message["tool_calls"] = Value::from(calls);
    }
    message
}

fn finish_reason(reply: &Reply) -> &'static str {
    match reply.ending {
        Some(Ending::Length | Ending::ContextWindow) => "length",
        Some(Ending::ContentFilter) => "content_filter",
        None if reply.has_calls() => "tool_calls",
        // A refusal is a field of the message; a pause is nothing that this wire has.
        Some(Ending::Refusal | Ending::PauseTurn) | None => "stop",
    }
}

fn usage_json(usage: &TokenUsage) -> Value {
    let mut details = json!({ "cached_tokens": usage.cache_read, "audio_tokens": 0 });
    if usage.cache_write > 0 {
        details["cache_write_tokens"] = Value::from(usage.cache_write);
    }
    json!({
        "prompt_tokens": usage.input(),
        "completion_tokens": usage.output,
        "total_tokens": usage.total(),
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

/// The chunks, and how many of them close the answer.
fn events(
    answer: Answer<'_>,
    message: &Value,
    finish: &str,
    usage: &Value,
) -> (Vec<String>, usize) {
    let asked = answer.seen.body["stream_options"]["include_usage"] == true;
    let with_usage = asked && !usage.is_null();
    let chunk = |choices: Value, usage: Option<&Value>| {
        let mut chunk = json!({
            "id": id(answer),
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": answer.seen.model(),
            "service_tier": "default",
            "system_fingerprint": "fp_scripted",
            "choices": choices,
        });
        if with_usage {
            chunk["usage"] = usage.cloned().unwrap_or_default();
        }
        data(&chunk)
    };
    let choice = |delta: Value, finish: Option<&str>| {
        chunk(
            json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }]),
            None,
        )
    };
    let silent = message["content"].is_null();
    let opening = if silent { Value::Null } else { Value::from("") };
    let mut events =
        vec![choice(json!({ "role": "assistant", "content": opening, "refusal": null }), None)];
    for field in ["content", "refusal"] {
        let text = message[field].as_str().unwrap_or_default();
        let deltas = pieces(text, answer.reply.delta_bytes);
        events.extend(deltas.iter().map(|piece| choice(json!({ field: piece }), None)));
    }
    let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, call) in calls.iter().enumerate() {
        let mut opened = call.clone();
        opened["index"] = Value::from(index);
        opened["function"]["arguments"] = Value::from("");
        events.push(choice(json!({ "tool_calls": [opened] }), None));
        let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
        for piece in pieces(arguments, answer.reply.delta_bytes) {
            let delta = json!({ "index": index, "function": { "arguments": piece } });
            events.push(choice(json!({ "tool_calls": [delta] }), None));
        }
    }
    let before = events.len();
    events.push(choice(json!({}), Some(finish)));
    if with_usage {
        events.push(chunk(json!([]), Some(usage)));
    }
    events.push("data: [DONE]\n\n".to_owned());
    let closing = events.len() - before;
    (events, closing)
}
