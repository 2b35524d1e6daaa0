//! `/audit`: the record of every change, and whether its chain holds.

use axum::Json as Document;
use axum::extract::{Path, State as Extracted};
use journeyman_store::audit::AuditFilter;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, limit, value};
use crate::api::State;
use crate::extract::Query;
use crate::problem::Refusal;

#[derive(Deserialize)]
pub(crate) struct Filter {
    table: Option<String>,
    record: Option<String>,
    limit: Option<u32>,
    cursor: Option<Uuid>,
}

pub(crate) async fn list(Extracted(shared): State, Query(asked): Query<Filter>) -> Answer<Value> {
    let store = &shared.runtime.store;
    let record = match asked.record.as_deref() {
        None => None,
        Some(text) => Some(match text.parse() {
            Ok(id) => id,
            // A part can only be looked for where there is a table to look in: tasks are meant.
            Err(_) => store.tasks().find(text).await?.id.as_uuid(),
        }),
    };
    let filter =
        AuditFilter { table: asked.table, record, limit: limit(asked.limit), cursor: asked.cursor };
    let (entries, next) = store.audit().list(&filter).await?;
    Ok(Document(json!({ "entries": entries, "next_cursor": next })))
}

pub(crate) async fn show(Extracted(shared): State, Path(entry): Path<String>) -> Answer<Value> {
    let id = entry.parse().map_err(|_| {
        Refusal::usage(format!("'{entry}' is no id; an audit entry is named by its whole id"))
    })?;
    let entry = shared.runtime.store.audit().show(id).await?;
    Ok(Document(value(&entry)?))
}

pub(crate) async fn chain(Extracted(shared): State) -> Answer<Value> {
    let report = shared.runtime.store.audit().verify().await?;
    let broken = report.first_broken.map(|broken| {
        format!(
            "block {} of the chain '{}' (positions {} to {}): {}",
            broken.seq, broken.chain, broken.first_position, broken.last_position, broken.reason
        )
    });
    Ok(Document(json!({
        "ok": report.ok,
        "blocks": report.blocks,
        "sealed": report.sealed,
        "unsealed": report.unsealed,
        "first_broken": broken,
    })))
}
