//! `/tasks`: add, list, look at, steer, follow, take.

use std::path::Path as FilePath;

use axum::extract::{Path, State as Extracted};
use axum::response::Sse;
use axum::response::sse::{self, KeepAlive};
use axum::{Extension, Json as Document};
use futures_util::{Stream, stream};
use journeyman_actors::scheduler::Wish;
use journeyman_domain::status::Status;
use journeyman_store::TaskFilter;
use journeyman_workspace::{Applied, ObjectId, Signature};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Answer, limit};
use crate::adding;
use crate::api::{Shared, State};
use crate::document;
use crate::extract::{Json, Query};
use crate::problem::Refusal;
use crate::server::Closing;
use crate::types::{AddTasks, Event, Task, Tasks};
use crate::watch::{Teller, Watch, log};

pub(crate) async fn add(Extracted(shared): State, Json(request): Json<AddTasks>) -> Answer<Tasks> {
    let rows = adding::add(&shared, request.tasks).await?;
    Ok(Document(Tasks {
        tasks: document::brief(&shared.runtime.store, &rows).await?,
        next_cursor: None,
    }))
}

#[derive(Deserialize)]
pub(crate) struct Filter {
    status: Option<String>,
    waiting_for: Option<String>,
    codebase: Option<String>,
    parent: Option<String>,
    priority: Option<String>,
    agent: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

pub(crate) async fn list(Extracted(shared): State, Query(asked): Query<Filter>) -> Answer<Tasks> {
    let store = &shared.runtime.store;
    let status: Option<Status> = asked.status.as_deref().map(str::parse).transpose()?;
    let codebase = match asked.codebase.as_deref() {
        Some(text) => Some(store.codebases().find(text).await?.id),
        None => None,
    };
    let cursor = match asked.cursor.as_deref() {
        Some(text) => Some(text.parse().map_err(|_| {
            Refusal::usage(format!("'{text}' is no cursor; one comes with the page before"))
        })?),
        None => None,
    };
    let parent = match asked.parent.as_deref() {
        Some(text) => Some(store.tasks().find(text).await?.id),
        None => None,
    };
    let agent = match asked.agent.as_deref() {
        Some(text) => Some(store.agents().find(text).await?.id),
        None => None,
    };
    let filter = TaskFilter {
        status,
        waiting_for: asked.waiting_for.as_deref().map(str::parse).transpose()?,
        codebase,
        parent,
        priority: asked.priority.as_deref().map(str::parse).transpose()?,
        agent,
        limit: limit(asked.limit),
        cursor,
    };
    let (rows, next) = store.tasks().list(&filter).await?;
    Ok(Document(Tasks {
        tasks: document::brief(store, &rows).await?,
        next_cursor: next.map(|id| id.to_string()),
    }))
}

pub(crate) async fn show(Extracted(shared): State, Path(task): Path<String>) -> Answer<Task> {
    let store = &shared.runtime.store;
    let row = store.tasks().find(&task).await?;
    Ok(Document(document::whole(store, row).await?))
}

async fn wish(shared: &Shared, task: &str, wish: Wish) -> Answer<Task> {
    let store = &shared.runtime.store;
    let id = store.tasks().find(task).await?.id;
    let row = shared.scheduler.wish(id, wish).await?;
    Ok(Document(document::whole(store, row).await?))
}

pub(crate) async fn cancel(Extracted(shared): State, Path(task): Path<String>) -> Answer<Task> {
    wish(&shared, &task, Wish::Cancel).await
}

pub(crate) async fn pause(Extracted(shared): State, Path(task): Path<String>) -> Answer<Task> {
    wish(&shared, &task, Wish::Pause).await
}

/// What a task may use from now on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct More {
    budget_usd: Option<f64>,
    time_limit_s: Option<u64>,
}

pub(crate) async fn resume(
    Extracted(shared): State,
    Path(task): Path<String>,
    Json(More { budget_usd, time_limit_s }): Json<More>,
) -> Answer<Task> {
    adding::budget(budget_usd)?;
    let time_limit_s = adding::time_limit(time_limit_s)?;
    wish(&shared, &task, Wish::Resume { budget_usd, time_limit_s }).await
}

pub(crate) async fn approve(Extracted(shared): State, Path(task): Path<String>) -> Answer<Task> {
    wish(&shared, &task, Wish::Approve).await
}

pub(crate) async fn retry(Extracted(shared): State, Path(task): Path<String>) -> Answer<Task> {
    wish(&shared, &task, Wish::Retry).await
}

