//! Adding tasks: one statement for all that is added at once, whoever adds it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use journeyman_domain::ids::{AgentId, CodebaseId, NodeId, TaskId};
use journeyman_domain::status::AfterFailure;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::NewTask;
use crate::group::Group;
use crate::queue::ready::{self, Kind, places};
use crate::{Acting, Store, StoreError};

/// Kinds of work whose lanes are known to be there.
pub(crate) type Lanes = Arc<Mutex<HashSet<Kind>>>;
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
// in the queue. One event for each adder says what was added.
const INSERT: &str = concat!(
    "WITH new AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], \
         $6::text[], $7::text[], $8::text[], $9::text[], $10::uuid[], $11::jsonb[], $12::jsonb[], \
         $13::text[], $14::text[], $15::boolean[], $16::float8[], $17::integer[], $18::integer[], \
         $19::text[], $20::uuid[], $21::text[], $22::jsonb[], $23::jsonb[], $24::timestamptz[], \
         $25::boolean[], $26::bigint[], $31::text[]) AS n (id, codebase_id, parent_task_id, title, description, \
         task_type, priority, driver, model, agent_id, check_commands, command, base_ref, deliver, \
         allow_unverified, budget_usd, time_limit_s, max_rounds, unique_key, reserved_for, \
         traceparent, context, metadata, due_date, is_ready, adder, after_failure)), \
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
         SELECT a.id, 'tasks_added', 'tasks', array_agg(new.id ORDER BY new.id), a.actor, a.trace_id, \
             a.span_id \
         FROM unnest($27::uuid[], $28::text[], $29::text[], $30::text[]) WITH ORDINALITY \
             AS a (id, actor, trace_id, span_id, adder) JOIN new USING (adder) \
         GROUP BY a.id, a.adder, a.actor, a.trace_id, a.span_id), \
     fresh AS (SELECT id, codebase_id, agent_id, task_type, driver, priority, due_date, reserved_for, \
         now() AS created_at FROM new WHERE is_ready), ",
    places!(),
    " SELECT"
);

pub(crate) const ALL: &[&str] = &[INSERT];

/// Adds what waits for nothing, in one commit; each adder learns of its own.
pub(super) async fn flush(store: Store, batch: Vec<Insert>) -> Vec<Result<(), StoreError>> {
    match on_line(&store, &batch).await {
        Ok(()) => batch.iter().map(|_| Ok(())).collect(),
        Err(error) if batch.len() == 1 => vec![Err(error)],
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
    let mut line = store.lines.take(store.pool()).await?;
    insert(&mut line, &store.lanes, batch, &HashSet::new()).await?;
    store.lines.give(line);
    Ok(())
}

/// Adds all of these; those of `waiting` are not ready yet.
pub(super) async fn insert(
    connection: &mut PgConnection,
    lanes: &Lanes,
    batch: &[Insert],
    waiting: &HashSet<TaskId>,
) -> Result<(), StoreError> {
    let tasks = || batch.iter().flat_map(|insert| &insert.tasks);
    let kinds: HashSet<Kind> = tasks().map(kind).collect();
    let known = |lanes: &Lanes| {
        let lanes = lanes.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.iter().all(|kind| lanes.contains(kind))
    };
    if !known(lanes) {
        let list: Vec<Kind> = kinds.iter().cloned().collect();
        ready::open_lanes(connection, &list).await?;
        lanes.lock().unwrap_or_else(PoisonError::into_inner).extend(kinds.iter().cloned());
    }
    let inserted = columns(batch, waiting).insert(connection).await;
    if inserted.is_err() {
        // A database that was put back to an earlier day may have lost some of them.
        lanes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
    inserted
}

fn kind(task: &NewTask) -> Kind {
    (
        task.codebase_id.map(CodebaseId::as_uuid),
        task.agent_id.map(AgentId::as_uuid),
        task.task_type.clone(),
        task.driver.clone(),
    )
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
    dues: Vec<Option<chrono::DateTime<chrono::Utc>>>,
    ready: Vec<bool>,
    adders: Vec<i64>,
    after_failure: Vec<Option<&'static str>>,
    actors: Vec<(&'a str, Option<&'a str>, Option<&'a str>)>,
}

fn columns<'a>(batch: &'a [Insert], waiting: &HashSet<TaskId>) -> Columns<'a> {
    let mut columns = Columns::default();
    for insert in batch {
        let (trace, span) = insert.trace.as_ref().map(|(trace, span)| (&**trace, &**span)).unzip();
        let actor = (insert.actor.as_str(), trace, span);
        let known = columns.actors.iter().position(|other| *other == actor);
        let place = known.unwrap_or_else(|| {
            columns.actors.push(actor);
            columns.actors.len() - 1
        });
        let adder = i64::try_from(place + 1).unwrap_or(i64::MAX);
        for task in &insert.tasks {
            columns.take(task, !waiting.contains(&task.id), adder);
        }
    }
    columns
}

impl<'a> Columns<'a> {
    fn take(&mut self, task: &'a NewTask, is_ready: bool, adder: i64) {
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
        self.adders.push(adder);
        let policy = task.after_failure;
        self.after_failure.push((policy != AfterFailure::Wait).then(|| policy.as_str()));
    }

    async fn insert(self, connection: &mut PgConnection) -> Result<(), StoreError> {
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
            .bind(self.adders)
            .bind(self.actors.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
            .bind(self.actors.iter().map(|actor| actor.0).collect::<Vec<_>>())
            .bind(self.actors.iter().map(|actor| actor.1).collect::<Vec<_>>())
            .bind(self.actors.iter().map(|actor| actor.2).collect::<Vec<_>>())
            .bind(self.after_failure)
            .execute(connection)
            .await?;
        Ok(())
    }
}
