//! `/stats`: what was done, and what it cost.

use axum::Json as Document;
use axum::extract::State as Extracted;
use chrono::{TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, value};
use crate::api::State;
use crate::extract::Query;
use crate::problem::Refusal;

/// The longest time that is looked back.
const MAX_DAYS: u32 = 3_650;

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
