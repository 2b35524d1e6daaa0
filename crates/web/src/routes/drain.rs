//! `/drain`: this runtime finishes what it has and begins nothing, or goes on.

use axum::Json as Document;
use axum::extract::State as Extracted;
use journeyman_actors::context::Mode;
use serde::Deserialize;
use serde_json::Value;

use super::{Answer, value};
use crate::api::State;
use crate::extract::Json;
use crate::problem::Refusal;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Held {
    on: bool,
}

pub(crate) async fn set(Extracted(shared): State, Json(Held { on }): Json<Held>) -> Answer<Value> {
    if shared.runtime.mode != Mode::Daemon {
        return Err(Refusal::conflict("no daemon is running that could be drained"));
    }
    Ok(Document(value(&shared.scheduler.hold(on).await?)?))
}

pub(crate) async fn show(Extracted(shared): State) -> Answer<Value> {
    Ok(Document(value(&shared.scheduler.snapshot().await?)?))
}
