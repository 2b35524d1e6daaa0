//! `tasks` and `task_dependencies`: what the user asked for, and what waits for what.
//!
//! Whether one may begin is decided in `readiness`, in the transaction of whatever changed it.

pub(crate) mod chains;
pub(crate) mod graph;
pub(crate) mod insert;
pub(crate) mod list;
mod order;
pub(crate) mod parents;
pub(crate) mod readiness;
pub mod wishes;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use journeyman_domain::ids::{AgentId, CodebaseId, NodeId, TaskId};
use journeyman_domain::status::{AfterFailure, Priority, Status, WaitingFor};
use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use self::insert::Insert;
pub(crate) use self::readiness::{refresh, refresh_dependants, refresh_waiting_for};
use crate::column::{IdPart, MaybeId, MaybeText, Text, only};
use crate::group;
use crate::tables::files;
use crate::{Acting, Store, StoreError, TASKS_CHANNEL};

/// One task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Task {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: TaskId,
    /// The repository.
    #[sqlx(try_from = "MaybeId")]
    pub codebase_id: Option<CodebaseId>,
    /// The task that it is a part of.
    #[sqlx(try_from = "MaybeId")]
    pub parent_task_id: Option<TaskId>,
    /// One line.
    pub title: String,
    /// The prompt.
    pub description: Option<String>,
    /// "feature", "bug", "refactor", "test", "docs", "analysis", "optimization".
    pub task_type: String,
    /// What becomes of it when one that it waits for does not complete; `None`: it waits on.
    #[sqlx(try_from = "MaybeText<AfterFailure>")]
    pub after_failure: Option<AfterFailure>,
    /// Order among ready ones.
    #[sqlx(try_from = "Text<Priority>")]
    pub priority: Priority,
    /// Where it stands.
    #[sqlx(try_from = "Text<Status>")]
    pub status: Status,
    /// Why it waits.
    #[sqlx(try_from = "MaybeText<WaitingFor>")]
    pub waiting_for: Option<WaitingFor>,
    /// From when it may go on.
    pub wake_at: Option<DateTime<Utc>>,
    /// The wanted driver.
    pub driver: Option<String>,
    /// The wanted model.
    pub model: Option<String>,
    /// The wanted agent.
    #[sqlx(try_from = "MaybeId")]
    pub agent_id: Option<AgentId>,
    /// Checks that the user gave, as shell commands; empty: they are found.
    #[sqlx(json)]
    pub check_commands: Vec<String>,
    /// Program and arguments of the driver `command`.
    #[sqlx(json)]
    pub command: Vec<String>,
    /// What the work starts from; `None` is the codebase's default.
    pub base_ref: Option<String>,
    /// "branch", "pr", "patch", "none".
    pub deliver: String,
    /// Whether a change that nothing could check may be delivered.
    pub allow_unverified: bool,
    /// What all runs together may cost.
    pub budget_usd: Option<f64>,
    /// Seconds of wall time for a run.
    pub time_limit_s: Option<i32>,
    /// Rounds of acting and verifying.
    pub max_rounds: Option<i32>,
    /// At most one unfinished task has it.
    pub unique_key: Option<String>,
    /// The foreground node that shall claim it while it lives.
    #[sqlx(try_from = "MaybeId")]
    pub reserved_for: Option<NodeId>,
    /// Executions so far.
    pub attempts: i32,
    /// The user wants it stopped.
    pub cancel_requested_at: Option<DateTime<Utc>>,
    /// The user wants it held.
    pub pause_requested_at: Option<DateTime<Utc>>,
    /// The user consented to an unverified change.
    pub approved_at: Option<DateTime<Utc>>,
    /// The user let it go on, the last time.
    pub resumed_at: Option<DateTime<Utc>>,
    /// Where the change is.
    pub branch: Option<String>,
    /// What the work started from.
    pub base_commit: Option<String>,
    /// The delivered commit.
    pub head_commit: Option<String>,
    /// The runtime's judgement; `None` before there is one.
    pub verified: Option<bool>,
    /// The agent's own word.
    pub done_by_word: Option<bool>,
    /// Why it failed, waits or is parked.
    pub error: Option<String>,
    /// The trace that it belongs to, as `traceparent`.
    pub traceparent: Option<String>,
    /// Free.
    pub context: Value,
    /// Free.
    pub metadata: Value,
    /// Of the first attempt.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// By when it should be done.
    pub due_date: Option<DateTime<Utc>>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it changed last.
    pub updated_at: DateTime<Utc>,
}

