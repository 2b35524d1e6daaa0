//! Adding tasks: one statement for all that is added at once, whoever adds it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use journeyman_domain::ids::{AgentId, CodebaseId, NodeId, TaskId};
use journeyman_domain::status::{AfterFailure, Priority};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::NewTask;
use crate::group::{self, Group};
use crate::queue::ready::{self, Kind};
use crate::{Acting, Store, StoreError};

/// The lanes of the kinds of work that were seen so far.
pub(crate) type Lanes = Arc<Mutex<HashMap<Kind, i32>>>;
/// Additions that wait for a flush.
pub(crate) type Inserts = Group<Insert, ()>;

/// Tasks that are added together.
#[derive(Clone, Debug)]
pub(crate) struct Insert {
    tasks: Vec<NewTask>,
    actor: String,
    /// The ids of trace and span.
    trace: Option<(String, String)>,
}

impl Insert {
    pub(super) fn new(acting: &Acting<'_>, tasks: Vec<NewTask>) -> Self {
        let trace = acting.trace.map(|trace| (trace.trace_id_hex(), trace.span_id_hex()));
        Self { tasks, actor: acting.actor.to_owned(), trace }
    }
}

// Those that wait for others are `pending` until that is judged; the rest are ready, with their place
// in the queue, which is computed here: the statement only takes slices of what it is given. One event
// for each adder says what was added.
const INSERT: &str = "WITH new AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], \
         $6::text[], $7::text[], $8::text[], $9::text[], $10::uuid[], $11::jsonb[], $12::jsonb[], \
         $13::text[], $14::text[], $15::boolean[], $16::float8[], $17::integer[], $18::integer[], \
         $19::text[], $20::uuid[], $21::text[], $22::jsonb[], $23::jsonb[], $24::timestamptz[], \
         $25::boolean[], $26::text[]) AS n (id, codebase_id, parent_task_id, title, description, \
         task_type, priority, driver, model, agent_id, check_commands, command, base_ref, deliver, \
         allow_unverified, budget_usd, time_limit_s, max_rounds, unique_key, reserved_for, \
         traceparent, context, metadata, due_date, is_ready, after_failure)), \
     put AS (INSERT INTO tasks (id, codebase_id, parent_task_id, title, description, task_type, \
         priority, status, driver, model, agent_id, check_commands, command, base_ref, deliver, \
         allow_unverified, budget_usd, time_limit_s, max_rounds, unique_key, reserved_for, \
         traceparent, context, metadata, due_date, after_failure) \
         SELECT id, codebase_id, parent_task_id, title, description, task_type, \
         priority::priority_level, (CASE WHEN is_ready THEN 'ready' ELSE 'pending' END)::status_type, \
         driver, model, agent_id, check_commands, command, base_ref, deliver, allow_unverified, \
         budget_usd::numeric, time_limit_s, max_rounds, unique_key, reserved_for, traceparent, \
         context, metadata, due_date, after_failure FROM new), \
     event AS (INSERT INTO audit_events (id, kind, table_name, record_ids, actor, trace_id, span_id) \
         SELECT e.id, 'tasks_added', 'tasks', ($1::uuid[])[e.first : e.last], e.actor, e.trace_id, e.span_id \
         FROM unnest($27::uuid[], $28::integer[], $29::integer[], $30::text[], $31::text[], $32::text[]) \
             AS e (id, first, last, actor, trace_id, span_id)) \
     INSERT INTO ready_tasks (lane_id, bucket, due, chain, first_id, reserved_for, ids) \
     SELECT l.id, floor(extract(epoch FROM now()) / 86400)::integer - q.level, \
         coalesce(q.due, 'infinity'), 0, ($39::uuid[])[q.first], q.reserved_for, \
         ($39::uuid[])[q.first : q.last] \
     FROM unnest($33::integer[], $34::integer[], $35::timestamptz[], $36::uuid[], $37::integer[], \
         $38::integer[]) AS q (lane_id, level, due, reserved_for, first, last) LEFT JOIN queue_lanes l ON l.id = q.lane_id";

pub(crate) const ALL: &[&str] = &[INSERT];

/// Adds what waits for nothing, in one commit; each adder learns of its own.
pub(super) async fn flush(store: Store, batch: Vec<Insert>) -> Vec<Result<(), StoreError>> {
    match on_line(&store, &batch).await {
        Ok(()) => batch.iter().map(|_| Ok(())).collect(),
        Err(error) if batch.len() == 1 => vec![Err(error)],
        // It may have arrived all the same: adding it again would be refused for that.
        Err(StoreError::Unavailable(_)) => batch.iter().map(|_| Err(group::lost())).collect(),
        Err(_) => {
            // Of one that cannot be added, the others must not learn.
            let mut answers = Vec::with_capacity(batch.len());
            for one in &batch {
                answers.push(on_line(&store, std::slice::from_ref(one)).await);
            }
            answers
        }
    }
}

