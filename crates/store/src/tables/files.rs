//! `task_files`: the files that tasks declared, who holds them, and who waits for whom.
//!
//! A task gets its files with its first claim, and holds them until it ends. One that would be claimed and meets
//! a holder waits (`lock`); the end of a holder brings the first of those back. Which
//! patterns meet is the domain's decision (`files`).

use std::collections::HashMap;

use journeyman_domain::files::{Collision, Declared, collisions};
use journeyman_domain::ids::{CodebaseId, TaskId};
use journeyman_faults::{around, points};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::tasks::{NewTask, Tasks, refresh};
use crate::{Acting, Store, StoreError};

/// Tasks that the end of a holder brings back: the next one that ends brings more.
const BROUGHT_BACK: i64 = 32;

const DECLARE: &str = "INSERT INTO task_files (task_id, codebase_id, globs) \
     SELECT f.task_id, f.codebase_id, ARRAY(SELECT jsonb_array_elements_text(f.globs)) \
     FROM unnest($1::uuid[], $2::uuid[], $3::jsonb[]) AS f (task_id, codebase_id, globs)";
const CLAIMED: &str = "SELECT f.task_id, f.codebase_id, f.globs, f.holds FROM task_files f WHERE f.task_id = ANY ($1)";
const HOLDERS: &str = "SELECT f.task_id, f.codebase_id, f.globs, f.holds FROM task_files f \
     JOIN tasks t ON t.id = f.task_id WHERE f.holds AND f.codebase_id = ANY ($1) AND f.task_id <> ALL ($2) \
     AND t.status NOT IN ('completed', 'failed', 'cancelled', 'timeout')";
const HOLD: &str = "UPDATE task_files SET holds = true, waits_for = NULL WHERE task_id = ANY ($1)";
// One that was to be claimed beside what waits for it holds its files from here on, so that its end is an end of
// holding, whatever becomes of it before its claim.
const HOLD_AHEAD: &str = "UPDATE task_files f SET holds = true, waits_for = NULL FROM (SELECT id FROM tasks \
     WHERE id = $1 AND status = 'ready' FOR SHARE) t WHERE f.task_id = t.id";
// Behind the holder's row: its end is either seen here, or comes after and sees who waits.
const STILL_HELD: &str = "SELECT holds FROM task_files WHERE task_id = $1 FOR SHARE";
const WAIT: &str = "UPDATE tasks SET updated_at = now(), status = 'waiting', waiting_for = 'lock' \
     WHERE id = $1 AND status = 'ready' RETURNING id";
const WAIT_FOR: &str = "UPDATE task_files SET waits_for = $2, holds = false WHERE task_id = $1";
const RELEASE: &str = "UPDATE task_files f SET holds = false FROM tasks t WHERE f.task_id = $1 \
     AND t.id = f.task_id AND (t.status IN ('completed', 'failed', 'cancelled', 'timeout') \
         OR t.status = 'paused' AND t.attempts = 0) RETURNING f.codebase_id";
// The first of those whose holder holds nothing any more; of one codebase, or of all.
const FORSAKEN: &str = "SELECT t.id FROM task_files f JOIN tasks t ON t.id = f.task_id \
     WHERE ($1::uuid IS NULL OR f.codebase_id = $1) AND f.waits_for IS NOT NULL AND t.waiting_for = 'lock' \
     AND NOT EXISTS (SELECT FROM task_files h WHERE h.task_id = f.waits_for AND h.holds) \
     ORDER BY t.priority DESC, t.due_date, t.id LIMIT $2";
const BRING_BACK: &str = "WITH first AS (SELECT id FROM tasks WHERE id = ANY ($1) AND waiting_for = 'lock' \
         ORDER BY id FOR NO KEY UPDATE) \
     UPDATE tasks t SET updated_at = now(), status = 'pending', waiting_for = NULL \
     WHERE t.id = ANY (ARRAY(SELECT id FROM first)) RETURNING t.id";
const OF_TASK: &str = "SELECT f.globs, CASE WHEN t.waiting_for = 'lock' THEN f.waits_for END AS waits_for \
     FROM task_files f JOIN tasks t ON t.id = f.task_id WHERE f.task_id = $1";

