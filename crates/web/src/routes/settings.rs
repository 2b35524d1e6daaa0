//! `/settings`: the table `system_configuration`, which all nodes share.

use axum::Json as Document;
use axum::extract::{Path, State as Extracted};
use journeyman_store::Acting;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Answer;
use crate::api::State;
use crate::extract::Json;
use crate::problem::Refusal;
use crate::types::Setting;

/// What a secret may be given as: where it is, never itself.
const REFERENCES: [&str; 4] = ["env:", "file:", "command:", "keyring:"];

pub(crate) async fn list(Extracted(shared): State) -> Answer<Vec<Setting>> {
    let rows = shared.runtime.store.configuration().get_all().await?;
    Ok(Document(rows.into_iter().map(document).collect()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewValue {
    value: Value,
}

pub(crate) async fn set(
    Extracted(shared): State,
    Path(key): Path<String>,
    Json(NewValue { value }): Json<NewValue>,
) -> Answer<Setting> {
    let table = shared.runtime.store.configuration();
    let value = fitting(&table.get(&key).await?, value)?;
    let row = table.set(&Acting::now("user"), &key, &value).await?;
    Ok(Document(document(row)))
}

fn document(row: journeyman_store::Setting) -> Setting {
    let is_set = !matches!(row.config_value, Value::Null) && row.config_value != "";
    Setting {
        key: row.config_key,
        value: if row.is_sensitive && is_set { json!("***") } else { row.config_value },
        origin: "system_configuration".to_owned(),
    }
}

/// The value in the type of the one that it replaces.
fn fitting(row: &journeyman_store::Setting, value: Value) -> Result<Value, Refusal> {
    let key = &row.config_key;
    let (fits, wanted) = match &row.config_value {
        Value::Bool(_) => (value.is_boolean(), "true or false"),
        Value::Number(number) if number.is_f64() => (value.is_number(), "a number"),
        Value::Number(_) => (value.is_u64(), "a whole number from 0"),
        // A text that looks like a number or a word of JSON is a text nevertheless.
        Value::String(_) if value.is_number() || value.is_boolean() => {
            return fitting(row, Value::String(value.to_string()));
        }
        Value::String(_) => (value.is_string(), "a text"),
        Value::Array(_) => (value.is_array(), "a list"),
        Value::Object(_) => (value.is_object(), "an object"),
        Value::Null => (true, "anything"),
    };
    if !fits {
        // A secret in the wrong shape is a secret too.
        let given = if row.is_sensitive { String::new() } else { format!(", not {value}") };
        return Err(Refusal::usage(format!("{key} takes {wanted}{given}")));
    }
    let text = value.as_str().unwrap_or_default();
    if row.is_sensitive && !text.is_empty() {
        let is_reference = REFERENCES
            .iter()
            .any(|start| text.strip_prefix(start).is_some_and(|rest| !rest.is_empty()));
        if !is_reference {
            return Err(Refusal::usage(format!(
                "{key} is a secret, and is not stored in the clear"
            ))
            .hint("give env:NAME, file:PATH, command:CMD or keyring:NAME"));
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Value, is_sensitive: bool) -> journeyman_store::Setting {
        journeyman_store::Setting {
            config_key: "a.b".into(),
            config_value: value,
            description: None,
            category: None,
            is_sensitive,
            is_readonly: false,
        }
    }

    #[test]
    fn a_value_keeps_the_type_of_its_setting() {
        let set = |old: Value, new: Value| {
            fitting(&row(old, false), new).map_err(|refusal| refusal.detail.message)
        };
        assert_eq!(set(json!(10), json!(3)), Ok(json!(3)));
        assert_eq!(
            set(json!(10), json!("3")),
            Err("a.b takes a whole number from 0, not \"3\"".into())
        );
        assert!(set(json!(10), json!(-1)).is_err());
        assert!(set(json!(true), json!("yes")).is_err());
        // `config set codegen.org_id 323` means the text.
        assert_eq!(set(json!(""), json!(323)), Ok(json!("323")));
    }

    #[test]
    fn a_secret_is_neither_stored_nor_shown_in_the_clear() {
        let secret = row(json!("env:TOKEN"), true);
        assert_eq!(fitting(&secret, json!("file:/x")), Ok(json!("file:/x")));
        assert_eq!(fitting(&secret, json!("")), Ok(json!("")));
        for wrong in [json!("hunter2hunter2"), json!(["hunter2hunter2"]), json!("env:")] {
            let refusal = fitting(&secret, wrong).unwrap_err();
            assert!(!format!("{refusal:?}").contains("hunter2"), "{refusal:?}");
        }
        assert_eq!(document(secret).value, "***");
        assert_eq!(document(row(json!(""), true)).value, "");
    }
}
