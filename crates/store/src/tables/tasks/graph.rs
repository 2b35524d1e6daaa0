//! What waits for what, near and far.

use journeyman_domain::ids::TaskId;
use sqlx::FromRow;
use uuid::Uuid;

use super::{Task, Tasks, columns};
use crate::StoreError;

/// Edges that a walk follows at the most.
pub const MOST_EDGES: usize = 2_000;

/// That one task waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Edge {
    /// Who waits.
    #[sqlx(try_from = "Uuid")]
    pub task_id: TaskId,
    /// What it waits for.
    #[sqlx(try_from = "Uuid")]
    pub depends_on: TaskId,
}

const AWAITED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM task_dependencies d JOIN tasks t ON t.id = d.depends_on WHERE d.task_id = $1 ORDER BY t.id"
);
const AWAITED_BELOW: &str = "WITH RECURSIVE walk (id) AS (SELECT $1::uuid UNION SELECT d.depends_on \
         FROM walk w JOIN task_dependencies d ON d.task_id = w.id) \
     SELECT d.task_id, d.depends_on FROM walk w JOIN task_dependencies d ON d.task_id = w.id LIMIT $2";
const WAITING_ABOVE: &str = "WITH RECURSIVE walk (id) AS (SELECT $1::uuid UNION SELECT d.task_id \
         FROM walk w JOIN task_dependencies d ON d.depends_on = w.id) \
     SELECT d.task_id, d.depends_on FROM walk w JOIN task_dependencies d ON d.depends_on = w.id LIMIT $2";

pub(crate) const ALL: &[&str] = &[AWAITED, AWAITED_BELOW, WAITING_ABOVE];

impl Tasks<'_> {
    /// The tasks that this one waits for directly.
    pub async fn awaited(&self, id: TaskId) -> Result<Vec<Task>, StoreError> {
        Ok(sqlx::query_as(AWAITED).bind(id.as_uuid()).fetch_all(self.0.pool()).await?)
    }

    /// The edges below this task, of what it waits for, and those above it, of what waits for it: the nearest
    /// 2,000 of each.
    pub async fn graph(&self, id: TaskId) -> Result<(Vec<Edge>, Vec<Edge>), StoreError> {
        let edges = |statement| {
            sqlx::query_as(statement)
                .bind(id.as_uuid())
                .bind(i64::try_from(MOST_EDGES).unwrap_or(i64::MAX))
        };
        let below = edges(AWAITED_BELOW).fetch_all(self.0.pool()).await?;
        let above = edges(WAITING_ABOVE).fetch_all(self.0.pool()).await?;
        Ok((below, above))
    }
}
