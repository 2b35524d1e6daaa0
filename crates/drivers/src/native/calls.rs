//! From what a model calls to what the runtime shall do.
//!
//! It owns what a well-formed call is, and the words that tell what is wrong with another. A model's
//! call is untrusted text: it must never become an action that the tools do not offer.

use journeyman_domain::model::CallRequest;
use journeyman_domain::text::patch;
use journeyman_domain::tool::{Exec, Tool, ToolCall};
use serde_json::{Map, Value};

use super::tools::{APPLY_PATCH, BASH, EDIT, READ, READ_LINES, WRITE};

/// Characters of a call's title.
const TITLE: usize = 100;

/// Bytes of a command: the system takes no longer argument.
const COMMAND_BYTES: usize = 120 * 1024;

/// Turns calls into actions.
pub(super) struct Toolbox {
    /// Whether the model patches rather than replaces.
    pub(super) patching: bool,
    /// The absolute path of the workspace.
    pub(super) workspace: String,
    /// Whether commands may use the network.
    pub(super) network: bool,
    /// Milliseconds that a command may take at most.
    pub(super) call_timeout_ms: u64,
}

impl Toolbox {
    /// The names of the tools, in their order.
    pub(super) const fn names(&self) -> [&'static str; 4] {
        [BASH, if self.patching { APPLY_PATCH } else { EDIT }, WRITE, READ]
    }

    /// What a call asks for, under the runtime's own id. Where the call is malformed: what the model
    /// is told.
    pub(super) fn take(
        &self,
        call: &CallRequest,
        call_id: String,
        is_cut: bool,
    ) -> Result<ToolCall, String> {
        let name = call.name.trim();
        if !self.names().contains(&name) {
            let shown: String = name.chars().take(TITLE).collect();
            return Err(format!(
                "there is no tool '{shown}'; the tools are {}",
                self.names().join(", ")
            ));
        }
        let read = Arguments::read(name, &call.arguments).and_then(|mut arguments| {
            let taken = self.tool(name, &mut arguments)?;
            arguments.end()?;
            Ok(taken)
        });
        match read {
            Ok((title, tool)) => Ok(ToolCall { call_id, title: line(&title), tool }),
            Err(_) if is_cut => Err(format!(
                "the limit of output tokens cut your answer off, so the arguments of this call to \
                 {name} are incomplete and it was not done; take a smaller step, for example \
                 write a long file in several parts"
            )),
            Err(wrong) => Err(wrong),
        }
    }

    fn tool(&self, name: &str, arguments: &mut Arguments) -> Result<(String, Tool), String> {
        match name {
            BASH => {
                let command = arguments.text("command")?;
                let seconds = arguments.number("timeout_s")?;
                if command.trim().is_empty() || command.contains('\0') {
                    return Err(arguments.wrong("'command' is empty or holds a NUL character"));
                }
                if command.len() > COMMAND_BYTES {
                    return Err(arguments.wrong("'command' is too long; write a file and run it"));
                }
                let timeout_ms =
                    seconds.map(|seconds| seconds.saturating_mul(1_000).min(self.call_timeout_ms));
                let title = format!("bash: {}", command.trim());
                let argv = vec!["bash".to_owned(), "-c".to_owned(), command];
                let exec = Exec { argv, network: self.network, timeout_ms, ..Exec::default() };
                Ok((title, Tool::Exec(exec)))
            }
            EDIT => {
                let path = self.path(arguments)?;
                let (old, new) = (arguments.text("old")?, arguments.text("new")?);
                let all = arguments.flag("replace_all")?;
                Ok((format!("edit {path}"), Tool::Replace { path, old, new, all }))
            }
            WRITE => {
                let path = self.path(arguments)?;
                let content = arguments.text("content")?;
                Ok((format!("write {path}"), Tool::Write { path, content }))
            }
            READ => {
                let path = self.path(arguments)?;
                let offset = arguments.number("offset")?.unwrap_or(1);
                let limit = arguments.number("limit")?.unwrap_or(READ_LINES).min(READ_LINES);
                Ok((format!("read {path}"), Tool::View { path, offset, limit }))
            }
            _ => {
                let patch = arguments.text("patch")?;
                let changes = patch::parse(&patch)
                    .map_err(|error| arguments.wrong(&format!("'patch' is no patch: {error}")))?;
                let paths: Vec<&str> = changes.iter().map(patch::FileChange::path).collect();
                Ok((format!("patch {}", paths.join(", ")), Tool::Patch { patch }))
            }
        }
    }

