//! `/stats`: what was done, and what it cost.

use axum::Json as Document;
use axum::extract::State as Extracted;
use chrono::{TimeDelta, Utc};
use journeyman_domain::status::Status;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, value};
use crate::api::State;
use crate::extract::Query;
use crate::problem::Refusal;

/// The longest time that is looked back.
const MAX_DAYS: u32 = 3_650;

/// What the queue holds.
pub(crate) async fn queue(Extracted(shared): State) -> Answer<Value> {
    let store = &shared.runtime.store;
    let mut document = value(&store.queue().stats().await?)?;
    document["scheduler"] = value(&shared.scheduler.snapshot().await?)?;
    let schedules = store.schedules().list().await?;
    let next =
        schedules.iter().filter(|row| row.status == Status::Active).min_by_key(|row| row.next_at);
    document["next_schedule"] = match next {
        Some(row) => json!({ "name": row.name, "next_at": row.next_at }),
        None => Value::Null,
    };
    Ok(Document(document))
}

#[derive(Deserialize)]
pub(crate) struct Since {
    days: Option<u32>,
}

pub(crate) async fn show(
    Extracted(shared): State,
    Query(Since { days }): Query<Since>,
) -> Answer<Value> {
    let days = days.unwrap_or(30);
    if days == 0 || days > MAX_DAYS {
        return Err(Refusal::usage(format!("days must be 1 to {MAX_DAYS}, not {days}")));
    }
    let since = Utc::now() - TimeDelta::days(i64::from(days));
    let store = &shared.runtime.store;
    let tasks = store.tasks().totals(since).await?;
    let models = store.calls().totals(since).await?;
    let cost_usd: Option<f64> = models.iter().map(|totals| totals.cost_usd).sum();
    Ok(Document(json!({
        "since": since,
        "tasks": value(&tasks)?,
        "models": value(&models)?,
        "cost_usd": cost_usd,
    })))
}