async fn on_line(store: &Store, batch: &[Insert]) -> Result<(), StoreError> {
    let mut line = store.line().await?;
    let inserted = insert(&mut line, &store.lanes, batch, &HashSet::new()).await;
    store.used(line, inserted)
}

/// Adds all of these; those of `waiting` are not ready yet.
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
    let mut known: HashMap<Kind, i32> = {
        let lanes = lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let kinds: HashSet<Kind> = ready().map(kind).collect();
        kinds.into_iter().filter_map(|kind| Some((kind.clone(), *lanes.get(&kind)?))).collect()
    };
    let new: HashSet<Kind> = ready().map(kind).filter(|kind| !known.contains_key(kind)).collect();
    if !new.is_empty() {
        let new: Vec<Kind> = new.into_iter().collect();
        let opened = ready::open_lanes(connection, &new).await?;
        known.extend(new.into_iter().zip(opened));
        let mut lanes = lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.extend(known.iter().map(|(kind, lane)| (kind.clone(), *lane)));
    }
    let places = Places::of(ready(), &known);
    columns(batch, waiting).insert(connection, places).await
}

fn kind(task: &NewTask) -> Kind {
    (
        task.codebase_id.map(CodebaseId::as_uuid),
        task.agent_id.map(AgentId::as_uuid),
        task.task_type.clone(),
        task.driver.clone(),
    )
}

/// Rows of the queue: slices of the ids of what is ready.
#[derive(Default)]
struct Places {
    lanes: Vec<i32>,
    levels: Vec<i32>,
    dues: Vec<Option<DateTime<Utc>>>,
    reserved: Vec<Option<Uuid>>,
    firsts: Vec<i32>,
    lasts: Vec<i32>,
    ids: Vec<Uuid>,
}

impl Places {
    fn of<'a>(ready: impl Iterator<Item = &'a NewTask>, lanes: &HashMap<Kind, i32>) -> Self {
        let mut alike: BTreeMap<_, Vec<Uuid>> = BTreeMap::new();
        let mut last: Option<(Kind, i32)> = None;
        for task in ready {
            let kind = kind(task);
            // Neighbours are mostly alike.
            let lane = match &last {
                Some((other, lane)) if *other == kind => *lane,
                // One that is none is refused by the statement.
                Some(_) | None => lanes.get(&kind).copied().unwrap_or_default(),
            };
            let is_runless = task.driver.as_deref() == Some("none");
            let reserved = task.reserved_for.map(NodeId::as_uuid);
            let key = (lane, is_runless, level(task.priority), task.due_date, reserved);
            alike.entry(key).or_default().push(task.id.as_uuid());
            last = Some((kind, lane));
        }
        let mut places = Self::default();
        for ((lane, is_runless, level, due, reserved), mut ids) in alike {
            ids.sort_unstable();
            for chunk in ids.chunks(ready::chunk(is_runless)) {
                places.lanes.push(lane);
                places.levels.push(level);
                places.dues.push(due);
                places.reserved.push(reserved);
                places.firsts.push(count(places.ids.len() + 1));
                places.ids.extend_from_slice(chunk);
                places.lasts.push(count(places.ids.len()));
            }
        }
        places
    }
}

/// The days that a priority is worth; as the queue's own statement has it.
const fn level(priority: Priority) -> i32 {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
        Priority::Urgent => 3,
        Priority::Critical => 4,
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The rows of a flush, by column.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    codebases: Vec<Option<Uuid>>,
    parents: Vec<Option<Uuid>>,
    titles: Vec<&'a str>,
    descriptions: Vec<Option<&'a str>>,
    types: Vec<&'a str>,
    priorities: Vec<&'static str>,
    drivers: Vec<Option<&'a str>>,
    models: Vec<Option<&'a str>>,
    agents: Vec<Option<Uuid>>,
    checks: Vec<Json<&'a [String]>>,
    commands: Vec<Json<&'a [String]>>,
    bases: Vec<Option<&'a str>>,
    deliver: Vec<&'a str>,
    allow_unverified: Vec<bool>,
    budgets: Vec<Option<f64>>,
    time_limits: Vec<Option<i32>>,
    rounds: Vec<Option<i32>>,
    keys: Vec<Option<&'a str>>,
    reserved: Vec<Option<Uuid>>,
    traces: Vec<Option<&'a str>>,
    contexts: Vec<&'a Value>,
    metadata: Vec<&'a Value>,
    dues: Vec<Option<DateTime<Utc>>>,
    ready: Vec<bool>,
    after_failure: Vec<Option<&'static str>>,
    /// Who added which of the ids (first and last, from 1).
    adders: Vec<Adder<'a>>,
}

