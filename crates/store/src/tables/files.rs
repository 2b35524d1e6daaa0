//! `task_files`: the files that tasks declared, who holds them, and who waits for whom.
//!
//! A task gets its files with its first claim, and holds them until it ends. One that would be claimed and meets
//! a holder leaves the queue and waits (`lock`); the end of a holder brings the first of those back. Which
//! patterns meet is the domain's decision (`files`).

use std::collections::HashMap;

use journeyman_domain::files::{Collision, Declared, collisions};
use journeyman_domain::ids::{CodebaseId, TaskId};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::tasks::{NewTask, Tasks, refresh};
use crate::queue::ready;
use crate::{Acting, StoreError};

/// Tasks that the end of a holder brings back: the next one that ends brings more.
const BROUGHT_BACK: i64 = 32;

const DECLARE: &str = "INSERT INTO task_files (task_id, codebase_id, globs) VALUES ($1, $2, $3)";
const CLAIMED: &str = "SELECT f.task_id, f.codebase_id, f.globs, f.holds FROM task_files f WHERE f.task_id = ANY ($1)";
const HOLDERS: &str = "SELECT f.task_id, f.codebase_id, f.globs, f.holds FROM task_files f \
     JOIN tasks t ON t.id = f.task_id WHERE f.holds AND f.codebase_id = ANY ($1) AND f.task_id <> ALL ($2) \
     AND t.status NOT IN ('completed', 'failed', 'cancelled', 'timeout')";
const HOLD: &str = "UPDATE task_files SET holds = true, waits_for = NULL WHERE task_id = ANY ($1)";
// Behind the holder's row: its end is either seen here, or comes after and sees who waits.
const STILL_HELD: &str = "SELECT holds FROM task_files WHERE task_id = $1 FOR SHARE";
const WAIT: &str = "UPDATE tasks SET updated_at = now(), status = 'waiting', waiting_for = 'lock' \
     WHERE id = $1 AND status = 'ready' RETURNING id";
const WAIT_FOR: &str = "UPDATE task_files SET waits_for = $2, holds = false WHERE task_id = $1";
const RELEASE: &str = "UPDATE task_files f SET holds = false FROM tasks t WHERE f.task_id = $1 AND f.holds \
     AND t.id = f.task_id AND t.status IN ('completed', 'failed', 'cancelled', 'timeout') RETURNING f.codebase_id";
const BRING_BACK: &str = "WITH first AS (SELECT t.id FROM task_files f JOIN tasks t ON t.id = f.task_id \
         WHERE f.codebase_id = $1 AND f.waits_for IS NOT NULL AND t.waiting_for = 'lock' \
         AND NOT EXISTS (SELECT FROM task_files h WHERE h.task_id = f.waits_for AND h.holds) \
         ORDER BY t.priority DESC, t.due_date, t.id LIMIT $2 FOR UPDATE OF t SKIP LOCKED) \
     UPDATE tasks t SET updated_at = now(), status = 'pending', waiting_for = NULL \
     WHERE t.id = ANY (ARRAY(SELECT id FROM first)) RETURNING t.id";
const OF_TASK: &str = "SELECT f.globs, CASE WHEN t.waiting_for = 'lock' THEN f.waits_for END AS waits_for \
     FROM task_files f JOIN tasks t ON t.id = f.task_id WHERE f.task_id = $1";

pub(crate) const ALL: &[&str] =
    &[DECLARE, CLAIMED, HOLDERS, HOLD, STILL_HELD, WAIT, WAIT_FOR, RELEASE, BRING_BACK, OF_TASK];

/// The files of a task.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Files {
    /// Its patterns.
    pub globs: Vec<String>,
    /// Whose files it waits for.
    #[sqlx(try_from = "crate::column::MaybeId")]
    pub waits_for: Option<TaskId>,
}

#[derive(FromRow)]
struct Row {
    task_id: Uuid,
    codebase_id: Uuid,
    globs: Vec<String>,
    holds: bool,
}

