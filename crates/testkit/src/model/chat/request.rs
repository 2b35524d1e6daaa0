//! `POST /v1/chat/completions`: what is asked, and what is wrong with it.
//!
//! Owns: the rules of OpenAI's chat completions for a history. Must never: know a script.

use serde_json::{Map, Value};

use crate::model::Seen;
use crate::model::dialect::{History, list, listed_types, text_of, tools_or_schema, word};

fn is_system(message: &Value) -> bool {
    matches!(word(message, "role"), "system" | "developer")
}

pub(super) fn read(seen: &Seen) -> History {
    let body = &seen.body;
    let messages = list(&body["messages"]);
    let split = messages.iter().take_while(|message| is_system(message)).count();
    let (system, entries) = messages.split_at(split);
    let is_turn = |message: &&Value| word(message, "role") == "assistant";
    let first_user = entries.iter().find(|message| word(message, "role") == "user");
    let after = entries.iter().rposition(|message| is_turn(&message)).map_or(0, |at| at + 1);
    History {
        system: Value::from(system.to_vec()),
        tools: tools_or_schema(list(&body["tools"]).to_vec(), &body["response_format"]),
        entries: entries.to_vec(),
        turns: entries.iter().filter(is_turn).map(|message| vec![message.clone()]).collect(),
        first_user: first_user.map(|message| text_of(&message["content"])).unwrap_or_default(),
        last: entries[after..].iter().map(|message| text_of(&message["content"])).collect(),
        cache_marks: 0,
        faults: faults(seen),
    }
}

fn call_ids(message: &Value) -> Vec<&str> {
    list(&message["tool_calls"]).iter().map(|call| word(call, "id")).collect()
}

fn faults(seen: &Seen) -> Vec<String> {
    let messages = list(&seen.body["messages"]);
    let mut faults = listed_types(seen);
    if messages.is_empty() {
        faults.push("[] is too short - 'messages'".to_owned());
    }
    let mut open: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        match word(message, "role") {
            "tool" => {
                let id = word(message, "tool_call_id");
                match open.iter().position(|call| *call == id) {
                    Some(found) => drop(open.remove(found)),
                    None => faults.push(format!(
                        "messages.{at}: messages with role 'tool' must be a response to a preceding \
                         message with 'tool_calls': `{id}` is not open"
                    )),
                }
            }
            role @ ("system" | "developer" | "user" | "assistant") => {
                unanswered(&mut open, &mut faults);
                if role == "assistant" {
                    open = call_ids(message);
                }
            }
            other => faults.push(format!("messages.{at}: invalid role: '{other}'")),
        }
    }
    unanswered(&mut open, &mut faults);
    faults
}

fn unanswered(open: &mut Vec<&str>, faults: &mut Vec<String>) {
    if !open.is_empty() {
        faults.push(format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to \
             each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
            open.join(", ")
        ));
        open.clear();
    }
}

/// The text (or the refusal) and the calls have to be the same; a missing text is the same as an
/// empty one. What templates of servers choke on may be mended: a name that is none, and arguments
/// that are no object.
pub(super) fn same(given: &Value, sent_back: &Value) -> bool {
    let text = |message: &Value| match text_of(&message["content"]) {
        text if text.is_empty() => word(message, "refusal").to_owned(),
        text => text,
    };
    let (calls, back) = (list(&given["tool_calls"]), list(&sent_back["tool_calls"]));
    word(sent_back, "role") == "assistant"
        && text(given) == text(sent_back)
        && calls.len() == back.len()
        && calls.iter().zip(back).all(|(given, back)| same_call(given, back))
}

fn same_call(given: &Value, back: &Value) -> bool {
    let kept = |field: &str, is_sound: fn(&str) -> bool| {
        let (given, back) = (word(&given["function"], field), word(&back["function"], field));
        given == back || (!is_sound(given) && is_sound(back))
    };
    word(given, "id") == word(back, "id") && kept("name", is_name) && kept("arguments", is_object)
}

fn is_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=64).contains(&name.len()) && name.chars().all(known)
}

fn is_object(arguments: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(arguments).is_ok()
}
