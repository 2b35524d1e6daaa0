//! Sub-tasks: a task that was not begun yet waits for the parts that are added to it.

use std::collections::BTreeMap;

use journeyman_domain::ids::TaskId;
use journeyman_domain::status::Status;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::NewTask;
use crate::StoreError;
use crate::column::Text;

// Not more than that: an addition beside this one has looked at the parent for its foreign key already.
const LOCK: &str = "SELECT id, status::text, attempts FROM tasks WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE";
const OPEN_PARTS: &str = "SELECT id FROM tasks WHERE parent_task_id = $1 \
     AND status NOT IN ('completed', 'failed', 'cancelled', 'timeout') ORDER BY id";

pub(crate) const ALL: &[&str] = &[LOCK, OPEN_PARTS];

#[derive(FromRow)]
struct Parent {
    #[sqlx(try_from = "Uuid")]
    id: TaskId,
    #[sqlx(try_from = "Text<Status>")]
    status: Status,
    attempts: i32,
}

/// The parents that wait for these parts of theirs, as (parent, part). One that is being worked on waits for
/// nothing; one that has ended takes no parts: [`StoreError::Conflict`].
pub(super) async fn that_wait(
    connection: &mut PgConnection,
    tasks: &[&NewTask],
) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
    let mut parts: BTreeMap<TaskId, Vec<Uuid>> = BTreeMap::new();
    for task in tasks {
        if let Some(parent) = task.parent_task_id {
            parts.entry(parent).or_default().push(task.id.as_uuid());
        }
    }
    let mut pairs = Vec::new();
    if parts.is_empty() {
        return Ok(pairs);
    }
    let ids: Vec<Uuid> = parts.keys().map(|id| id.as_uuid()).collect();
    let parents: Vec<Parent> = sqlx::query_as(LOCK).bind(ids).fetch_all(connection).await?;
    for Parent { id, status, attempts } in parents {
        if status.is_final() {
            let refused = format!("task {} is {status} and takes no sub-tasks", id.short());
            return Err(StoreError::Conflict(refused));
        }
        if attempts == 0 {
            pairs.extend(parts[&id].iter().map(|part| (id.as_uuid(), *part)));
        }
    }
    Ok(pairs)
}

/// The parts of a task that have not ended.
pub(super) async fn open_parts(
    connection: &mut PgConnection,
    parent: TaskId,
) -> Result<Vec<TaskId>, StoreError> {
    let ids: Vec<Uuid> =
        sqlx::query_scalar(OPEN_PARTS).bind(parent.as_uuid()).fetch_all(connection).await?;
    Ok(ids.into_iter().map(TaskId::from_uuid).collect())
}