    /// A path below the workspace; models often give the whole one.
    fn path(&self, arguments: &mut Arguments) -> Result<String, String> {
        let path = arguments.text("path")?;
        let below = path
            .strip_prefix(self.workspace.trim_end_matches('/'))
            .filter(|_| !self.workspace.is_empty())
            .and_then(|rest| if rest.is_empty() { Some(".") } else { rest.strip_prefix('/') });
        match below.unwrap_or(&path).trim() {
            "" => Err(arguments.wrong("'path' is empty")),
            path => Ok(path.to_owned()),
        }
    }
}

/// The arguments of one call, taken one by one.
struct Arguments {
    tool: String,
    given: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Arguments {
    fn read(tool: &str, arguments: &str) -> Result<Self, String> {
        // Some servers send nothing where there are no arguments.
        let text = if arguments.trim().is_empty() { "{}" } else { arguments };
        let given = match serde_json::from_str(text) {
            Ok(Value::Object(given)) => given,
            Ok(_) => return Err(format!("the arguments of {tool} are no JSON object")),
            Err(error) => return Err(format!("the arguments of {tool} are no JSON: {error}")),
        };
        Ok(Self { tool: tool.to_owned(), given, known: Vec::new() })
    }

    fn wrong(&self, what: &str) -> String {
        format!("this call to {} was not done: {what}", self.tool)
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.given.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &'static str) -> Result<String, String> {
        match self.take(name) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(self.wrong(&format!("'{name}' must be a string"))),
            None => Err(self.wrong(&format!("the required '{name}' is missing"))),
        }
    }

    fn number(&mut self, name: &'static str) -> Result<Option<u64>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if number > 0 => Ok(Some(number)),
                Some(_) | None => {
                    Err(self.wrong(&format!("'{name}' must be a whole number from 1")))
                }
            },
        }
    }

    fn flag(&mut self, name: &'static str) -> Result<bool, String> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.wrong(&format!("'{name}' must be true or false"))),
        }
    }

    fn end(&self) -> Result<(), String> {
        match self.given.keys().next() {
            None => Ok(()),
            Some(other) => {
                let other: String = other.chars().take(TITLE).collect();
                let known = self.known.join(", ");
                Err(self.wrong(&format!("it takes no '{other}', only {known}")))
            }
        }
    }
}

/// One bounded line without control characters.
fn line(title: &str) -> String {
    let mut words = title.split_whitespace().collect::<Vec<_>>().join(" ");
    words.retain(|character| !character.is_control());
    match words.char_indices().nth(TITLE) {
        None => words,
        Some((cut, _)) => format!("{}…", &words[..cut]),
    }
}

/// Marks with which models begin a call that they write as text.
const MARKS: [&str; 6] =
    ["<tool_call", "<function_call", "<function=", "<invoke", "<|tool_call", "[TOOL_CALLS]"];

/// Whether an answer's text is a call of one of these tools, where a real one was meant.
pub(super) fn is_call_as_text(text: &str, names: &[&str]) -> bool {
    let names_one = |text: &str| names.iter().any(|name| text.contains(name));
    let is_marked = MARKS.iter().any(|mark| {
        text.split_once(mark).is_some_and(|(_, rest)| {
            names_one(rest.char_indices().nth(200).map_or(rest, |(cut, _)| &rest[..cut]))
        })
    });
    let fenced = text.split("```").skip(1).step_by(2);
    let is_json = fenced.chain([text]).any(|block| {
        let json = block.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
        let Ok(Value::Object(call)) = serde_json::from_str(json.trim()) else {
            return false;
        };
        let name = ["name", "tool", "function"].iter().find_map(|key| call.get(*key)?.as_str());
        let has_arguments =
            ["arguments", "parameters", "input"].iter().any(|key| call.contains_key(*key));
        has_arguments && name.is_some_and(|name| names.contains(&name))
    });
    is_marked || is_json
}

#[cfg(test)]
mod tests;
