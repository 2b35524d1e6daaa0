//! The output items of a response, and the events that build them up.
//!
//! Owns: reasoning, message and function call items. Must never: end the stream.

use serde_json::{Value, json};

use super::Events;
use crate::model::dialect::{Answer, list, word};
use crate::model::reply::{Ending, Part, pieces};

/// The items, complete.
pub(super) fn output(answer: Answer<'_>) -> Vec<Value> {
    let parts = answer.reply.parts.iter().enumerate();
    parts.map(|(index, part)| item(answer, index, part)).collect()
}

fn item(answer: Answer<'_>, index: usize, part: &Part) -> Value {
    let ending = answer.reply.ending;
    let last = index + 1 == answer.reply.parts.len();
    let cut = last && matches!(ending, Some(Ending::Length | Ending::ContentFilter));
    let status = if cut { "incomplete" } else { "completed" };
    let id = |kind: &str| format!("{kind}_{}_{index}", answer.tag);
    match part {
        Part::Reasoning(thought) => {
            let included = list(&answer.seen.body["include"]);
            let encrypted = included.iter().any(|what| what == "reasoning.encrypted_content");
            json!({
                "id": id("rs"),
                "type": "reasoning",
                "summary": [{ "type": "summary_text", "text": thought }],
                "encrypted_content": encrypted.then(|| format!("gAAAA-{}-{index}", answer.tag)),
            })
        }
        Part::Text(text) => {
            let content = if ending == Some(Ending::Refusal) {
                json!({ "type": "refusal", "refusal": text })
            } else {
                json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
            };
            json!({
                "id": id("msg"),
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": [content],
            })
        }
        Part::Call { name, arguments } => json!({
            "id": id("fc"),
            "type": "function_call",
            "status": status,
            "call_id": id("call"),
            "name": name,
            "arguments": arguments,
        }),
    }
}

/// The events of one item.
pub(super) fn write(stream: &mut Events, index: usize, item: &Value, delta_bytes: usize) {
    let mut opened = item.clone();
    for (field, nothing) in
        [("summary", json!([])), ("content", json!([])), ("arguments", json!(""))]
    {
        if opened.get(field).is_some() {
            opened[field] = nothing;
        }
    }
    if opened.get("status").is_some() {
        opened["status"] = json!("in_progress");
    }
    if opened.get("encrypted_content").is_some() {
        // It comes with the finished item only.
        opened["encrypted_content"] = Value::Null;
    }
    stream.push("response.output_item.added", json!({ "output_index": index, "item": opened }));
    let place = json!({ "item_id": item["id"], "output_index": index });
    match word(item, "type") {
        "reasoning" => {
            let part = &item["summary"][0];
            let names =
                ["reasoning_summary_part", "reasoning_summary_text", "text", "summary_index"];
            content(stream, &place, part, names, delta_bytes);
        }
        "message" => {
            let part = &item["content"][0];
            let names = if word(part, "type") == "refusal" {
                ["content_part", "refusal", "refusal", "content_index"]
            } else {
                ["content_part", "output_text", "text", "content_index"]
            };
            content(stream, &place, part, names, delta_bytes);
        }
        _ => {
            let arguments = word(item, "arguments");
            for piece in pieces(arguments, delta_bytes) {
                let data = with(&place, json!({ "delta": piece }));
                stream.push("response.function_call_arguments.delta", data);
            }
            let data = with(&place, json!({ "name": item["name"], "arguments": arguments }));
            stream.push("response.function_call_arguments.done", data);
        }
    }
    stream.push("response.output_item.done", json!({ "output_index": index, "item": item }));
}

/// The events of an item's only part: the part's event, the text's event, the text's field and the
/// name of its index.
fn content(
    stream: &mut Events,
    place: &Value,
    part: &Value,
    [part_event, text_event, field, index]: [&str; 4],
    delta_bytes: usize,
) {
    let place = with(place, json!({ index: 0 }));
    let mut opened = part.clone();
    opened[field] = json!("");
    stream.push(&format!("response.{part_event}.added"), with(&place, json!({ "part": opened })));
    let text = word(part, field);
    for piece in pieces(text, delta_bytes) {
        let data = with(&place, json!({ "delta": piece }));
        stream.push(&format!("response.{text_event}.delta"), data);
    }
    stream.push(&format!("response.{text_event}.done"), with(&place, json!({ field: text })));
    stream.push(&format!("response.{part_event}.done"), with(&place, json!({ "part": part })));
}

/// The fields of both objects.
fn with(place: &Value, mut more: Value) -> Value {
    for (key, value) in place.as_object().into_iter().flatten() {
        more[key.as_str()] = value.clone();
    }
    more
}
