//! What the audit says, held against the rows.

use anyhow::Result;
use journeyman_store::{PoolOptions, Store};
use sqlx::PgConnection;

use crate::stage::Stage;

/// Where the audit of what belongs to tasks of these titles does not follow: a change begins with another value than the
/// change before ended with, or the last one ends with another value than the row has. Fields that only say that somebody
/// is alive are not audited; tasks that nobody works on come and end in batches, which have events of their own.
const CONTINUOUS: &str = "WITH wanted AS (SELECT * FROM tasks WHERE title LIKE $1 AND driver IS DISTINCT FROM 'none'), \
     own AS (SELECT 'tasks' AS name, t.id, to_jsonb(t) AS now FROM tasks t JOIN wanted USING (id) \
         UNION ALL SELECT 'task_executions', e.id, to_jsonb(e) FROM task_executions e JOIN wanted w ON w.id = e.task_id \
         UNION ALL SELECT 'agent_tasks', r.id, to_jsonb(r) FROM agent_tasks r JOIN wanted w ON w.id = r.task_id \
         UNION ALL SELECT 'outbox', o.id, to_jsonb(o) FROM outbox o JOIN wanted w ON w.id = o.task_id), \
     said AS (SELECT own.name, own.id, own.now -> field AS now, field, a.operation, a.position, a.old_values -> field AS old, \
             a.new_values -> field AS new \
         FROM own JOIN audit_rows a ON a.record_id = own.id AND a.table_name = own.name \
             AND a.operation IN ('INSERT', 'UPDATE'), jsonb_object_keys(a.new_values) field \
         WHERE field NOT IN ('updated_at', 'heartbeat_at', 'lease_expires_at')), \
     chained AS (SELECT *, lag(new) OVER w AS before, lead(position) OVER w IS NULL AS is_last FROM said \
         WINDOW w AS (PARTITION BY name, id, field ORDER BY position)) \
     SELECT format('%s of %s %s: %s, then from %s to %s; it is %s', field, name, id, before, old, new, now) FROM chained \
     WHERE operation = 'UPDATE' AND before IS NOT NULL AND before IS DISTINCT FROM old OR is_last AND new IS DISTINCT FROM now";

/// What the audit does not hold: its chains do not verify, or a change of a task is missing in it.
pub async fn audit(stage: &Stage<'_>, database: &mut PgConnection) -> Result<Vec<String>> {
    let store =
        Store::connect(&stage.world.url(), PoolOptions { max: 2, ..PoolOptions::default() })
            .await?;
    let mut found = Vec::new();
    let report = store.audit().verify().await?;
    if !report.ok {
        found.push(format!("the chain does not hold: {report:?}"));
    }
    store.close().await;
    let own = format!("{}%", stage.prefix);
    // What a row says now must be what the audit says last of it. Additions, and the ends of tasks that nobody works on,
    // come in batches, which have events of their own.
    let unsaid: Vec<String> = sqlx::query_scalar(
        "SELECT t.title FROM tasks t WHERE t.title LIKE $1 \
         AND (t.driver IS DISTINCT FROM 'none' OR t.status IN ('failed', 'cancelled', 'timeout')) AND t.status::text <> \
         coalesce((SELECT a.new_values ->> 'status' FROM audit_log a WHERE a.table_name = 'tasks' \
             AND a.record_id = t.id AND a.new_values ? 'status' ORDER BY a.id DESC LIMIT 1), '')",
    )
    .bind(&own)
    .fetch_all(&mut *database)
    .await?;
    let broken: Vec<String> =
        sqlx::query_scalar(CONTINUOUS).bind(&own).fetch_all(&mut *database).await?;
    found.extend(broken);
    found.extend(unsaid.into_iter().map(|title| format!("the audit does not say how {title} is")));
    let miscounted: Vec<String> = sqlx::query_scalar(
        "WITH said AS (SELECT e.kind, record, count(*) AS times FROM audit_events e, unnest(e.record_ids) record \
             WHERE e.table_name = 'tasks' AND e.kind IN ('tasks_added', 'tasks_completed') GROUP BY 1, 2), \
         wanted AS (SELECT id, title, 'tasks_added' AS kind FROM tasks WHERE title LIKE $1 UNION ALL \
             SELECT id, title, 'tasks_completed' FROM tasks WHERE title LIKE $1 AND driver = 'none' AND status = 'completed') \
         SELECT concat_ws(' ', w.title, 'has', coalesce(s.times, 0), w.kind) FROM wanted w \
             LEFT JOIN said s ON s.kind = w.kind AND s.record = w.id WHERE s.times IS DISTINCT FROM 1",
    )
    .bind(&own)
    .fetch_all(&mut *database)
    .await?;
    found.extend(miscounted);
    Ok(found)
}