struct Adder<'a> {
    actor: &'a str,
    trace: Option<&'a (String, String)>,
    first: i32,
    last: i32,
}

fn columns<'a>(batch: &'a [Insert], waiting: &HashSet<TaskId>) -> Columns<'a> {
    let mut columns = Columns::default();
    for insert in batch.iter().filter(|insert| !insert.tasks.is_empty()) {
        let (actor, trace) = (insert.actor.as_str(), insert.trace.as_ref());
        let first = count(columns.ids.len() + 1);
        for task in &insert.tasks {
            columns.take(task, !waiting.contains(&task.id));
        }
        let last = count(columns.ids.len());
        match columns.adders.last_mut() {
            Some(before) if before.actor == actor && before.trace == trace => before.last = last,
            Some(_) | None => columns.adders.push(Adder { actor, trace, first, last }),
        }
    }
    columns
}

impl<'a> Columns<'a> {
    fn take(&mut self, task: &'a NewTask, is_ready: bool) {
        self.ids.push(task.id.as_uuid());
        self.codebases.push(task.codebase_id.map(CodebaseId::as_uuid));
        self.parents.push(task.parent_task_id.map(TaskId::as_uuid));
        self.titles.push(&task.title);
        self.descriptions.push(task.description.as_deref());
        self.types.push(&task.task_type);
        self.priorities.push(task.priority.as_str());
        self.drivers.push(task.driver.as_deref());
        self.models.push(task.model.as_deref());
        self.agents.push(task.agent_id.map(AgentId::as_uuid));
        self.checks.push(Json(&task.check_commands));
        self.commands.push(Json(&task.command));
        self.bases.push(task.base_ref.as_deref());
        self.deliver.push(&task.deliver);
        self.allow_unverified.push(task.allow_unverified);
        self.budgets.push(task.budget_usd);
        self.time_limits.push(task.time_limit_s);
        self.rounds.push(task.max_rounds);
        self.keys.push(task.unique_key.as_deref());
        self.reserved.push(task.reserved_for.map(NodeId::as_uuid));
        self.traces.push(task.traceparent.as_deref());
        self.contexts.push(&task.context);
        self.metadata.push(&task.metadata);
        self.dues.push(task.due_date);
        self.ready.push(is_ready);
        let policy = task.after_failure;
        self.after_failure.push((policy != AfterFailure::Wait).then(|| policy.as_str()));
    }

    async fn insert(self, connection: &mut PgConnection, places: Places) -> Result<(), StoreError> {
        let adders = &self.adders;
        let traces = |part: fn(&(String, String)) -> &str| -> Vec<Option<&str>> {
            adders.iter().map(|adder| adder.trace.map(part)).collect()
        };
        let (trace_ids, span_ids) = (traces(|trace| &trace.0), traces(|trace| &trace.1));
        sqlx::query(INSERT)
            .bind(self.ids)
            .bind(self.codebases)
            .bind(self.parents)
            .bind(self.titles)
            .bind(self.descriptions)
            .bind(self.types)
            .bind(self.priorities)
            .bind(self.drivers)
            .bind(self.models)
            .bind(self.agents)
            .bind(self.checks)
            .bind(self.commands)
            .bind(self.bases)
            .bind(self.deliver)
            .bind(self.allow_unverified)
            .bind(self.budgets)
            .bind(self.time_limits)
            .bind(self.rounds)
            .bind(self.keys)
            .bind(self.reserved)
            .bind(self.traces)
            .bind(self.contexts)
            .bind(self.metadata)
            .bind(self.dues)
            .bind(self.ready)
            .bind(self.after_failure)
            .bind(adders.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
            .bind(adders.iter().map(|adder| adder.first).collect::<Vec<_>>())
            .bind(adders.iter().map(|adder| adder.last).collect::<Vec<_>>())
            .bind(adders.iter().map(|adder| adder.actor).collect::<Vec<_>>())
            .bind(trace_ids)
            .bind(span_ids)
            .bind(places.lanes)
            .bind(places.levels)
            .bind(places.dues)
            .bind(places.reserved)
            .bind(places.firsts)
            .bind(places.lasts)
            .bind(places.ids)
            .execute(connection)
            .await?;
        Ok(())
    }
}
