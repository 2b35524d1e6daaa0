//! `POST /v1/responses`: how a reply is written.
//!
//! Owns: the typed events of OpenAI's responses and their sequence numbers. Must never: judge a
//! request; `request.rs` does.

mod items;
mod request;

use journeyman_domain::model::{TokenUsage, Wire};
use serde_json::{Value, json};

use super::Seen;
use super::chat::CREATED;
use super::dialect::{Answer, Dialect, History, Rendered, event};
use super::misbehaviour::StreamError;
use super::refusal::in_stream;
use super::reply::Ending;

pub(super) struct Responses;

impl Dialect for Responses {
    fn read(&self, seen: &Seen) -> History {
        request::read(seen)
    }

    fn same(&self, given: &Value, sent_back: &Value) -> bool {
        request::same(given, sent_back)
    }

    fn render(&self, answer: Answer<'_>) -> Rendered {
        let output = items::output(answer);
        let end = End::of(answer.reply.ending);
        let whole = response(answer, Some((&end, &output)));
        let mut stream = Events::default();
        let begun = response(answer, None);
        stream.push("response.created", json!({ "response": begun }));
        stream.push("response.in_progress", json!({ "response": begun }));
        for (index, item) in output.iter().enumerate() {
            items::write(&mut stream, index, item, answer.reply.delta_bytes);
        }
        stream.push(end.event, json!({ "response": whole }));
        // Reasoning without its content is the name of something that was not stored.
        let goes_back =
            |item: &Value| item["type"] != "reasoning" || item["encrypted_content"].is_string();
        let back = output.into_iter().filter(|item| end.status != "failed" && goes_back(item));
        let items = back.collect();
        Rendered { events: stream.events, closing: 1, whole, items }
    }

    fn stream_error(&self, error: StreamError) -> String {
        let (code, message) = in_stream(Wire::OpenAiResponses, error);
        let response = json!({
            "id": "resp_failed",
            "object": "response",
            "created_at": CREATED,
            "status": "failed",
            "error": { "code": code, "message": message },
            "incomplete_details": null,
            "output": [],
            "usage": null,
        });
        let data = json!({
            "type": "response.failed", "sequence_number": 9999, "response": response,
        });
        event("response.failed", &data)
    }
}

/// The events of one stream, numbered.
#[derive(Default)]
struct Events {
    events: Vec<String>,
}

impl Events {
    fn push(&mut self, kind: &str, mut data: Value) {
        data["type"] = Value::from(kind);
        data["sequence_number"] = Value::from(self.events.len());
        self.events.push(event(kind, &data));
    }
}

/// How a response ends.
struct End {
    event: &'static str,
    status: &'static str,
    incomplete: Value,
    error: Value,
}

impl End {
    fn of(ending: Option<Ending>) -> Self {
        let incomplete = |reason: &str| Self {
            event: "response.incomplete",
            status: "incomplete",
            incomplete: json!({ "reason": reason }),
            error: Value::Null,
        };
        match ending {
            Some(Ending::Length) => incomplete("max_output_tokens"),
            Some(Ending::ContentFilter) => incomplete("content_filter"),
            Some(Ending::ContextWindow) => Self {
                event: "response.failed",
                status: "failed",
                incomplete: Value::Null,
                error: json!({
                    "code": "context_length_exceeded",
                    "message": "Your input exceeds the context window of this model. Please adjust \
                                your input and try again.",
                }),
            },
            // A refusal is a part of the message; a pause is nothing that this wire has.
            Some(Ending::Refusal | Ending::PauseTurn) | None => Self {
                event: "response.completed",
                status: "completed",
                incomplete: Value::Null,
                error: Value::Null,
            },
        }
    }
}

/// The response as its first and its last event carry it.
fn response(answer: Answer<'_>, end: Option<(&End, &[Value])>) -> Value {
    let body = &answer.seen.body;
    let mut response = json!({
        "id": format!("resp_{}", answer.tag),
        "object": "response",
        "created_at": CREATED,
        "status": "in_progress",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": body["instructions"],
        "max_output_tokens": body["max_output_tokens"],
        "model": answer.seen.model(),
        "output": [],
        "parallel_tool_calls": body["parallel_tool_calls"],
        "previous_response_id": null,
        "prompt_cache_key": body["prompt_cache_key"],
        "store": body["store"],
        "tool_choice": body["tool_choice"],
        "truncation": "disabled",
        "usage": null,
        "metadata": {},
    });
    if let Some((end, output)) = end {
        response["status"] = Value::from(end.status);
        response["error"] = end.error.clone();
        response["incomplete_details"] = end.incomplete.clone();
        response["output"] = Value::from(output.to_vec());
        response["usage"] = answer.usage.map_or(Value::Null, |usage| usage_json(&usage));
    }
    response
}

fn usage_json(usage: &TokenUsage) -> Value {
    let mut details = json!({ "cached_tokens": usage.cache_read });
    if usage.cache_write > 0 {
        details["cache_write_tokens"] = Value::from(usage.cache_write);
    }
    json!({
        "input_tokens": usage.input(),
        "input_tokens_details": details,
        "output_tokens": usage.output,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning },
        "total_tokens": usage.total(),
    })
}