/// A task to add.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)] // schedules keep tasks for later versions
#[expect(missing_docs, reason = "the fields are those of Task")]
pub struct NewTask {
    pub id: TaskId,
    pub codebase_id: Option<CodebaseId>,
    pub parent_task_id: Option<TaskId>,
    pub title: String,
    pub description: Option<String>,
    pub task_type: String,
    pub priority: Priority,
    pub driver: Option<String>,
    pub model: Option<String>,
    pub agent_id: Option<AgentId>,
    pub check_commands: Vec<String>,
    pub command: Vec<String>,
    pub base_ref: Option<String>,
    pub deliver: String,
    pub allow_unverified: bool,
    pub budget_usd: Option<f64>,
    pub time_limit_s: Option<i32>,
    pub max_rounds: Option<i32>,
    pub unique_key: Option<String>,
    pub reserved_for: Option<NodeId>,
    pub traceparent: Option<String>,
    pub context: Value,
    pub metadata: Value,
    pub due_date: Option<DateTime<Utc>>,
    pub after_failure: AfterFailure,
    /// Patterns of the files that it works on, for itself.
    pub files: Vec<String>,
}

impl Default for NewTask {
    fn default() -> Self {
        Self::new("")
    }
}

impl NewTask {
    /// Whether nothing but its row and its place is to be written.
    pub(crate) fn stands_alone(&self) -> bool {
        self.files.is_empty() && self.parent_task_id.is_none()
    }

    /// A feature of normal priority for a branch, with a fresh id and the defaults of the schema.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            id: TaskId::from_uuid(Uuid::now_v7()),
            codebase_id: None,
            parent_task_id: None,
            title: title.into(),
            description: None,
            task_type: "feature".to_owned(),
            priority: Priority::Normal,
            driver: None,
            model: None,
            agent_id: None,
            check_commands: Vec::new(),
            command: Vec::new(),
            base_ref: None,
            deliver: "branch".to_owned(),
            allow_unverified: false,
            budget_usd: None,
            time_limit_s: None,
            max_rounds: None,
            unique_key: None,
            reserved_for: None,
            traceparent: None,
            context: Value::Object(serde_json::Map::new()),
            metadata: Value::Object(serde_json::Map::new()),
            due_date: None,
            after_failure: AfterFailure::Wait,
            files: Vec::new(),
        }
    }
}

macro_rules! columns {
    () => {
        "t.id, t.codebase_id, t.parent_task_id, t.title, t.description, t.task_type, t.after_failure, \
         t.priority::text, t.status::text, t.waiting_for::text, t.wake_at, t.driver, t.model, \
         t.agent_id, coalesce(t.check_commands, '[]') AS check_commands, \
         coalesce(t.command, '[]') AS command, t.base_ref, t.deliver, t.allow_unverified, \
         t.budget_usd::float8, t.time_limit_s, t.max_rounds, t.unique_key, t.reserved_for, \
         t.attempts, t.cancel_requested_at, t.pause_requested_at, t.approved_at, t.resumed_at, \
         t.branch, t.base_commit, t.head_commit, t.verified, t.done_by_word, t.error, t.traceparent, \
         t.context, t.metadata, t.started_at, t.completed_at, t.due_date, t.created_at, t.updated_at"
    };
}

pub(crate) use columns;

/// How often an addition is tried that met others in the opposite order.
const TRIES: u32 = 4;

const LOCK_DEPENDED_ON: &str = "SELECT id FROM tasks WHERE id = ANY ($1) ORDER BY id FOR SHARE";
const INSERT_DEPENDENCIES: &str = "INSERT INTO task_dependencies (task_id, depends_on) \
     SELECT e.task_id, e.depends_on FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY \
     AS e (task_id, depends_on, n) ORDER BY e.n ON CONFLICT DO NOTHING";
