//! `POST /v1/responses`: what is asked, and what is wrong with it.
//!
//! Owns: the rules of OpenAI's responses for a list of input items. Must never: know a script.

use serde_json::{Value, json};

use crate::model::Seen;
use crate::model::dialect::{History, list, listed_types, text_of, tools_or_schema, within, word};

/// A message may leave its type away.
fn kind(item: &Value) -> &str {
    if item.get("type").is_none() { "message" } else { word(item, "type") }
}

/// Whether the model said it.
fn is_output(item: &Value) -> bool {
    match kind(item) {
        "message" => word(item, "role") == "assistant",
        other => !other.ends_with("_output"),
    }
}

/// The items; a plain string is one user message.
fn items(body: &Value) -> Vec<Value> {
    match body["input"].as_str() {
        Some(text) => vec![json!({ "type": "message", "role": "user", "content": text })],
        None => list(&body["input"]).to_vec(),
    }
}

fn said(item: &Value) -> String {
    text_of(if kind(item) == "message" { &item["content"] } else { &item["output"] })
}

pub(super) fn read(seen: &Seen) -> History {
    let body = &seen.body;
    let entries = items(body);
    let turns = entries.chunk_by(|a, b| is_output(a) && is_output(b));
    let turns = turns.filter(|group| group.first().is_some_and(is_output));
    let first_user = entries.iter().find(|item| word(item, "role") == "user");
    let after = entries.iter().rposition(is_output).map_or(0, |at| at + 1);
    History {
        system: body["instructions"].clone(),
        tools: tools_or_schema(list(&body["tools"]).to_vec(), &body["text"]["format"]),
        turns: turns.map(<[Value]>::to_vec).collect(),
        first_user: first_user.map(said).unwrap_or_default(),
        last: entries[after..].iter().map(said).collect(),
        cache_marks: 0,
        faults: faults(seen, &entries),
        entries,
    }
}

fn faults(seen: &Seen, entries: &[Value]) -> Vec<String> {
    let mut faults = listed_types(seen);
    if entries.is_empty() {
        faults.push("Missing required parameter: 'input'.".to_owned());
    }
    let (mut open, mut answering): (Vec<&str>, bool) = (Vec::new(), false);
    for item in entries {
        match kind(item) {
            "function_call_output" => {
                answering = true;
                let id = word(item, "call_id");
                match open.iter().position(|call| *call == id) {
                    Some(found) => drop(open.remove(found)),
                    None => faults.push(format!(
                        "No tool call found for function call output with call_id {id}."
                    )),
                }
            }
            other => {
                // A turn is over with the first answer, or when somebody else says something.
                if answering || !is_output(item) {
                    unanswered(&mut open, &mut faults);
                    answering = false;
                }
                if other == "function_call" {
                    open.push(word(item, "call_id"));
                }
            }
        }
    }
    unanswered(&mut open, &mut faults);
    faults
}

fn unanswered(open: &mut Vec<&str>, faults: &mut Vec<String>) {
    let missing = open.drain(..);
    faults.extend(missing.map(|id| format!("No tool output found for function call {id}.")));
}

/// What a replayed item has to hold; `id` and `status` may be left away, as nothing is stored.
fn needed(kind: &str) -> &'static [&'static str] {
    match kind {
        "function_call" => &["call_id", "name", "arguments"],
        "reasoning" => &["summary", "encrypted_content"],
        _ => &["role", "content"],
    }
}

pub(super) fn same(given: &Value, sent_back: &Value) -> bool {
    if kind(given) != kind(sent_back) {
        return false;
    }
    let complete = needed(kind(given)).iter().all(|field| sent_back.get(*field).is_some());
    let plain_text = sent_back["content"].is_string();
    let same_text = || text_of(&sent_back["content"]) == text_of(&given["content"]);
    complete && if plain_text { same_text() } else { within(sent_back, given) }
}
