//! Some tasks in one statement, by column.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use journeyman_domain::ids::{AgentId, CodebaseId, NodeId, TaskId};
use journeyman_domain::status::AfterFailure;
use serde_json::Value;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres};
use uuid::Uuid;

use super::places::Places;
use super::{Insert, count, words};
use crate::{NewTask, StoreError};

// Those that wait for others are `pending` until that is judged; the rest are ready.
pub(super) const INSERT: &str = concat!(
    "WITH new AS (SELECT * FROM unnest($1::uuid[], $15::uuid[], $16::uuid[], $17::text[], $18::text[], \
         $19::text[], $20::text[], $21::text[], $22::text[], $23::uuid[], $24::jsonb[], $25::jsonb[], \
         $26::text[], $27::text[], $28::boolean[], $29::float8[], $30::integer[], $31::integer[], \
         $32::text[], $33::uuid[], $34::text[], $35::jsonb[], $36::jsonb[], $37::timestamptz[], \
         $38::boolean[], $39::text[]) AS n (id, codebase_id, parent_task_id, title, description, \
         task_type, priority, driver, model, agent_id, check_commands, command, base_ref, deliver, \
         allow_unverified, budget_usd, time_limit_s, max_rounds, unique_key, reserved_for, \
         traceparent, context, metadata, due_date, is_ready, after_failure)), \
     put AS (INSERT INTO tasks (",
    columns!(),
    ") SELECT id, codebase_id, parent_task_id, title, description, task_type, \
         priority::priority_level, (CASE WHEN is_ready THEN 'ready' ELSE 'pending' END)::status_type, \
         driver, model, agent_id, check_commands, command, base_ref, deliver, allow_unverified, \
         budget_usd::numeric, time_limit_s, max_rounds, unique_key, reserved_for, traceparent, \
         context, metadata, due_date, after_failure FROM new), ",
    told_and_placed!()
);

/// The rows of a flush, by column.
#[derive(Default)]
pub(super) struct Columns<'a> {
    ids: Vec<Uuid>,
    adders: Vec<Adder<'a>>,
    codebases: Vec<Option<Uuid>>,
    parents: Vec<Option<Uuid>>,
    titles: Vec<&'a str>,
    descriptions: Vec<Option<&'a str>>,
    types: Vec<&'a str>,
    priorities: Vec<&'static str>,
    drivers: Vec<Option<&'a str>>,
    models: Vec<Option<&'a str>>,
    agents: Vec<Option<Uuid>>,
    checks: Vec<Option<Json<&'a [String]>>>,
    commands: Vec<Option<Json<&'a [String]>>>,
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
}

impl<'a> Columns<'a> {
    pub(super) fn of(batch: &'a [Insert], waiting: &HashSet<TaskId>) -> Self {
        let mut columns = Self::default();
        for task in batch.iter().flat_map(|insert| &insert.tasks) {
            columns.take(task, !waiting.contains(&task.id));
        }
        (columns.ids, columns.adders) = adders(batch);
        columns
    }

    fn take(&mut self, task: &'a NewTask, is_ready: bool) {
        self.codebases.push(task.codebase_id.map(CodebaseId::as_uuid));
        self.parents.push(task.parent_task_id.map(TaskId::as_uuid));
        self.titles.push(&task.title);
        self.descriptions.push(task.description.as_deref());
        self.types.push(&task.task_type);
        self.priorities.push(task.priority.as_str());
        self.drivers.push(task.driver.as_deref());
        self.models.push(task.model.as_deref());
        self.agents.push(task.agent_id.map(AgentId::as_uuid));
        self.checks.push(words(&task.check_commands));
        self.commands.push(words(&task.command));
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

    pub(super) async fn insert(
        self,
        connection: &mut PgConnection,
        places: Places,
    ) -> Result<(), StoreError> {
        tell_and_place(INSERT, self.ids, &self.adders, places)
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
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// Who added which of the ids (first and last, from 1).
pub(super) struct Adder<'a> {
    actor: &'a str,
    trace: Option<&'a (String, String)>,
    first: i32,
    last: i32,
}

/// The ids of a flush, and who added which of them; neighbours of one adder are one.
pub(super) fn adders(batch: &[Insert]) -> (Vec<Uuid>, Vec<Adder<'_>>) {
    let (mut ids, mut adders): (Vec<Uuid>, Vec<Adder<'_>>) = (Vec::new(), Vec::new());
    for insert in batch.iter().filter(|insert| !insert.tasks.is_empty()) {
        let (actor, trace) = (insert.actor.as_str(), insert.trace.as_ref());
        let first = count(ids.len() + 1);
        ids.extend(insert.tasks.iter().map(|task| task.id.as_uuid()));
        let last = count(ids.len());
        match adders.last_mut() {
            Some(before) if before.actor == actor && before.trace == trace => before.last = last,
            Some(_) | None => adders.push(Adder { actor, trace, first, last }),
        }
    }
    (ids, adders)
}

/// Binds what `told_and_placed` wants.
pub(super) fn tell_and_place<'q>(
    statement: &'static str,
    ids: Vec<Uuid>,
    adders: &[Adder<'q>],
    places: Places,
) -> Query<'q, Postgres, PgArguments> {
    let traces = |part: fn(&(String, String)) -> &str| -> Vec<Option<&'q str>> {
        adders.iter().map(|adder| adder.trace.map(part)).collect()
    };
    let (trace_ids, span_ids) = (traces(|trace| &trace.0), traces(|trace| &trace.1));
    sqlx::query(statement)
        .bind(ids)
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
}
