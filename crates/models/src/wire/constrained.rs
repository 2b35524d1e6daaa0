//! Tools for models that know none: one JSON object under a schema stands for a call.
//!
//! Owns: the schema, its description for the model, and what an answer under it means. Tools are
//! not sent; each answer is `{"tool": name, "tool_arguments": {...}}` or `{"answer": text}`. The
//! keys are such that the name comes first in the order of the alphabet, which is the order in
//! which servers let the model write them. Must never accept half an object as a call.

use std::fmt::Write as _;

use journeyman_domain::model::ModelRequest;
use serde_json::{Map, Value, json};

use super::{Answered, Entry, entries};
use crate::answer::arguments;

/// The schema's name.
pub(crate) const NAME: &str = "next_step";

/// What an answer under the schema means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A call of a tool with these arguments.
    Call {
        /// The tool's name.
        name: String,
        /// The arguments, as JSON.
        arguments: String,
    },
    /// The last word.
    Answer(String),
}

/// The schema of an answer. `anyOf`, as more servers know it than `oneOf`, and the alternatives
/// exclude one another by their keys.
pub(crate) fn schema(request: &ModelRequest) -> Value {
    let tools = request.tools.iter().filter(|_| request.may_call);
    let calls = tools.map(|tool| {
        json!({
            "type": "object",
            "properties": {
                "tool": {"type": "string", "const": tool.name},
                "tool_arguments": tool.parameters,
            },
            "required": ["tool", "tool_arguments"],
            "additionalProperties": false,
        })
    });
    let answer = json!({
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": false,
    });
    json!({"anyOf": calls.chain([answer]).collect::<Vec<_>>()})
}

/// The system prompt with a description of the tools behind it.
pub(crate) fn system(request: &ModelRequest) -> String {
    if request.tools.is_empty() {
        return request.system.clone();
    }
    let mut text = request.system.clone();
    text.push_str(
        "\n\n# How to answer\n\
         Each of your answers is one JSON object and nothing else.\n\
         To call a tool: {\"tool\": \"<name>\", \"tool_arguments\": {<arguments>}}. You are then \
         told its result.\n\
         When you are done: {\"answer\": \"<text>\"}.\n\n# Tools\n",
    );
    for tool in &request.tools {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n## {}\n{}\nArguments, as a JSON schema: {}\n",
            tool.name, tool.description, tool.parameters
        );
    }
    text
}

/// What an answer means; `None` where it is no such object.
pub(crate) fn meaning(text: &str) -> Option<Meaning> {
    let object: Map<String, Value> = serde_json::from_str(unfenced(text)).ok()?;
    let name = ["tool", "name"].into_iter().find_map(|key| object.get(key)?.as_str());
    if let Some(name) = name {
        let given = ["tool_arguments", "arguments", "parameters"]
            .into_iter()
            .find_map(|key| object.get(key));
        let arguments = crate::answer::or_empty_object(arguments(given));
        return Some(Meaning::Call { name: name.to_owned(), arguments });
    }
    let answer = object.get("answer")?.as_str()?;
    Some(Meaning::Answer(answer.to_owned()))
}

/// The text without a fence around it.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```json").or_else(|| text.strip_prefix("```"));
    inner.and_then(|inner| inner.strip_suffix("```")).map_or(text, str::trim)
}

/// The conversation as plain words: earlier answers as they came, results as the user's words.
/// Neighbours of the user are one message, since chat templates of small models want turns.
pub(crate) fn conversation(request: &ModelRequest, user: &dyn Fn(&str) -> Value) -> Vec<Value> {
    let mut messages = Vec::new();
    let mut words = String::new();
    let flush = |words: &mut String, messages: &mut Vec<Value>| {
        if !words.is_empty() {
            messages.push(user(words));
            words.clear();
        }
    };
    for entry in entries(&request.items) {
        match entry {
            Entry::User(text) => add(&mut words, text),
            Entry::Model(turn) => {
                if !turn.items.is_empty() {
                    flush(&mut words, &mut messages);
                    messages.extend(turn.items.iter().cloned());
                }
            }
            Entry::Answers(answers) => {
                for Answered { name, output, is_error, .. } in answers {
                    let how = if is_error { "failed" } else { "gave" };
                    add(&mut words, &format!("The tool {name} {how}:\n{output}"));
                }
            }
        }
    }
    flush(&mut words, &mut messages);
    messages
}

fn add(words: &mut String, text: &str) {
    if !words.is_empty() {
        words.push_str("\n\n");
    }
    words.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_calls_or_last_words() {
        let call = |name: &str, arguments: &str| {
            Some(Meaning::Call { name: name.into(), arguments: arguments.into() })
        };
        let answer = |text: &str| Some(Meaning::Answer(text.into()));
        for (text, expected) in [
            (r#"{"tool":"read","tool_arguments":{"path":"a"}}"#, call("read", r#"{"path":"a"}"#)),
            (r#" {"arguments":{},"tool":"read"} "#, call("read", "{}")),
            (r#"{"name":"read","parameters":{"n":1}}"#, call("read", r#"{"n":1}"#)),
            (r#"{"tool":"read","tool_arguments":"{\"n\":1}"}"#, call("read", r#"{"n":1}"#)),
            (r#"{"tool":"read"}"#, call("read", "{}")),
            ("```json\n{\"answer\":\"done\"}\n```", answer("done")),
            (r#"{"answer":"done"}"#, answer("done")),
            (r#"{"answer":1}"#, None),
            (r#"{"tool":"read","tool_arg"#, None),
            ("words", None),
            ("[]", None),
        ] {
            assert_eq!(meaning(text), expected, "{text}");
        }
    }
}
