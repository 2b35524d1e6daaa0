//! What may be claimed, in the order of claims: rows of many tasks each.
//!
//! Owns: `ready_tasks` and `queue_lanes`. A task that becomes ready gets its place in the transaction
//! that makes it so. Must never: hold the truth about a task's state; that is its row's, and an id
//! whose task is not ready any more is passed over.

use journeyman_domain::status::Priority;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;

// What a task needs of its agent, by its type.
macro_rules! capability {
    () => {
        "CASE task_type WHEN 'test' THEN 'test_generation' WHEN 'docs' THEN 'documentation' \
             WHEN 'analysis' THEN 'complexity_analysis' \
             WHEN 'optimization' THEN 'optimization_suggestions' WHEN 'review' THEN 'code_review' \
             ELSE 'code_generation' END"
    };
}
pub(crate) use capability;

// A kind of work that is new: seldom.
const LANES: &str = concat!(
    "INSERT INTO queue_lanes (codebase_id, agent_id, capability, is_runless) \
     SELECT DISTINCT codebase_id, agent_id, ",
    capability!(),
    ", driver IS NOT DISTINCT FROM 'none' \
     FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) \
         AS n (codebase_id, agent_id, task_type, driver) ON CONFLICT DO NOTHING"
);
const LANES_OF: &str = "SELECT DISTINCT codebase_id, agent_id, task_type, driver FROM tasks \
     WHERE id = ANY ($1) AND status = 'ready'";
// In rows that are claimed alike: small ones, that several nodes may claim at once, but for what needs no
// run.
const ENQUEUE: &str = concat!(
    "WITH fresh AS (SELECT * FROM tasks WHERE id = ANY ($1) AND status = 'ready'), \
         kind AS ( \
             SELECT id, codebase_id, agent_id, reserved_for, driver IS NOT DISTINCT FROM 'none' AS is_runless, \
                 -coalesce((SELECT length FROM task_chains WHERE task_id = id), 0) AS chain, \
                 ",
    capability!(),
    " AS capability, \
                 floor(extract(epoch FROM created_at) / 86400)::integer \
                     - (array_position(enum_range(NULL::priority_level), priority) - 1) AS bucket, \
                 coalesce(due_date, 'infinity') AS due FROM fresh), \
         chunked AS ( \
             SELECT k.*, (row_number() OVER (PARTITION BY codebase_id, agent_id, capability, is_runless, \
                 bucket, due, chain, reserved_for ORDER BY id) - 1) \
                 / CASE WHEN is_runless THEN $2::bigint ELSE $3::bigint END AS chunk FROM kind k), \
         batch AS ( \
             SELECT codebase_id, agent_id, capability, is_runless, bucket, due, chain, reserved_for, \
                 array_agg(id ORDER BY id) AS ids FROM chunked \
             GROUP BY codebase_id, agent_id, capability, is_runless, bucket, due, chain, reserved_for, chunk), \
         enqueued AS ( \
             INSERT INTO ready_tasks (lane_id, bucket, due, chain, first_id, reserved_for, ids) \
             SELECT l.id, b.bucket, b.due, b.chain, b.ids[1], b.reserved_for, b.ids FROM batch b \
             LEFT JOIN queue_lanes l ON l.codebase_id IS NOT DISTINCT FROM b.codebase_id \
                 AND l.agent_id IS NOT DISTINCT FROM b.agent_id AND l.capability = b.capability \
                 AND l.is_runless = b.is_runless) SELECT"
);
// A row that a claim holds just now is passed over, or each would wait for the other: the id stays there
// and is passed over later.
const LEAVE: &str = "UPDATE ready_tasks q SET ids = array_remove(q.ids, $1) \
     FROM (SELECT place FROM ready_tasks WHERE ids @> ARRAY[$1::uuid] \
         AND array_remove(ids, $1) <> '{}' FOR UPDATE SKIP LOCKED) l WHERE q.place = l.place";
const LEAVE_ALONE: &str = "DELETE FROM ready_tasks q \
     USING (SELECT place FROM ready_tasks WHERE ids @> ARRAY[$1::uuid] \
         AND array_remove(ids, $1) = '{}' FOR UPDATE SKIP LOCKED) l WHERE q.place = l.place";

const OPENED: &str = concat!(
    "SELECT l.id FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) \
         WITH ORDINALITY AS n (codebase_id, agent_id, task_type, driver, place) \
     JOIN queue_lanes l ON l.codebase_id IS NOT DISTINCT FROM n.codebase_id \
         AND l.agent_id IS NOT DISTINCT FROM n.agent_id \
         AND l.is_runless = (n.driver IS NOT DISTINCT FROM 'none') \
         AND l.capability = ",
    capability!(),
    " ORDER BY n.place"
);

pub(crate) const ALL: &[&str] = &[LANES, LANES_OF, OPENED, ENQUEUE, LEAVE, LEAVE_ALONE];

/// What decides on a lane: codebase, wanted agent, type, driver.
pub(crate) type Kind = (Option<Uuid>, Option<Uuid>, String, Option<String>);

/// Makes the lanes that there are not yet; the lane of each kind, in their order.
pub(crate) async fn open_lanes(
    connection: &mut PgConnection,
    kinds: &[Kind],
) -> Result<Vec<i32>, StoreError> {
    let codebases: Vec<Option<Uuid>> = kinds.iter().map(|kind| kind.0).collect();
    let agents: Vec<Option<Uuid>> = kinds.iter().map(|kind| kind.1).collect();
    let types: Vec<&str> = kinds.iter().map(|kind| kind.2.as_str()).collect();
    let drivers: Vec<Option<&str>> = kinds.iter().map(|kind| kind.3.as_deref()).collect();
    sqlx::query(LANES)
        .bind(&codebases)
        .bind(&agents)
        .bind(&types)
        .bind(&drivers)
        .execute(&mut *connection)
        .await?;
    Ok(sqlx::query_scalar(OPENED)
        .bind(&codebases)
        .bind(&agents)
        .bind(&types)
        .bind(&drivers)
        .fetch_all(connection)
        .await?)
}

/// Tasks that one row of the queue holds at the most.
pub(crate) const fn chunk(is_runless: bool) -> u16 {
    if is_runless { 200 } else { 16 }
}

/// The days that a priority is worth: its place in the order of the type, there as here.
pub(crate) const fn level(priority: Priority) -> i32 {
    priority as i32
}

/// Gives those of these tasks that are ready their place.
pub(crate) async fn enqueue(
    connection: &mut PgConnection,
    tasks: &[Uuid],
) -> Result<(), StoreError> {
    if tasks.is_empty() {
        return Ok(());
    }
    let kinds: Vec<Kind> = sqlx::query_as(LANES_OF).bind(tasks).fetch_all(&mut *connection).await?;
    open_lanes(connection, &kinds).await?;
    sqlx::query(ENQUEUE)
        .bind(tasks)
        .bind(i64::from(chunk(true)))
        .bind(i64::from(chunk(false)))
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes back the place of a task that is not ready any more.
pub(crate) async fn leave(connection: &mut PgConnection, task: Uuid) -> Result<(), StoreError> {
    for statement in [LEAVE, LEAVE_ALONE] {
        sqlx::query(statement).bind(task).execute(&mut *connection).await?;
    }
    Ok(())
}
