//! `/audit`: the record of every change, and whether its chain holds.

use axum::Json as Document;
use axum::extract::{Path, State as Extracted};
use journeyman_store::audit::{AuditFilter, Mark, Seen};
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

/// What the caller saw last of each chain: a position and the id that stood there, with a comma between.
#[derive(Deserialize)]
pub(crate) struct Remembered {
    rows: Option<String>,
    events: Option<String>,
}

fn mark(text: Option<&str>) -> Result<Option<Mark>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let parsed = text.split_once(',').and_then(|(position, id)| {
        Some(Mark { position: position.parse().ok()?, id: id.parse().ok()? })
    });
    parsed.map(Some).ok_or_else(|| Refusal::usage(format!("'{text}' is no position and id")))
}

pub(crate) async fn chain(
    Extracted(shared): State,
    Query(Remembered { rows, events }): Query<Remembered>,
) -> Answer<Value> {
    let audit = shared.runtime.store.audit();
    let seen =
        Seen { rows: mark(rows.as_deref())?, events: mark(events.as_deref())?, ..Seen::default() };
    let lacking = audit.lacks(&seen).await?;
    let report = audit.verify().await?;
    let broken = report.first_broken.map(|broken| {
        format!(
            "block {} of the chain '{}' (positions {} to {}): {}",
            broken.seq, broken.chain, broken.first_position, broken.last_position, broken.reason
        )
    });
    Ok(Document(json!({
        "ok": report.ok && lacking.is_empty(),
        "blocks": report.blocks,
        "links_only": report.links_only,
        "sealed": report.sealed,
        "unsealed": report.unsealed,
        "first_broken": broken,
        "lacking": lacking,
    })))
}
