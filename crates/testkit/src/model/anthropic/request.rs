//! `POST /v1/messages`: what is asked, and what is wrong with it.
//!
//! Owns: the rules of Anthropic's messages for a history, cache marks and headers. Must never: know
//! a script.

use serde_json::{Value, json};

use crate::model::Seen;
use crate::model::dialect::{History, list, listed_types, text_of, word};

/// The breakpoints that one request may have.
const MAX_CACHE_MARKS: usize = 4;

/// The blocks of a content; a string is one text block.
fn blocks(content: &Value) -> Vec<Value> {
    match content.as_str() {
        Some(text) => vec![json!({ "type": "text", "text": text })],
        None => list(content).to_vec(),
    }
}

/// Takes the cache marks out of blocks or tools, and counts them. They move from request to
/// request and are no part of what is said.
fn unmark(blocks: &mut [Value]) -> usize {
    let mut marks = 0;
    for block in blocks.iter_mut().filter_map(Value::as_object_mut) {
        marks += usize::from(block.remove("cache_control").is_some_and(|mark| !mark.is_null()));
        if let Some(inner) = block.get_mut("content").and_then(Value::as_array_mut) {
            marks += unmark(inner);
        }
    }
    marks
}

struct Message {
    role: String,
    blocks: Vec<Value>,
}

fn messages(body: &Value) -> (Vec<Message>, usize) {
    let mut marks = 0;
    let read = |message: &Value| {
        let mut blocks = blocks(&message["content"]);
        marks += unmark(&mut blocks);
        Message { role: word(message, "role").to_owned(), blocks }
    };
    let messages = list(&body["messages"]).iter().map(read).collect();
    (messages, marks)
}

fn said(block: &Value) -> String {
    text_of(if word(block, "type") == "text" { &block["text"] } else { &block["content"] })
}

pub(super) fn read(seen: &Seen) -> History {
    let body = &seen.body;
    let (messages, mut cache_marks) = messages(body);
    let mut system = blocks(&body["system"]);
    let mut tools = list(&body["tools"]).to_vec();
    cache_marks += unmark(&mut system) + unmark(&mut tools);
    let entry = |message: &Message, block: &Value| json!({ "role": message.role, "block": block });
    let entries = messages.iter().flat_map(|m| m.blocks.iter().map(move |block| entry(m, block)));
    let turns = messages.iter().filter(|message| message.role == "assistant");
    let first_user = messages.iter().filter(|message| message.role == "user");
    let first_user = first_user.flat_map(|message| &message.blocks).find(|b| b["text"].is_string());
    let after = messages.iter().rposition(|m| m.role == "assistant").map_or(0, |at| at + 1);
    History {
        system: Value::from(system),
        tools,
        entries: entries.collect(),
        turns: turns.map(|message| message.blocks.clone()).collect(),
        first_user: first_user.map(said).unwrap_or_default(),
        last: messages[after..].iter().flat_map(|message| &message.blocks).map(said).collect(),
        cache_marks,
        faults: faults(seen, &messages, cache_marks),
    }
}

fn faults(seen: &Seen, messages: &[Message], marks: usize) -> Vec<String> {
    let mut faults = listed_types(seen);
    if seen.header("anthropic-version").is_none() {
        faults.push("anthropic-version: header is required".to_owned());
    }
    if seen.body["max_tokens"].as_u64().is_none_or(|tokens| tokens == 0) {
        faults.push("max_tokens: Field required".to_owned());
    }
    if marks > MAX_CACHE_MARKS {
        faults.push(format!(
            "A maximum of 4 blocks with cache_control may be provided. Found {marks}."
        ));
    }
    match messages.first() {
        None => faults.push("messages: at least one message is required".to_owned()),
        Some(first) if first.role != "user" => {
            faults.push("messages: first message must use the \"user\" role".to_owned());
        }
        Some(_) => {}
    }
    for (at, message) in messages.iter().enumerate() {
        shape(at, message, &mut faults);
        let before = at.checked_sub(1).and_then(|before| messages.get(before));
        pairs(at, message, before, &mut faults);
    }
    if let Some(last) = messages.last() {
        let open = call_ids(last);
        if !open.is_empty() {
            faults.push(without_results(messages.len() - 1, &open));
        }
    }
    faults
}

fn shape(at: usize, message: &Message, faults: &mut Vec<String>) {
    if !matches!(message.role.as_str(), "user" | "assistant") {
        faults.push(format!("messages.{at}.role: Input should be 'user' or 'assistant'"));
    }
    if message.blocks.is_empty() {
        faults.push(format!("messages.{at}: all messages must have non-empty content"));
    }
    let empty = |block: &&Value| block["type"] == "text" && word(block, "text").is_empty();
    if message.blocks.iter().any(|block| empty(&block)) {
        faults.push(format!("messages.{at}: text content blocks must be non-empty"));
    }
    let bad = |block: &&Value| block["type"] == "tool_use" && !block["input"].is_object();
    if message.blocks.iter().any(|block| bad(&block)) {
        faults.push(format!("messages.{at}: tool_use.input: Input should be a valid dictionary"));
    }
}

fn call_ids(message: &Message) -> Vec<&str> {
    let calls = message.blocks.iter().filter(|block| block["type"] == "tool_use");
    calls.map(|block| word(block, "id")).collect()
}

fn without_results(at: usize, ids: &[&str]) -> String {
    format!(
        "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: \
         {}. Each `tool_use` block must have a corresponding `tool_result` block in the next \
         message.",
        ids.join(", ")
    )
}

/// Roles alternate, and each call is answered once, before anything else is said.
fn pairs(at: usize, message: &Message, before: Option<&Message>, faults: &mut Vec<String>) {
    if before.is_some_and(|before| before.role == message.role) {
        faults.push(format!(
            "messages: roles must alternate between \"user\" and \"assistant\", but found multiple \
             \"{}\" roles in a row at {at}",
            message.role
        ));
    }
    let mut open = before.map(call_ids).unwrap_or_default();
    let mut begun = false;
    for (block_at, block) in message.blocks.iter().enumerate() {
        if block["type"] != "tool_result" {
            begun = true;
            continue;
        }
        let id = word(block, "tool_use_id");
        match open.iter().position(|call| *call == id) {
            Some(found) if !begun => drop(open.remove(found)),
            Some(found) => {
                open.remove(found);
                faults.push(format!(
                    "messages.{at}.content.{block_at}: `tool_result` blocks must come first"
                ));
            }
            None => faults.push(format!(
                "messages.{at}.content.{block_at}: unexpected `tool_use_id` found in `tool_result` \
                 blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block \
                 in the previous message."
            )),
        }
    }
    if !open.is_empty() {
        faults.push(without_results(at - 1, &open));
    }
}

/// A block is sent back as it was, but for the input of a call that had none.
pub(super) fn same(given: &Value, sent_back: &Value) -> bool {
    if given["type"] == "tool_use" && given["input"].is_null() && sent_back["input"].is_object() {
        let mut given = given.clone();
        given["input"] = sent_back["input"].clone();
        return given == *sent_back;
    }
    given == sent_back
}
