//! `/codebases`: the repositories that are known.

use axum::Json as Document;
use axum::extract::{Path, State as Extracted};
use journeyman_store::Acting;
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

/// What can be changed; what is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// Runs in it at once, over all nodes; 0 takes the limit away.
    max_concurrent: u32,
}

pub(crate) async fn set(
    Extracted(shared): State,
    Path(codebase): Path<String>,
    Json(Change { max_concurrent }): Json<Change>,
) -> Answer<Value> {
    let codebases = shared.runtime.store.codebases();
    let id = codebases.find(&codebase).await?.id;
    let limit = (max_concurrent > 0).then_some(max_concurrent);
    let settings = json!({ "max_concurrent": limit });
    Ok(Document(value(&codebases.set(&Acting::now("user"), id, &settings).await?)?))
}
