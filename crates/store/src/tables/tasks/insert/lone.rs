//! One task, added when nobody else adds any: a statement without arrays is half the work.

use std::collections::HashMap;

use journeyman_domain::ids::{AgentId, CodebaseId, NodeId, TaskId};
use journeyman_domain::status::AfterFailure;
use sqlx::PgConnection;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Postgres, Row as _};
use uuid::Uuid;

use super::{HandOff, Insert, kind, words};
use crate::queue::Batch;
use crate::queue::ready::{self, Kind};
use crate::{NewTask, StoreError};

macro_rules! put {
    () => {
        concat!(
            "put AS (INSERT INTO tasks (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7::text::priority_level, 'ready', $8, $9, $10, $11, $12, \
             $13, $14, $15, $16::float8::numeric, $17, $18, $19, $20, $21, $22, $23, $24::timestamptz, \
             $25))"
        )
    };
}
// A lane that is none is refused.
macro_rules! place {
    () => {
        "SELECT (SELECT l.id FROM queue_lanes l WHERE l.id = $26), \
         floor(extract(epoch FROM now()) / 86400)::integer - $27::integer, \
         coalesce($24::timestamptz, 'infinity'), 0, $1, $20, ARRAY[$1::uuid]"
    };
}

pub(super) const ADD: &str = concat!(
    "WITH ",
    put!(),
    ", event AS (INSERT INTO audit_events (id, kind, table_name, record_ids, actor, trace_id, span_id) \
         VALUES ($28, 'tasks_added', 'tasks', ARRAY[$1::uuid], $29, $30, $31)) \
     INSERT INTO ready_tasks (lane_id, bucket, due, chain, first_id, reserved_for, ids) ",
    place!()
);
// Where nothing without a run is ready, the task has its lease from the beginning, and no place in the
// queue; else it stands there behind what is more urgent.
pub(super) const HAND_OFF: &str = concat!(
    "WITH ahead AS MATERIALIZED (SELECT EXISTS (SELECT FROM queue_lanes l CROSS JOIN LATERAL ( \
         SELECT FROM ready_tasks q WHERE q.lane_id = l.id LIMIT 1) q WHERE l.is_runless) AS is_any), ",
    put!(),
    ", leased AS (INSERT INTO task_leases (id, node_id, expires_at, ids) \
         SELECT $32::uuid, $33::uuid, now() + make_interval(secs => $34), ARRAY[$1::uuid] FROM ahead \
         WHERE NOT is_any RETURNING id), \
     event AS (INSERT INTO audit_events (id, kind, table_name, record_ids, actor, trace_id, span_id, \
             attributes) \
         SELECT $28::uuid, 'tasks_added', 'tasks', ARRAY[$1::uuid], $29, $30, $31, '{}'::jsonb \
         UNION ALL SELECT $35::uuid, 'tasks_claimed', 'tasks', ARRAY[$1::uuid], $29, NULL, NULL, \
             jsonb_build_object('lease', id) FROM leased), \
     queued AS (INSERT INTO ready_tasks (lane_id, bucket, due, chain, first_id, reserved_for, ids) ",
    place!(),
    " FROM ahead WHERE is_any) \
     SELECT id FROM leased"
);

/// Adds it; gives its lease where it is handed off.
pub(super) async fn add(
    connection: &mut PgConnection,
    lanes: &HashMap<Kind, i32>,
    insert: &Insert,
    task: &NewTask,
) -> Result<Option<Batch>, StoreError> {
    let lane = lanes.get(&kind(task)).copied().unwrap_or_default();
    let Some(HandOff { node, lease }) = insert.hand_off else {
        bound(ADD, insert, task, lane).execute(connection).await?;
        return Ok(None);
    };
    let claimed = bound(HAND_OFF, insert, task, lane)
        .bind(Uuid::now_v7())
        .bind(node.as_uuid())
        .bind(lease.as_secs_f64())
        .bind(Uuid::now_v7())
        .fetch_optional(connection)
        .await?;
    let Some(row) = claimed else { return Ok(None) };
    Ok(Some(Batch { id: row.try_get(0)?, tasks: vec![task.id.as_uuid()] }))
}

fn bound<'q>(
    statement: &'static str,
    insert: &'q Insert,
    task: &'q NewTask,
    lane: i32,
) -> Query<'q, Postgres, PgArguments> {
    let trace = insert.trace.as_ref();
    let after_failure = task.after_failure;
    sqlx::query(statement)
        .bind(task.id.as_uuid())
        .bind(task.codebase_id.map(CodebaseId::as_uuid))
        .bind(task.parent_task_id.map(TaskId::as_uuid))
        .bind(&task.title)
        .bind(task.description.as_deref())
        .bind(&task.task_type)
        .bind(task.priority.as_str())
        .bind(task.driver.as_deref())
        .bind(task.model.as_deref())
        .bind(task.agent_id.map(AgentId::as_uuid))
        .bind(words(&task.check_commands))
        .bind(words(&task.command))
        .bind(task.base_ref.as_deref())
        .bind(&task.deliver)
        .bind(task.allow_unverified)
        .bind(task.budget_usd)
        .bind(task.time_limit_s)
        .bind(task.max_rounds)
        .bind(task.unique_key.as_deref())
        .bind(task.reserved_for.map(NodeId::as_uuid))
        .bind(task.traceparent.as_deref())
        .bind(&task.context)
        .bind(&task.metadata)
        .bind(task.due_date)
        .bind((after_failure != AfterFailure::Wait).then(|| after_failure.as_str()))
        .bind(lane)
        .bind(ready::level(task.priority))
        .bind(Uuid::now_v7())
        .bind(&insert.actor)
        .bind(trace.map(|trace| &*trace.0))
        .bind(trace.map(|trace| &*trace.1))
}