const GET: &str = concat!("SELECT ", columns!(), " FROM tasks t WHERE t.id = $1");
const GET_MANY: &str = concat!("SELECT ", columns!(), " FROM tasks t WHERE t.id = ANY ($1)");
const LATEST: &str = "SELECT id FROM tasks ORDER BY id DESC LIMIT 1";
const BY_PREFIX: &str = "SELECT id FROM tasks WHERE id BETWEEN $1 AND $2 LIMIT 2";
// No index: the end of an id is random, and an index on it would be written all over for each task.
const BY_SUFFIX: &str = "SELECT id FROM tasks WHERE id::text LIKE $1 LIMIT 2";
const TOTALS: &str = "SELECT count(*) AS tasks, \
     count(*) FILTER (WHERE status = 'completed') AS completed, \
     count(*) FILTER (WHERE status = 'completed' AND verified) AS verified, \
     count(*) FILTER (WHERE status IN ('failed', 'timeout')) AS failed, \
     count(*) FILTER (WHERE status NOT IN ('completed', 'failed', 'timeout', 'cancelled')) AS open, \
     (avg(extract(epoch FROM completed_at - started_at)) \
         FILTER (WHERE status = 'completed'))::float8 AS average_s \
     FROM tasks WHERE created_at >= $1";
pub(crate) const ALL: &[&str] =
    &[LOCK_DEPENDED_ON, INSERT_DEPENDENCIES, GET, GET_MANY, LATEST, BY_PREFIX, BY_SUFFIX, TOTALS];

/// The tables `tasks` and `task_dependencies`.
#[derive(Clone, Copy, Debug)]
pub struct Tasks<'a>(pub(crate) &'a Store);

impl Store {
    /// Tasks.
    pub const fn tasks(&self) -> Tasks<'_> {
        Tasks(self)
    }
}

/// Adds tasks that may wait for others, be parts of others, or have files of their own.
pub(crate) async fn add(
    connection: &mut PgConnection,
    acting: &Acting<'_>,
    batch: &[(NewTask, Vec<TaskId>)],
) -> Result<(), StoreError> {
    let order = order::topological(batch)?;
    let tasks: Vec<&NewTask> = batch.iter().map(|(task, _)| task).collect();
    let (mut waiting, mut awaited) = (Vec::new(), Vec::new());
    for (task, after) in &order {
        for other in after {
            waiting.push(task.id.as_uuid());
            awaited.push(other.as_uuid());
        }
    }
    let chains = chains::lengths(&order);
    // The head of a chain gets its place when its length is known.
    let is_judged_later = |(task, after): &&(NewTask, Vec<TaskId>)| {
        chains.contains_key(&task.id) || !after.is_empty()
    };
    let later: HashSet<TaskId> =
        batch.iter().filter(is_judged_later).map(|(task, _)| task.id).collect();
    // Its lanes may be rolled back with it: nobody else shall know them yet.
    let lanes = insert::Lanes::default();
    let added = Insert::new(acting, tasks.iter().map(|task| (*task).clone()).collect());
    insert::insert(connection, &lanes, &[added], &later).await?;
    files::declare(connection, &tasks).await?;
    for (parent, part) in parents::that_wait(connection, &tasks).await? {
        waiting.push(parent);
        awaited.push(part);
    }
    let known: HashSet<Uuid> = sqlx::query_scalar(LOCK_DEPENDED_ON)
        .bind(&awaited)
        .fetch_all(&mut *connection)
        .await?
        .into_iter()
        .collect();
    if let Some(missing) = awaited.iter().find(|id| !known.contains(id)) {
        return Err(StoreError::not_found("task", missing));
    }
    sqlx::query(INSERT_DEPENDENCIES)
        .bind(&waiting)
        .bind(&awaited)
        .execute(&mut *connection)
        .await?;
    chains::lengthen(connection, &chains).await?;
    let later = later.into_iter().map(TaskId::as_uuid);
    let judged: Vec<Uuid> = later.chain(waiting).collect::<HashSet<_>>().into_iter().collect();
    refresh(connection, &judged).await
}

