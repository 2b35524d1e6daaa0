//! `/errors`: what failed, and what kind of failure it is.

use axum::Json as Document;
use axum::extract::{Path, State as Extracted};
use journeyman_store::{Acting, ErrorFilter};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, limit};
use crate::api::State;
use crate::document::{error_report, error_report_whole};
use crate::extract::{Json, Query};
use crate::problem::Refusal;
use crate::types::ErrorReport;

/// What may become of a failure.
const STATES: [&str; 5] = ["open", "investigating", "resolved", "closed", "wont_fix"];

#[derive(Deserialize)]
pub(crate) struct Filter {
    task: Option<String>,
    limit: Option<u32>,
}

pub(crate) async fn list(Extracted(shared): State, Query(asked): Query<Filter>) -> Answer<Value> {
    let store = &shared.runtime.store;
    let task = match asked.task.as_deref() {
        Some(text) => Some(store.tasks().find(text).await?.id),
        None => None,
    };
    let filter = ErrorFilter { task, limit: limit(asked.limit), ..ErrorFilter::default() };
    let (rows, next) = store.errors().list(&filter).await?;
    let rows: Vec<_> = rows.into_iter().map(error_report).collect();
    Ok(Document(json!({ "errors": rows, "next_cursor": next })))
}

pub(crate) async fn show(
    Extracted(shared): State,
    Path(error): Path<String>,
) -> Answer<ErrorReport> {
    let row = shared.runtime.store.errors().find(&error).await?;
    Ok(Document(error_report_whole(row)))
}

/// What became of a failure, and by what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolution {
    status: Option<String>,
    note: Option<String>,
}

pub(crate) async fn resolve(
    Extracted(shared): State,
    Path(error): Path<String>,
    Json(asked): Json<Resolution>,
) -> Answer<ErrorReport> {
    let status = asked.status.as_deref().unwrap_or("resolved");
    if !STATES.contains(&status) {
        return Err(Refusal::usage(format!(
            "'{status}' is no state of a failure; there are {}",
            STATES.join(", ")
        )));
    }
    let errors = shared.runtime.store.errors();
    let id = errors.find(&error).await?.id;
    let strategy = json!({ "by": "user", "note": asked.note });
    let row = errors.resolve(&Acting::now("user"), id, status, &strategy).await?;
    Ok(Document(error_report_whole(row)))
}