pub(crate) const ALL: &[&str] = &[
    DECLARE, CLAIMED, HOLDERS, HOLD, HOLD_AHEAD, STILL_HELD, WAIT, WAIT_FOR, RELEASE, FORSAKEN,
    BRING_BACK, OF_TASK,
];

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
    let declared = || tasks.iter().filter(|task| !task.files.is_empty());
    let ids: Vec<Uuid> = declared().map(|task| task.id.as_uuid()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(DECLARE)
        .bind(ids)
        .bind(declared().map(|task| task.codebase_id.map(CodebaseId::as_uuid)).collect::<Vec<_>>())
        .bind(declared().map(|task| Json(&*task.files)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// What came of giving claimed tasks their files.
pub(crate) enum Holding {
    /// They have what they declared.
    Held,
    /// None of them declared any.
    Undeclared,
    /// These meet a holder: nothing was written, and the claim must not be committed.
    Met(Vec<Collision>),
}

/// Gives these tasks their files, in this order.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    claimed: &[Uuid],
) -> Result<Holding, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(CLAIMED).bind(claimed).fetch_all(&mut *connection).await?;
    if rows.is_empty() {
        return Ok(Holding::Undeclared);
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
    if !met.is_empty() {
        return Ok(Holding::Met(met));
    }
    let ids: Vec<Uuid> = asking.iter().map(|one| one.task.as_uuid()).collect();
    sqlx::query(HOLD).bind(ids).execute(connection).await?;
    Ok(Holding::Held)
}

/// Lets what met a holder wait for the holder's end. Its id stays in the queue, and the next claim passes it over.
pub(crate) async fn put_aside(
    store: &Store,
    acting: &Acting<'_>,
    met: &[Collision],
    claimed: &[Uuid],
) -> Result<(), StoreError> {
    let mut transaction = store.begin(acting).await?;
    for Collision { task, holder } in met {
        if claimed.contains(&holder.as_uuid()) {
            sqlx::query(HOLD_AHEAD).bind(holder.as_uuid()).execute(&mut *transaction).await?;
        }
        let held: Option<bool> = sqlx::query_scalar(STILL_HELD)
            .bind(holder.as_uuid())
            .fetch_optional(&mut *transaction)
            .await?;
        if held != Some(true) {
            continue;
        }
        let waits: Option<Uuid> =
            sqlx::query_scalar(WAIT).bind(task.as_uuid()).fetch_optional(&mut *transaction).await?;
        if waits.is_some() {
            sqlx::query(WAIT_FOR)
                .bind(task.as_uuid())
                .bind(holder.as_uuid())
                .execute(&mut *transaction)
                .await?;
        }
    }
    around(points::PUT_ASIDE, transaction.commit()).await?;
    Ok(())
}

/// Where a task that declared files has ended, or is held by its user before it began: the first of those that
/// wait for files there which nobody holds are ready again.
pub(crate) async fn release(connection: &mut PgConnection, task: TaskId) -> Result<(), StoreError> {
    let codebase: Option<Uuid> =
        sqlx::query_scalar(RELEASE).bind(task.as_uuid()).fetch_optional(&mut *connection).await?;
    match codebase {
        Some(codebase) => bring_back(connection, Some(codebase)).await,
        None => Ok(()),
    }
}

/// Brings the first of those back that wait for files which nobody holds, in one codebase or in all.
pub(crate) async fn bring_back(
    connection: &mut PgConnection,
    codebase: Option<Uuid>,
) -> Result<(), StoreError> {
    let first: Vec<Uuid> = sqlx::query_scalar(FORSAKEN)
        .bind(codebase)
        .bind(BROUGHT_BACK)
        .fetch_all(&mut *connection)
        .await?;
    if first.is_empty() {
        return Ok(());
    }
    let back: Vec<Uuid> =
        sqlx::query_scalar(BRING_BACK).bind(first).fetch_all(&mut *connection).await?;
    refresh(connection, &back).await
}