impl From<Row> for Declared {
    fn from(row: Row) -> Self {
        Self {
            task: TaskId::from_uuid(row.task_id),
            codebase: CodebaseId::from_uuid(row.codebase_id),
            globs: row.globs,
        }
    }
}

impl Tasks<'_> {
    /// The files that a task declared; `None` where it did not.
    pub async fn files(&self, task: TaskId) -> Result<Option<Files>, StoreError> {
        Ok(sqlx::query_as(OF_TASK).bind(task.as_uuid()).fetch_optional(self.0.pool()).await?)
    }
}

/// Writes down what new tasks declared.
pub(crate) async fn declare(
    connection: &mut PgConnection,
    tasks: &[&NewTask],
) -> Result<(), StoreError> {
    for task in tasks.iter().filter(|task| !task.files.is_empty()) {
        sqlx::query(DECLARE)
            .bind(task.id.as_uuid())
            .bind(task.codebase_id.map(CodebaseId::as_uuid))
            .bind(&task.files)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Gives these tasks their files, in this order, and says which of them meet a holder. Where any does, nothing
/// was written and the claim must not be committed.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    claimed: &[Uuid],
) -> Result<Vec<Collision>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(CLAIMED).bind(claimed).fetch_all(&mut *connection).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let codebases: Vec<Uuid> = rows.iter().map(|row| row.codebase_id).collect();
    let others: Vec<Row> =
        sqlx::query_as(HOLDERS).bind(codebases).bind(claimed).fetch_all(&mut *connection).await?;
    // What goes on after a wait holds its files already.
    let (mine, asking): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.holds);
    let holders: Vec<Declared> = mine.into_iter().chain(others).map(Declared::from).collect();
    let places: HashMap<Uuid, usize> =
        claimed.iter().enumerate().map(|(place, id)| (*id, place)).collect();
    let mut asking: Vec<Declared> = asking.into_iter().map(Declared::from).collect();
    asking.sort_by_key(|one| places.get(&one.task.as_uuid()).copied());
    let met = collisions(&asking, &holders);
    if met.is_empty() {
        let ids: Vec<Uuid> = asking.iter().map(|one| one.task.as_uuid()).collect();
        sqlx::query(HOLD).bind(ids).execute(connection).await?;
    }
    Ok(met)
}

/// Takes out of the queue what met a holder: it waits for the holder's end.
pub(crate) async fn put_aside(
    store: &crate::Store,
    acting: &Acting<'_>,
    met: &[Collision],
    claimed: &[Uuid],
) -> Result<(), StoreError> {
    let mut transaction = store.begin(acting).await?;
    for Collision { task, holder } in met {
        let held: Option<bool> = sqlx::query_scalar(STILL_HELD)
            .bind(holder.as_uuid())
            .fetch_optional(&mut *transaction)
            .await?;
        // One that is claimed beside it gets the files in the next moment.
        if held != Some(true) && !claimed.contains(&holder.as_uuid()) {
            continue;
        }
        let waits: Option<Uuid> =
            sqlx::query_scalar(WAIT).bind(task.as_uuid()).fetch_optional(&mut *transaction).await?;
        if waits.is_some() {
            ready::leave(&mut transaction, task.as_uuid()).await?;
            sqlx::query(WAIT_FOR)
                .bind(task.as_uuid())
                .bind(holder.as_uuid())
                .execute(&mut *transaction)
                .await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// Where a task that held files has ended: the first of those that waited are ready again.
pub(crate) async fn release(connection: &mut PgConnection, task: TaskId) -> Result<(), StoreError> {
    let codebase: Option<Uuid> =
        sqlx::query_scalar(RELEASE).bind(task.as_uuid()).fetch_optional(&mut *connection).await?;
    let Some(codebase) = codebase else { return Ok(()) };
    let back: Vec<Uuid> = sqlx::query_scalar(BRING_BACK)
        .bind(codebase)
        .bind(BROUGHT_BACK)
        .fetch_all(&mut *connection)
        .await?;
    refresh(connection, &back).await
}