pub(crate) async fn get_many(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<Task>, StoreError> {
    Ok(sqlx::query_as(GET_MANY).bind(ids).fetch_all(connection).await?)
}

/// How the tasks of a time fared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct TaskTotals {
    /// All that were added.
    pub tasks: i64,
    /// Those that are completed.
    pub completed: i64,
    /// Of them, those that the runtime saw pass.
    pub verified: i64,
    /// Those that failed or ran out of time.
    pub failed: i64,
    /// Those that have not ended.
    pub open: i64,
    /// Seconds from start to end of a completed one, on average.
    pub average_s: Option<f64>,
}

impl Tasks<'_> {
    /// How the tasks fared that were added since then.
    pub async fn totals(&self, since: DateTime<Utc>) -> Result<TaskTotals, StoreError> {
        Ok(sqlx::query_as(TOTALS).bind(since).fetch_one(self.0.pool()).await?)
    }

    /// Adds a task that waits for others, which exist already.
    /// [`StoreError::Conflict`] where an unfinished task has its unique key.
    pub async fn insert(
        &self,
        acting: &Acting<'_>,
        task: &NewTask,
        after: &[TaskId],
    ) -> Result<Task, StoreError> {
        self.insert_many(acting, &[(task.clone(), after.to_vec())]).await?;
        self.get(task.id).await
    }

    /// Adds all of these or none. A task may wait for existing ones and for others of the batch,
    /// in any order; [`StoreError::Cycle`] names the circle where they form one.
    pub async fn insert_many(
        &self,
        acting: &Acting<'_>,
        batch: &[(NewTask, Vec<TaskId>)],
    ) -> Result<(), StoreError> {
        let Some(first) = batch.first().map(|(task, _)| task.id) else { return Ok(()) };
        if batch.iter().all(|(task, after)| after.is_empty() && task.stands_alone()) {
            let added = Insert::new(acting, batch.iter().map(|(task, _)| task.clone()).collect());
            let store = self.0.clone();
            self.0.inserts.submit(added, |batch| group::flush(store, batch)).await?;
        } else {
            let mut tries = 0;
            while let Err(error) = self.add_together(acting, batch).await {
                // Whoever was in its way has gone on: nothing of it was written.
                tries += 1;
                if tries == TRIES || !matches!(error.sqlstate().as_deref(), Some("40001" | "40P01"))
                {
                    return Err(error);
                }
            }
        }
        self.0.hint_soon(TASKS_CHANNEL, first);
        Ok(())
    }

    async fn add_together(
        &self,
        acting: &Acting<'_>,
        batch: &[(NewTask, Vec<TaskId>)],
    ) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        add(&mut transaction, acting, batch).await?;
        around(points::TASK_ADD_TOGETHER, transaction.commit()).await?;
        Ok(())
    }

    /// One task.
    pub async fn get(&self, id: TaskId) -> Result<Task, StoreError> {
        let found = sqlx::query_as(GET).bind(id.as_uuid()).fetch_optional(self.0.pool()).await?;
        found.ok_or_else(|| StoreError::not_found("task", id))
    }

    /// By a whole id, a unique beginning or end of one, or "latest".
    pub async fn find(&self, text: &str) -> Result<Task, StoreError> {
        let ids: Vec<Uuid> = if text == "latest" {
            sqlx::query_scalar(LATEST).fetch_all(self.0.pool()).await?
        } else {
            let part = IdPart::parse(text).ok_or_else(|| StoreError::not_found("task", text))?;
            self.by_part(&part).await?
        };
        self.get(TaskId::from_uuid(only("task", text, &ids)?)).await
    }

    async fn by_part(&self, part: &IdPart) -> Result<Vec<Uuid>, StoreError> {
        let query = sqlx::query_scalar(BY_PREFIX).bind(part.low).bind(part.high);
        let mut found: Vec<Uuid> = query.fetch_all(self.0.pool()).await?;
        let query = sqlx::query_scalar(BY_SUFFIX).bind(&part.suffix);
        for id in query.fetch_all(self.0.pool()).await? {
            if !found.contains(&id) {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// These tasks, in no order.
    pub async fn get_many(&self, ids: &[TaskId]) -> Result<Vec<Task>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        Ok(sqlx::query_as(GET_MANY).bind(ids).fetch_all(self.0.pool()).await?)
    }
}