/// Has what failed of its delivery sent again.
pub(crate) async fn resend(Extracted(shared): State, Path(task): Path<String>) -> Answer<Task> {
    let store = &shared.runtime.store;
    let row = store.tasks().find(&task).await?;
    shared.outbox.resend(row.id).await?;
    Ok(Document(document::whole(store, row).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Words {
    text: String,
}

pub(crate) async fn answer(
    Extracted(shared): State,
    Path(task): Path<String>,
    Json(Words { text }): Json<Words>,
) -> Answer<Task> {
    if text.trim().is_empty() {
        return Err(Refusal::usage("the answer is empty"));
    }
    wish(&shared, &task, Wish::Answer { text }).await
}

#[derive(Deserialize)]
pub(crate) struct From {
    after: Option<i64>,
}

/// Where a client that lost its stream goes on: the header wins, since it knows the latest.
fn place(asked: Option<i64>, headers: &axum::http::HeaderMap) -> i64 {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    last.and_then(|id| id.parse().ok()).or(asked).unwrap_or(0)
}

pub(crate) async fn events(
    Extracted(shared): State,
    Path(task): Path<String>,
    Query(From { after }): Query<From>,
    closing: Option<Extension<Closing>>,
    headers: axum::http::HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, axum::Error>>>, Refusal> {
    let store = &shared.runtime.store;
    // Before the rows are read, so that no hint falls between.
    let changes = shared.runtime.changes.subscribe();
    let task = store.tasks().find(&task).await?.id;
    let teller = Teller::new(store.clone(), task, place(after, &headers)).await?;
    let closing = closing.map_or_else(CancellationToken::new, |Extension(Closing(token))| token);
    let watch = Watch::new(teller, changes, closing);
    let events = stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((wire(&event), watch))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// What has no place gets no id, so that a client never goes on from it.
fn wire(event: &Event) -> Result<sse::Event, axum::Error> {
    let wire = sse::Event::default().json_data(event)?;
    Ok(match event.seq {
        0 => wire,
        seq => wire.id(seq.to_string()),
    })
}

#[derive(Deserialize)]
pub(crate) struct HowMuch {
    #[serde(default)]
    full: bool,
}

pub(crate) async fn logs(
    Extracted(shared): State,
    Path(task): Path<String>,
    Query(HowMuch { full }): Query<HowMuch>,
) -> Answer<Vec<Event>> {
    let store = &shared.runtime.store;
    let task = store.tasks().find(&task).await?.id;
    Ok(Document(log(store, task, full).await?))
}

pub(crate) async fn apply(Extracted(shared): State, Path(task): Path<String>) -> Answer<Value> {
    let store = &shared.runtime.store;
    let row = store.tasks().find(&task).await?;
    let id = row.id.short();
    let task = document::whole(store, row).await?;
    let Some(commit) = &task.head_commit else {
        let refusal = Refusal::conflict(format!("task {id} has delivered no commit"));
        return Err(match &task.patch {
            Some(patch) => refusal.hint(format!("its change is a patch: git apply '{patch}'")),
            None => refusal,
        });
    };
    let commit: ObjectId = commit.parse().map_err(|error| Refusal::internal(&error))?;
    let Some(repository) = task.repo.as_deref().map(FilePath::new) else {
        return Err(Refusal::conflict(format!("the codebase of task {id} has no folder")));
    };
    let committer = match &shared.runtime.settings.author {
        Some((name, email)) => Signature { name: name.clone(), email: email.clone() },
        None => journeyman_workspace::identity(repository).await,
    };
    let branch = task.branch.as_deref().unwrap_or("the change");
    let message = match journeyman_workspace::apply(repository, &commit, &committer).await? {
        Applied::AlreadyThere => format!("{branch} is in the current branch already"),
        Applied::FastForward => format!("the current branch moved forward to {branch}"),
        Applied::Picked(picked) => {
            let picked = picked.to_string();
            let short = picked.get(..8).unwrap_or(&picked);
            format!("{branch} is on the current branch as commit {short}")
        }
    };
    Ok(Document(json!({ "message": message })))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    #[test]
    fn a_broken_stream_goes_on_after_the_last_event_that_arrived() {
        let mut headers = HeaderMap::new();
        assert_eq!(place(None, &headers), 0);
        assert_eq!(place(Some(1_000_004), &headers), 1_000_004);
        headers.insert("last-event-id", "1000007".parse().unwrap());
        assert_eq!(place(Some(1_000_004), &headers), 1_000_007);
        headers.insert("last-event-id", "x".parse().unwrap());
        assert_eq!(place(Some(1_000_004), &headers), 1_000_004);
    }
}
