//! `/schedules`: tasks that the clock adds.

use axum::Json as Document;
use axum::extract::{Path, State as Extracted};
use journeyman_domain::status::{Missed, Overlap, Status};
use journeyman_domain::timetable::Timetable;
use journeyman_store::{Acting, NewSchedule as Row, Schedule as Stored, Store, StoreError};
use serde_json::{Value, json};

use super::Answer;
use crate::adding;
use crate::api::{Shared, State};
use crate::extract::Json;
use crate::problem::Refusal;
use crate::types::{NewSchedule, Schedule, Schedules};

/// The time zone where none is given.
const ZONE: &str = "UTC";

pub(crate) async fn add(
    Extracted(shared): State,
    Json(asked): Json<NewSchedule>,
) -> Answer<Schedule> {
    let store = &shared.runtime.store;
    if asked.name.trim().is_empty() || asked.name.contains('\0') {
        return Err(Refusal::usage("a schedule needs a name"));
    }
    let zone = asked.time_zone.as_deref().unwrap_or(ZONE);
    let next_at = table(&asked.cron, zone, store).await?;
    let missed = adding::parsed(asked.missed.as_deref(), Missed::Once)?;
    let overlap = adding::parsed(asked.overlap.as_deref(), Overlap::Skip)?;
    match store.schedules().find(asked.name.trim()).await {
        Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
        Ok(taken) => {
            return Err(Refusal::conflict(format!("there is a schedule '{}'", taken.name)));
        }
    }
    let (task, codebase_id) = adding::template(&shared, &asked.task).await?;
    let new = Row {
        name: asked.name.trim().to_owned(),
        cron: asked.cron,
        time_zone: zone.to_owned(),
        missed,
        overlap,
        codebase_id,
        task,
    };
    let row = store.schedules().add(&Acting::now("user"), &new, next_at).await?;
    Ok(Document(document(store, &row).await?))
}

/// The next time of a timetable, by the clock of the database.
async fn table(
    cron: &str,
    zone: &str,
    store: &Store,
) -> Result<chrono::DateTime<chrono::Utc>, Refusal> {
    let now = store.now().await?;
    let table = Timetable::parse(cron, zone, now).and_then(|table| table.after(now));
    table.map_err(|error| Refusal::usage(error.to_string()))
}

pub(crate) async fn list(Extracted(shared): State) -> Answer<Schedules> {
    let store = &shared.runtime.store;
    let mut schedules = Vec::new();
    for row in store.schedules().list().await? {
        schedules.push(document(store, &row).await?);
    }
    Ok(Document(Schedules { schedules, next_cursor: None }))
}

pub(crate) async fn show(
    Extracted(shared): State,
    Path(schedule): Path<String>,
) -> Answer<Schedule> {
    let store = &shared.runtime.store;
    let row = store.schedules().find(&schedule).await?;
    Ok(Document(document(store, &row).await?))
}

async fn set(shared: &Shared, schedule: &str, status: Status) -> Answer<Schedule> {
    let store = &shared.runtime.store;
    let row = store.schedules().find(schedule).await?;
    if row.status == status {
        return Ok(Document(document(store, &row).await?));
    }
    // The times while it rested were no missed ones.
    let next_at = table(&row.cron, &row.time_zone, store).await?;
    let row = store.schedules().set(&Acting::now("user"), row.id, status, next_at).await?;
    Ok(Document(document(store, &row).await?))
}

pub(crate) async fn pause(
    Extracted(shared): State,
    Path(schedule): Path<String>,
) -> Answer<Schedule> {
    set(&shared, &schedule, Status::Paused).await
}

pub(crate) async fn resume(
    Extracted(shared): State,
    Path(schedule): Path<String>,
) -> Answer<Schedule> {
    set(&shared, &schedule, Status::Active).await
}

pub(crate) async fn remove(
    Extracted(shared): State,
    Path(schedule): Path<String>,
) -> Answer<Value> {
    shared.runtime.store.schedules().remove(&Acting::now("user"), &schedule).await?;
    Ok(Document(json!({ "removed": schedule })))
}

async fn document(store: &Store, row: &Stored) -> Result<Schedule, StoreError> {
    let codebase = store.codebases().get(row.codebase_id).await?;
    Ok(Schedule {
        id: row.id.to_string(),
        name: row.name.clone(),
        cron: row.cron.clone(),
        time_zone: row.time_zone.clone(),
        missed: row.missed.to_string(),
        overlap: row.overlap.to_string(),
        status: row.status.to_string(),
        codebase: Some(codebase.name),
        prompt: row.task.description.clone().unwrap_or_else(|| row.task.title.clone()),
        next_at: (row.status == Status::Active).then_some(row.next_at),
        last_at: row.last_at,
        last_task: row.last_task_id.map(|id| id.to_string()),
        note: row.note.clone(),
    })
}
