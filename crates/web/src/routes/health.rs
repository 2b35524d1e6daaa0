//! `/health`: how the runtime, its learning and its integrations fare, as the database judges it.

use axum::Json as Document;
use axum::extract::State as Extracted;
use serde_json::{Value, json};

use super::Answer;
use crate::api::State;

pub(crate) async fn show(Extracted(shared): State) -> Answer<Value> {
    let health = shared.runtime.store.health().await?;
    Ok(Document(json!({
        "system": readable(health.system),
        "learning": readable(health.learning),
        "integrations": readable(health.integration),
    })))
}

/// Reasons as sentences; the grade of the whole stands beside them as `status`.
fn readable(mut part: Value) -> Value {
    if let Some(reasons) = part["reasons"].as_array() {
        let sentences: Vec<_> =
            reasons.iter().map(|reason| reason.get("text").unwrap_or(reason).clone()).collect();
        part["reasons"] = Value::Array(sentences);
    }
    part
}
