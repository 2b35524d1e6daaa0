//! Adding tasks: what is added at once goes out together, whoever adds it. One task has a statement of its
//! own (`lone`), some share one (`columns`), and many are copied (`copy`).

// All columns that are set when a task is added.
macro_rules! columns {
    () => {
        "id, codebase_id, parent_task_id, title, description, task_type, priority, status, driver, \
         model, agent_id, check_commands, command, base_ref, deliver, allow_unverified, budget_usd, \
         time_limit_s, max_rounds, unique_key, reserved_for, traceparent, context, metadata, due_date, \
         after_failure"
    };
}
// One event for each adder says what was added, and what is ready has its place in the queue; both are
// slices of ids.
macro_rules! told_and_placed {
    () => {
        "event AS (INSERT INTO audit_events (id, kind, table_name, record_ids, actor, trace_id, span_id) \
             SELECT e.id, 'tasks_added', 'tasks', ($1::uuid[])[e.first : e.last], e.actor, e.trace_id, \
                 e.span_id \
             FROM unnest($2::uuid[], $3::integer[], $4::integer[], $5::text[], $6::text[], $7::text[]) \
                 AS e (id, first, last, actor, trace_id, span_id)) \
         INSERT INTO ready_tasks (lane_id, bucket, due, chain, first_id, reserved_for, ids) \
         SELECT l.id, floor(extract(epoch FROM now()) / 86400)::integer - q.level, \
             coalesce(q.due, 'infinity'), 0, ($14::uuid[])[q.first], q.reserved_for, \
             ($14::uuid[])[q.first : q.last] \
         FROM unnest($8::integer[], $9::integer[], $10::timestamptz[], $11::uuid[], $12::integer[], \
             $13::integer[]) AS q (lane_id, level, due, reserved_for, first, last) \
         LEFT JOIN queue_lanes l ON l.id = q.lane_id"
    };
}

mod columns;
mod copy;
mod lone;
mod places;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use journeyman_domain::ids::{AgentId, CodebaseId, NodeId, TaskId};
use journeyman_faults::{around, points};
use sqlx::PgConnection;
use sqlx::types::Json;

use self::columns::Columns;
use self::places::Places;
use super::NewTask;
use crate::group::{self, Group, Write};
use crate::line::Work;
use crate::queue::Batch;
use crate::queue::ready::{self, Kind};
use crate::{Acting, Store, StoreError};

/// The lanes of the kinds of work that were seen so far.
pub(crate) type Lanes = Arc<Mutex<HashMap<Kind, i32>>>;
/// Additions that wait for a flush.
pub(crate) type Inserts = Group<Insert, Option<Batch>>;

pub(crate) const ALL: &[&str] = &[columns::INSERT, copy::TELL_AND_PLACE, lone::ADD, lone::HAND_OFF];

/// Tasks that are added together.
#[derive(Clone, Debug)]
pub(crate) struct Insert {
    tasks: Vec<NewTask>,
    actor: String,
    /// The ids of trace and span.
    trace: Option<(String, String)>,
    hand_off: Option<HandOff>,
}

/// Who would work at once on what is added.
#[derive(Clone, Copy, Debug)]
struct HandOff {
    node: NodeId,
    lease: Duration,
}

impl Insert {
    pub(crate) fn new(acting: &Acting<'_>, tasks: Vec<NewTask>) -> Self {
        let trace = acting.trace.map(|trace| (trace.trace_id_hex(), trace.span_id_hex()));
        Self { tasks, actor: acting.actor.to_owned(), trace, hand_off: None }
    }

    /// The same for one task that this node would work on at once, where nothing else is ready and
    /// nobody adds anything beside it.
    pub(crate) fn for_hand_off(
        acting: &Acting<'_>,
        task: NewTask,
        node: NodeId,
        lease: Duration,
    ) -> Self {
        let can_be = task.driver.as_deref() == Some("none")
            && task.reserved_for.is_none_or(|reserved| reserved == node);
        let hand_off = can_be.then_some(HandOff { node, lease });
        Self { hand_off, ..Self::new(acting, vec![task]) }
    }
}

