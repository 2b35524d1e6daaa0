//! A request as the server saw it.
//!
//! Owns: what was asked. Must never: change it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use journeyman_domain::model::Wire;
use serde_json::Value;

use super::dialect::{list, word};

/// A request of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// When it came.
    pub at: SystemTime,
    /// The wire, by the path.
    pub wire: Wire,
    /// The path with its query.
    pub path: String,
    /// Every header, its name in lower case: the key too.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Value,
    /// Which conversation it belongs to: its `prompt_cache_key`, or else the hash of its first user
    /// message ([`super::conversation_of`]), with `#2` and so on where a conversation begins again
    /// with the same words. Without keys, two of the same words must not run at the same time.
    pub conversation: String,
    /// The turn that is asked for, from 0: the assistant turns that the request holds. It goes on
    /// counting after a compaction.
    pub turn: usize,
    /// What the user, the runtime or the tools said last, as plain texts in their order.
    pub last: Vec<String>,
}

impl Seen {
    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The key that came with it, as bearer or as `x-api-key`.
    pub fn key(&self) -> Option<&str> {
        let bearer = self.header("authorization").and_then(|text| text.strip_prefix("Bearer "));
        bearer.or_else(|| self.header("x-api-key"))
    }

    /// The model that is asked.
    pub fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// Whether the body holds this text anywhere in its strings.
    pub fn says(&self, text: &str) -> bool {
        holds(&self.body, text)
    }

    /// Whether the model shall only answer and call nothing.
    pub fn answers_only(&self) -> bool {
        let choice = &self.body["tool_choice"];
        let format = self.body["response_format"].to_string() + &self.body["text"].to_string();
        let schema_without_tools = self.wants_json() && !format.contains("tool_arguments");
        word(choice, "type") == "none" || choice.as_str() == Some("none") || schema_without_tools
    }

    /// The names of the tools that it offers, in their order.
    pub fn tool_names(&self) -> Vec<&str> {
        let name = |tool| match word(tool, "name") {
            "" => word(&tool["function"], "name"),
            name => name,
        };
        list(&self.body["tools"]).iter().map(name).collect()
    }

    /// Whether the answer shall be one JSON object under a schema instead of tool calls.
    pub fn wants_json(&self) -> bool {
        let formats = [&self.body["response_format"]["type"], &self.body["text"]["format"]["type"]];
        self.tool_names().is_empty() && formats.iter().any(|kind| *kind == "json_schema")
    }

    pub(super) fn wants_stream(&self) -> bool {
        self.body["stream"] == true
    }
}

fn holds(value: &Value, text: &str) -> bool {
    if let Some(string) = value.as_str() {
        return string.contains(text);
    }
    if let Some(list) = value.as_array() {
        return list.iter().any(|value| holds(value, text));
    }
    value.as_object().is_some_and(|object| object.values().any(|value| holds(value, text)))
}
