//! `agent_tasks`: an agent's run within an execution. Made and ended by [`crate::queue`].

use chrono::{DateTime, Utc};
use journeyman_domain::ids::{AgentId, ExecutionId, RunId, TaskId};
use journeyman_domain::status::Status;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::column::{IdPart, MaybeId, Text, only};
use crate::{Store, StoreError};

/// One agent's run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Run {
    /// Its id; the journal bears it.
    #[sqlx(try_from = "Uuid")]
    pub id: RunId,
    /// Who works.
    #[sqlx(try_from = "Uuid")]
    pub agent_id: AgentId,
    /// The task.
    #[sqlx(try_from = "MaybeId")]
    pub task_id: Option<TaskId>,
    /// The execution.
    #[sqlx(try_from = "MaybeId")]
    pub execution_id: Option<ExecutionId>,
    /// The execution's attempt.
    pub attempt: i32,
    /// What the agent was asked.
    pub prompt: String,
    /// Running, or how it ended.
    #[sqlx(try_from = "Text<Status>")]
    pub status: Status,
    /// How it acts.
    pub driver: Option<String>,
    /// With which model.
    pub model: Option<String>,
    /// Free.
    pub result: Value,
    /// Why it failed.
    pub error_message: Option<String>,
    /// What it used.
    #[sqlx(flatten)]
    #[serde(flatten)]
    pub usage: Usage,
    /// When it started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
}

/// What model calls used: tokens in five classes, and money.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Usage {
    /// Input that no cache held.
    pub uncached_input_tokens: i64,
    /// Input from the provider's cache.
    pub cache_read_tokens: i64,
    /// Input that was put into it.
    pub cache_write_tokens: i64,
    /// Output, reasoning included.
    pub output_tokens: i64,
    /// The part of it that was reasoning.
    pub reasoning_tokens: i64,
    /// US dollars.
    pub cost_usd: f64,
    /// The price table that the cost is computed by.
    pub price_version: Option<String>,
}

/// What the model calls of a task used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Used {
    /// Tokens and money, as far as prices are known.
    #[sqlx(flatten)]
    #[serde(flatten)]
    pub usage: Usage,
    /// Whether the price of every answer is known.
    pub is_cost_known: bool,
    /// Tries of calls.
    pub calls: i64,
}

macro_rules! columns {
    () => {
        "id, agent_id, task_id, execution_id, attempt, prompt, status::text, driver, model, \
         result, error_message, uncached_input_tokens, cache_read_tokens, cache_write_tokens, \
         output_tokens, reasoning_tokens, cost_estimate::float8 AS cost_usd, price_version, \
         started_at, completed_at"
    };
}
const GET: &str = concat!("SELECT ", columns!(), " FROM agent_tasks WHERE id = $1");
const OF_TASK: &str =
    concat!("SELECT ", columns!(), " FROM agent_tasks WHERE task_id = $1 ORDER BY id");
const OF_EXECUTIONS: &str =
    concat!("SELECT ", columns!(), " FROM agent_tasks WHERE execution_id = ANY ($1) ORDER BY id");
const BY_PART: &str = "SELECT id FROM agent_tasks WHERE id BETWEEN $1 AND $2 \
     OR reverse(replace(id::text, '-', '')) LIKE $3 LIMIT 2";
// The columns of the runs themselves are filled when a run is left; this is what is true meanwhile.
const USED_BY_TASK: &str = "SELECT coalesce(sum(c.uncached_input_tokens), 0)::bigint \
     AS uncached_input_tokens, coalesce(sum(c.cache_read_tokens), 0)::bigint AS cache_read_tokens, \
     coalesce(sum(c.cache_write_tokens), 0)::bigint AS cache_write_tokens, \
     coalesce(sum(c.output_tokens), 0)::bigint AS output_tokens, \
     coalesce(sum(c.reasoning_tokens), 0)::bigint AS reasoning_tokens, \
     coalesce(sum(c.cost_nanousd), 0)::float8 / 1e9 AS cost_usd, \
     max(c.price_version) AS price_version, \
     coalesce(bool_and(c.cost_nanousd IS NOT NULL OR c.failure_kind IS NOT NULL), true) \
     AS is_cost_known, count(*) AS calls \
     FROM model_calls c JOIN agent_tasks r ON r.id = c.run_id WHERE r.task_id = $1";
const SPENT_BY_OTHERS: &str = "SELECT coalesce(sum(c.cost_nanousd), 0)::bigint \
     FROM model_calls c JOIN agent_tasks r ON r.id = c.run_id WHERE r.task_id = $1 AND r.id <> $2";

pub(crate) const ALL: &[&str] =
    &[GET, OF_TASK, OF_EXECUTIONS, BY_PART, USED_BY_TASK, SPENT_BY_OTHERS];

/// The table `agent_tasks`.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a>(&'a Store);

impl Store {
    /// Agents' runs.
    pub const fn runs(&self) -> Runs<'_> {
        Runs(self)
    }
}

pub(crate) async fn of_executions(
    connection: &mut PgConnection,
    executions: &[Uuid],
) -> Result<Vec<Run>, StoreError> {
    Ok(sqlx::query_as(OF_EXECUTIONS).bind(executions).fetch_all(connection).await?)
}

impl Runs<'_> {
    /// One run.
    pub async fn get(&self, id: RunId) -> Result<Run, StoreError> {
        let found = sqlx::query_as(GET).bind(id.as_uuid()).fetch_optional(self.0.pool()).await?;
        found.ok_or_else(|| StoreError::not_found("run", id))
    }

    /// By a part of its id.
    pub async fn find(&self, text: &str) -> Result<Run, StoreError> {
        let part = IdPart::parse(text).ok_or_else(|| StoreError::not_found("run", text))?;
        let ids: Vec<Uuid> = sqlx::query_scalar(BY_PART)
            .bind(part.low)
            .bind(part.high)
            .bind(part.reversed_suffix)
            .fetch_all(self.0.pool())
            .await?;
        self.get(RunId::from_uuid(only("run", text, &ids)?)).await
    }

    /// All runs of a task, the first one first.
    pub async fn of_task(&self, task: TaskId) -> Result<Vec<Run>, StoreError> {
        Ok(sqlx::query_as(OF_TASK).bind(task.as_uuid()).fetch_all(self.0.pool()).await?)
    }

    /// What the model calls of all runs of a task used so far.
    pub async fn used_by_task(&self, task: TaskId) -> Result<Used, StoreError> {
        Ok(sqlx::query_as(USED_BY_TASK).bind(task.as_uuid()).fetch_one(self.0.pool()).await?)
    }

    /// What the model calls of all runs of a task but this one cost so far, in billionths of a US dollar.
    pub async fn spent_by_others(&self, task: TaskId, run: RunId) -> Result<u64, StoreError> {
        let spent: i64 = sqlx::query_scalar(SPENT_BY_OTHERS)
            .bind(task.as_uuid())
            .bind(run.as_uuid())
            .fetch_one(self.0.pool())
            .await?;
        Ok(u64::try_from(spent).unwrap_or_default())
    }
}