/// A list of words as its column has it: nothing, where it is empty.
fn words(words: &[String]) -> Option<Json<&[String]>> {
    (!words.is_empty()).then_some(Json(words))
}

impl Write for Insert {
    type Answer = Option<Batch>;

    /// Adds what waits for nothing.
    async fn write(store: &Store, batch: &[Self]) -> group::Written<Self> {
        let mut line = store.line(Work::Add).await?;
        let added = around(points::TASK_ADD, add(&mut line, store, batch)).await;
        let claimed = store.used(Work::Add, line, added)?;
        Ok(batch.iter().map(|_| Ok(claimed.clone())).collect())
    }
}

/// Adds all of these; gives the lease on the only one where it is handed off.
async fn add(
    line: &mut PgConnection,
    store: &Store,
    batch: &[Insert],
) -> Result<Option<Batch>, StoreError> {
    let tasks = || batch.iter().flat_map(|insert| &insert.tasks);
    let known = known_lanes(line, &store.lanes, tasks()).await?;
    if let [insert] = batch
        && let [task] = &*insert.tasks
    {
        return lone::add(line, &known, insert, task).await;
    }
    let places = Places::of(tasks(), &known);
    if tasks().count() >= copy::FROM && store.lines.is_prompt() {
        copy::add(line, batch, places).await?;
    } else {
        Columns::of(batch, &HashSet::new()).insert(line, places).await?;
    }
    Ok(None)
}

/// Adds all of these in the transaction of whoever calls; those of `waiting` are not ready yet.
pub(super) async fn insert(
    connection: &mut PgConnection,
    lanes: &Lanes,
    batch: &[Insert],
    waiting: &HashSet<TaskId>,
) -> Result<(), StoreError> {
    let ready = || {
        let tasks = batch.iter().flat_map(|insert| &insert.tasks);
        tasks.filter(|task| !waiting.contains(&task.id))
    };
    let known = known_lanes(connection, lanes, ready()).await?;
    let places = Places::of(ready(), &known);
    Columns::of(batch, waiting).insert(connection, places).await
}

/// The lanes of these tasks; those that there are not yet are made.
async fn known_lanes(
    connection: &mut PgConnection,
    lanes: &Lanes,
    tasks: impl Iterator<Item = &NewTask>,
) -> Result<HashMap<Kind, i32>, StoreError> {
    let mut known = HashMap::new();
    let mut new = HashSet::new();
    {
        let lanes = lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last: Option<&NewTask> = None;
        for task in tasks {
            // Neighbours are mostly alike.
            if last.is_some_and(|last| is_alike(last, task)) {
                continue;
            }
            last = Some(task);
            let kind = kind(task);
            match lanes.get(&kind) {
                Some(lane) => known.insert(kind, *lane).is_some(),
                None => new.insert(kind),
            };
        }
    }
    if !new.is_empty() {
        let new: Vec<Kind> = new.into_iter().collect();
        let opened = ready::open_lanes(connection, &new).await?;
        known.extend(new.into_iter().zip(opened));
        let mut lanes = lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.extend(known.iter().map(|(kind, lane)| (kind.clone(), *lane)));
    }
    Ok(known)
}

fn kind(task: &NewTask) -> Kind {
    (
        task.codebase_id.map(CodebaseId::as_uuid),
        task.agent_id.map(AgentId::as_uuid),
        task.task_type.clone(),
        task.driver.clone(),
    )
}

/// Whether two tasks are of one kind.
fn is_alike(one: &NewTask, other: &NewTask) -> bool {
    one.codebase_id == other.codebase_id
        && one.agent_id == other.agent_id
        && one.task_type == other.task_type
        && one.driver == other.driver
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
