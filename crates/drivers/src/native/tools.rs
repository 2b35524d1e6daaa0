//! What a model may call.
//!
//! It owns names, words and schemas of the tools. They must never change within a run, nor may
//! their order: a provider's cache holds only what stays the same.

use journeyman_domain::model::ToolSpec;
use serde_json::{Value, json};

/// Lines that one read shows at most.
pub(super) const READ_LINES: u64 = 2_000;

pub(super) const BASH: &str = "bash";
pub(super) const EDIT: &str = "edit";
pub(super) const WRITE: &str = "write";
pub(super) const READ: &str = "read";
pub(super) const APPLY_PATCH: &str = "apply_patch";

/// Whether a model is of the family that is trained on patches rather than on replacements.
pub(super) fn is_patching(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
    let is_reasoning = ["o1", "o3", "o4"].iter().any(|family| {
        name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    });
    name.contains("gpt-") || name.contains("codex") || is_reasoning
}

/// The tools, in their order.
pub(super) fn specs(patching: bool) -> Vec<ToolSpec> {
    let edit = if patching { apply_patch() } else { edit() };
    vec![bash(), edit, write(), read()]
}

fn bash() -> ToolSpec {
    spec(
        BASH,
        "Runs a command with bash, in the workspace. Each call is a shell of its own: a change of \
         folder or a variable does not last. There is no input and no terminal. Answers with the \
         exit code and with what it printed; long output is cut in the middle, so filter it.",
        &json!({
            "command": { "type": "string", "description": "The command, of one or more lines." },
            "timeout_s": {
                "type": "integer",
                "description": "Seconds until it is stopped. Leave it out for the usual limit."
            }
        }),
        &["command"],
    )
}

fn edit() -> ToolSpec {
    spec(
        EDIT,
        "Replaces a text in a file. The old text must be exactly what stands there, with its \
         indentation, and must stand there only once, unless replace_all is set. Read the file \
         before; take enough lines around the place that it is the only one.",
        &json!({
            "path": path(),
            "old": { "type": "string", "description": "What stands there now, without line numbers." },
            "new": { "type": "string", "description": "What shall stand there." },
            "replace_all": {
                "type": "boolean",
                "description": "Whether each place is replaced. Usually false."
            }
        }),
        &["path", "old", "new"],
    )
}

fn write() -> ToolSpec {
    spec(
        WRITE,
        "Writes a whole file, new or not. Folders are made. To change a part of a file that is \
         there, use the other tool.",
        &json!({
            "path": path(),
            "content": { "type": "string", "description": "All that the file shall hold." }
        }),
        &["path", "content"],
    )
}

fn read() -> ToolSpec {
    spec(
        READ,
        "Shows lines of a text file with their numbers, or the names in a directory.",
        &json!({
            "path": path(),
            "offset": { "type": "integer", "description": "The first line, from 1." },
            "limit": { "type": "integer", "description": "How many lines, 2000 at most." }
        }),
        &["path"],
    )
}

fn apply_patch() -> ToolSpec {
    spec(
        APPLY_PATCH,
        "Changes files by a patch, all of it or nothing. Its form:\n\
         *** Begin Patch\n\
         *** Update File: path/to/file\n\
         @@ fn the_function_around_it() {\n \
         a line that stays, about three before and after\n\
         -a line that goes\n\
         +a line that comes\n\
         *** Add File: path/to/new\n\
         +each line of the new file\n\
         *** Delete File: path/to/old\n\
         *** End Patch\n\
         A line `*** Move to: new/path` after an update's first line moves the file. There are no \
         line numbers: a place is found by its lines. Paths are relative to the workspace.",
        &json!({
            "patch": {
                "type": "string",
                "description": "The patch, from *** Begin Patch to *** End Patch."
            }
        }),
        &["patch"],
    )
}

fn path() -> Value {
    json!({ "type": "string", "description": "Relative to the workspace." })
}

fn spec(name: &str, description: &str, properties: &Value, required: &[&str]) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: description.to_owned(),
        parameters: json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_of_one_family_patch_and_all_others_replace() {
        for model in ["gpt-5.5", "openai/gpt-oss-20b", "codex-mini", "o3", "o4-mini", "GPT-4o"] {
            assert!(is_patching(model), "{model}");
        }
        for model in ["claude-opus-4-7", "qwen3-coder", "o3x", "solo3", "llama3.1", "gptx"] {
            assert!(!is_patching(model), "{model}");
        }
        let names =
            |patching| specs(patching).into_iter().map(|tool| tool.name).collect::<Vec<_>>();
        assert_eq!(names(false), ["bash", "edit", "write", "read"]);
        assert_eq!(names(true), ["bash", "apply_patch", "write", "read"]);
    }

    #[test]
    fn schemas_are_closed_plain_and_described() {
        for tool in specs(false).into_iter().chain(specs(true)) {
            let schema = &tool.parameters;
            assert_eq!(
                (&schema["type"], &schema["additionalProperties"]),
                (&json!("object"), &json!(false))
            );
            let properties = schema["properties"].as_object().unwrap();
            for property in properties.values() {
                assert!(property["type"].is_string() && property["description"].is_string());
            }
            for required in schema["required"].as_array().unwrap() {
                assert!(properties.contains_key(required.as_str().unwrap()));
            }
        }
    }
}
