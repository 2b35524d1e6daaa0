//! `/codebases`: the repositories that are known.

use axum::Json as Document;
use axum::extract::State as Extracted;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, value};
use crate::api::State;
use crate::codebase;
use crate::extract::Json;

pub(crate) async fn list(Extracted(shared): State) -> Answer<Value> {
    let rows = shared.runtime.store.codebases().list().await?;
    Ok(Document(json!({ "codebases": rows, "next_cursor": null })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCodebase {
    path: String,
    name: Option<String>,
}

pub(crate) async fn add(
    Extracted(shared): State,
    Json(NewCodebase { path, name }): Json<NewCodebase>,
) -> Answer<Value> {
    let facts = codebase::look(&path).await?;
    let row = codebase::register(&shared.runtime.store, &facts, name.as_deref()).await?;
    Ok(Document(value(&row)?))
}
