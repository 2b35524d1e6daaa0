//! The handlers: each reads a request, asks the store or an actor's handle, and shapes the answer.

pub(crate) mod agents;
pub(crate) mod audit;
pub(crate) mod codebases;
pub(crate) mod deps;
pub(crate) mod drain;
pub(crate) mod errors;
pub(crate) mod health;
pub(crate) mod schedules;
pub(crate) mod settings;
pub(crate) mod stats;
pub(crate) mod steps;
pub(crate) mod tasks;
pub(crate) mod tree;

use axum::Json;
use serde::Serialize;

use crate::problem::Refusal;

/// A document, or why there is none.
pub(crate) type Answer<T> = Result<Json<T>, Refusal>;

/// Rows of a page at the most, and where a request does not say.
const LIMITS: (u32, u32) = (1000, 50);

/// How many rows a request gets.
fn limit(asked: Option<u32>) -> u32 {
    let (most, default) = LIMITS;
    asked.unwrap_or(default).clamp(1, most)
}

/// A document's field names are those of its type.
fn value(document: &impl Serialize) -> Result<serde_json::Value, Refusal> {
    serde_json::to_value(document).map_err(|error| Refusal::internal(&error))
}
