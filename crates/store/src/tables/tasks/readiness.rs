//! Whether tasks may begin, by the states of those that they wait for: one statement, in the transaction of whatever
//! changed one of them.

use journeyman_domain::ids::TaskId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::wishes;
use crate::StoreError;
use crate::queue::ready;
use crate::tables::files;

// Locked before readiness is judged, so that of two tasks that end at once, the later one sees the
// earlier one's end.
const LOCK_DEPENDANTS: &str = "SELECT t.id FROM tasks t WHERE t.id = ANY (ARRAY( \
     SELECT task_id FROM task_dependencies WHERE depends_on = ANY ($1))) ORDER BY t.id FOR UPDATE";
// As `readiness` of the domain has it.
const REFRESH: &str = "UPDATE tasks t SET updated_at = now(), wake_at = NULL, \
     status = r.state::status_type, \
     waiting_for = CASE WHEN r.state = 'waiting' THEN 'dependency' END::waiting_reason, \
     completed_at = CASE WHEN r.state IN ('failed', 'cancelled') THEN now() ELSE t.completed_at END, \
     error = CASE WHEN r.state IN ('failed', 'cancelled') \
         THEN 'what it waited for did not complete: ' || r.lost ELSE t.error END \
     FROM (SELECT x.id, d.lost, CASE WHEN x.after_failure = 'fail' AND d.lost IS NOT NULL THEN 'failed' \
             WHEN x.after_failure = 'skip' AND d.lost IS NOT NULL THEN 'cancelled' \
             WHEN d.is_open THEN 'waiting' ELSE 'ready' END AS state \
         FROM tasks x CROSS JOIN LATERAL (SELECT \
             string_agg(right(o.id::text, 8) || ' (' || o.status::text || ')', ', ' ORDER BY o.id) \
                 FILTER (WHERE o.status IN ('failed', 'cancelled', 'timeout')) AS lost, \
             coalesce(bool_or(o.status <> 'completed' AND NOT ((d.kind = 'ended' \
                 OR x.after_failure IS NOT DISTINCT FROM 'run') \
                 AND o.status IN ('failed', 'cancelled', 'timeout'))), false) AS is_open \
             FROM task_dependencies d JOIN tasks o ON o.id = d.depends_on WHERE d.task_id = x.id) d \
         WHERE x.id = ANY ($1) AND (x.status IN ('pending', 'ready') \
         OR x.status = 'waiting' AND x.waiting_for = 'dependency')) r \
     WHERE t.id = r.id AND t.status::text <> r.state RETURNING t.id, t.status::text";

pub(crate) const ALL: &[&str] = &[LOCK_DEPENDANTS, REFRESH];

/// Judges the readiness of these tasks anew, and of those that wait for what ends by that.
pub(crate) async fn refresh(
    connection: &mut PgConnection,
    tasks: &[Uuid],
) -> Result<(), StoreError> {
    let mut judged = tasks.to_vec();
    while !judged.is_empty() {
        let changed: Vec<(Uuid, String)> =
            sqlx::query_as(REFRESH).bind(&judged).fetch_all(&mut *connection).await?;
        let of = |states: &[&str]| -> Vec<Uuid> {
            let found = changed.iter().filter(|(_, state)| states.contains(&state.as_str()));
            found.map(|(id, _)| *id).collect()
        };
        ready::enqueue(connection, &of(&["ready"])).await?;
        let ended = of(&["failed", "cancelled"]);
        for task in &ended {
            wishes::close_suspended(connection, TaskId::from_uuid(*task)).await?;
        }
        judged = dependants(connection, &ended).await?;
    }
    Ok(())
}

/// What waits for any of these, locked.
async fn dependants(
    connection: &mut PgConnection,
    tasks: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_scalar(LOCK_DEPENDANTS).bind(tasks).fetch_all(connection).await?)
}

/// The same for everything that waits for this task directly, after its state changed.
pub(crate) async fn refresh_dependants(
    connection: &mut PgConnection,
    task: TaskId,
) -> Result<(), StoreError> {
    files::release(connection, task).await?;
    refresh_waiting_for(connection, &[task.as_uuid()]).await
}

/// The same for what waits for any of these.
pub(crate) async fn refresh_waiting_for(
    connection: &mut PgConnection,
    tasks: &[Uuid],
) -> Result<(), StoreError> {
    let dependants = dependants(connection, tasks).await?;
    refresh(connection, &dependants).await
}
