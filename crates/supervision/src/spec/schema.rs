//! The JSON schema of a supervision file, from the types that the loader reads.
//!
//! Editors complete and check by it. What concerns several tables at once (names that are not there or stand twice,
//! circles) only the loader can tell.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Value, json};

use super::load::{RawChild, RawSupervisor};

/// A duration as text.
pub(super) struct Text;
/// The same, longer than zero.
pub(super) struct Positive;
/// `"kill"`, `"unbounded"` or a duration.
pub(super) struct Stop;

const DURATION: &str = "^[0-9]+(ms|s|m|h)$";

fn duration(pattern: &str) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": pattern,
        "examples": ["200ms", "10s", "5m", "1h"],
    })
}

macro_rules! inline {
    ($type:ty, $name:literal, $schema:expr) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

inline!(Text, "Duration", duration(DURATION));
inline!(Positive, "PositiveDuration", duration("^0*[1-9][0-9]*(ms|s|m|h)$"));
inline!(
    Stop,
    "Shutdown",
    json_schema!({ "anyOf": [{ "enum": ["kill", "unbounded"] }, duration(DURATION)] })
);

/// The schema of files whose workers are of these kinds.
pub fn schema(kinds: &[&str]) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let supervisor = generator.subschema_for::<RawSupervisor>();
    let child = generator.subschema_for::<RawChild>();
    let mut definitions = Value::Object(generator.take_definitions(true));
    without_null(&mut definitions);
    refine_child(&mut definitions["Child"], kinds);
    refine_supervisor(&mut definitions["Supervisor"], child.as_value());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A supervision tree",
        "description": "Each table is a supervisor; [root] is the one at the top.",
        "type": "object",
        "properties": { "root": supervisor },
        "required": ["root"],
        "additionalProperties": supervisor,
        "$defs": definitions,
    })
}

/// TOML has no null: what may be left out is not null.
fn without_null(value: &mut Value) {
    let is_null = |one: &Value| *one == json!("null") || *one == json!({ "type": "null" });
    match value {
        Value::Object(fields) => {
            for key in ["type", "anyOf"] {
                if let Some(Value::Array(choices)) = fields.get_mut(key) {
                    choices.retain(|one| !is_null(one));
                    let [only] = choices.as_slice() else { continue };
                    let only = only.clone();
                    fields.remove(key);
                    match only {
                        Value::Object(only) => fields.extend(only),
                        Value::Null
                        | Value::Bool(_)
                        | Value::Number(_)
                        | Value::String(_)
                        | Value::Array(_) => drop(fields.insert(key.to_owned(), only)),
                    }
                }
            }
            if fields.get("default") == Some(&Value::Null) {
                fields.remove("default");
            }
            fields.values_mut().for_each(without_null);
        }
        Value::Array(values) => values.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn refine_child(child: &mut Value, kinds: &[&str]) {
    let properties = &mut child["properties"];
    properties["id"]["pattern"] = json!("^[A-Za-z0-9_.-]{1,128}$");
    properties["kind"]["enum"] = json!(kinds);
    properties["supervisor"]["not"] = json!({ "const": super::ROOT });
    child["allOf"] = json!([
        { "not": { "required": ["kind", "supervisor"] } },
        {
            "$comment": "Without either, the id is the kind.",
            "anyOf": [
                { "required": ["kind"] },
                { "required": ["supervisor"] },
                { "properties": { "id": { "enum": kinds } } },
            ],
        },
        {
            "$comment": "A permanent child never finishes.",
            "if": { "properties": { "significant": { "const": true } }, "required": ["significant"] },
            "then": {
                "properties": { "restart": { "enum": ["transient", "temporary"] } },
                "required": ["restart"],
            },
        },
    ]);
}

fn refine_supervisor(supervisor: &mut Value, child: &Value) {
    let insignificant = json!({ "properties": { "significant": { "const": false } } });
    let properties = &mut supervisor["properties"];
    properties["children"]["items"] = json!({ "allOf": [child, { "required": ["id"] }] });
    let template = json!({
        "properties": { "id": false },
        "anyOf": [{ "required": ["kind"] }, { "required": ["supervisor"] }],
    });
    let description = properties["child"]["description"].clone();
    properties["child"] = json!({ "description": description, "allOf": [child, template] });
    supervisor["allOf"] = json!([
        {
            "if": { "properties": { "strategy": { "const": "dynamic" } } },
            "then": { "properties": { "children": { "maxItems": 0 } }, "required": ["child"] },
            "else": { "properties": { "child": false, "max_children": false } },
        },
        {
            "if": {
                "properties": { "auto_shutdown": { "const": "never" } },
            },
            "then": { "properties": { "children": { "items": insignificant }, "child": insignificant } },
        },
    ]);
}
