//! What the audit says, held against the rows.

use anyhow::Result;
use journeyman_store::{PoolOptions, Store};
use sqlx::{Connection as _, PgConnection};

use crate::stage::Stage;

/// What the audit does not hold: its chains do not verify, or a change of a task is missing in it.
pub async fn audit(stage: &Stage<'_>) -> Result<Vec<String>> {
    let store =
        Store::connect(&stage.world.url(), PoolOptions { max: 2, ..PoolOptions::default() })
            .await?;
    let mut found = Vec::new();
    let report = store.audit().verify().await?;
    if !report.ok {
        found.push(format!("the chain does not hold: {report:?}"));
    }
    store.close().await;
    let mut database = PgConnection::connect(&stage.world.url()).await?;
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
    .fetch_all(&mut database)
    .await?;
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
    .fetch_all(&mut database)
    .await?;
    found.extend(miscounted);
    Ok(found)
}
