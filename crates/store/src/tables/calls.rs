//! `model_calls`: each try of a model call, what it used and cost, and when the next one is due.
//!
//! Append-only. The row of a try that was answered is written with the journal's step
//! ([`crate::journal`]), that of a failed one before the wait for the next.

use chrono::{DateTime, Utc};
use journeyman_domain::ids::RunId;
use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::queue::Fence;
use crate::{Store, StoreError};

/// One try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct ModelCall {
    /// The run.
    #[sqlx(try_from = "Uuid")]
    pub run_id: RunId,
    /// The step of its journal that holds the request.
    pub request_seq: i32,
    /// Its number among the tries of this request, from 1; from a million, where nobody waited for
    /// its end.
    pub attempt: i32,
    /// Who was asked.
    pub provider: String,
    /// For which model.
    pub model: String,
    /// In which wire format.
    pub wire: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// Milliseconds until it ended.
    pub duration_ms: i64,
    /// Milliseconds until the first piece of the answer.
    pub first_chunk_ms: Option<i64>,
    /// How it failed; `None` where it was answered.
    pub failure_kind: Option<String>,
    /// The HTTP status of a failure.
    pub http_status: Option<i32>,
    /// When the next try is due.
    pub next_attempt_at: Option<DateTime<Utc>>,
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
    /// Billionths of a US dollar; `None` where nobody knows.
    pub cost_nanousd: Option<i64>,
    /// The price table that the cost is computed by.
    pub price_version: Option<String>,
}

/// What the calls of one model came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct ModelTotals {
    /// Who served it.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Answers.
    pub answers: i64,
    /// Tries that failed; those that nobody waited for are no failures.
    pub failures: i64,
    /// Input that no cache held.
    pub uncached_input_tokens: i64,
    /// Input from the provider's cache.
    pub cache_read_tokens: i64,
    /// Input that was put into it.
    pub cache_write_tokens: i64,
    /// Output, reasoning included.
    pub output_tokens: i64,
    /// US dollars; `None` where the price of some call is not known.
    pub cost_usd: Option<f64>,
    /// Milliseconds of an answer, on average.
    pub average_ms: Option<f64>,
}

// FOR SHARE waits for a take-over that is under way and then finds the epoch changed.
const RECORD: &str = "WITH held AS ( \
         SELECT e.lease_epoch FROM task_executions e JOIN agent_tasks r ON r.execution_id = e.id \
         WHERE e.id = $1 AND e.node_id = $2 AND e.lease_epoch = $3 AND e.status = 'running' \
             AND r.id = $4 FOR SHARE OF e), \
     called AS (INSERT INTO model_calls SELECT c.* FROM held, \
         jsonb_populate_record(NULL::model_calls, $5) c ON CONFLICT DO NOTHING) \
     SELECT lease_epoch FROM held";
// Beyond the numbers that the run's owner gives to tries, so that it never takes a place of theirs.
// A run that has ended has its sums in its row already.
const RECORD_CANCELLED: &str = "WITH c AS ( \
         SELECT * FROM jsonb_populate_record(NULL::model_calls, jsonb_set($1, '{attempt}', \
             to_jsonb(greatest($2, (SELECT max(attempt) + 1 FROM model_calls \
                 WHERE run_id = $3 AND request_seq = $4)))))), \
     written AS (INSERT INTO model_calls SELECT * FROM c ON CONFLICT DO NOTHING RETURNING run_id) \
     UPDATE agent_tasks r SET cost_estimate = r.cost_estimate + coalesce(c.cost_nanousd, 0) / 1e9, \
         uncached_input_tokens = r.uncached_input_tokens + c.uncached_input_tokens, \
         cache_read_tokens = r.cache_read_tokens + c.cache_read_tokens, \
         cache_write_tokens = r.cache_write_tokens + c.cache_write_tokens, \
         output_tokens = r.output_tokens + c.output_tokens, \
         reasoning_tokens = r.reasoning_tokens + c.reasoning_tokens \
     FROM c JOIN written USING (run_id) WHERE r.id = c.run_id AND r.status <> 'running'";
const OF_REQUEST: &str = "SELECT run_id, request_seq, attempt, provider, model, wire, started_at, \
     duration_ms, first_chunk_ms, failure_kind, http_status, next_attempt_at, \
     uncached_input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, \
     reasoning_tokens, cost_nanousd, price_version FROM model_calls \
     WHERE run_id = $1 AND request_seq = $2 ORDER BY attempt";
const SPENT_SINCE: &str = "SELECT coalesce(sum(cost_nanousd), 0)::bigint FROM model_calls \
     WHERE started_at >= $1";
const TOTALS: &str = "SELECT provider, model, count(*) FILTER (WHERE failure_kind IS NULL) AS answers, \
     count(*) FILTER (WHERE failure_kind <> 'cancelled') AS failures, sum(uncached_input_tokens)::bigint AS uncached_input_tokens, \
     sum(cache_read_tokens)::bigint AS cache_read_tokens, \
     sum(cache_write_tokens)::bigint AS cache_write_tokens, \
     sum(output_tokens)::bigint AS output_tokens, \
     CASE WHEN count(*) FILTER (WHERE failure_kind IS NULL AND cost_nanousd IS NULL) = 0 \
         THEN coalesce(sum(cost_nanousd), 0)::float8 / 1e9 END AS cost_usd, \
     (avg(duration_ms) FILTER (WHERE failure_kind IS NULL))::float8 AS average_ms \
     FROM model_calls WHERE started_at >= $1 GROUP BY provider, model ORDER BY provider, model";

/// The least number of a try that nobody waited for.
const FIRST_CANCELLED: i32 = 1_000_000;

pub(crate) const ALL: &[&str] = &[RECORD, RECORD_CANCELLED, OF_REQUEST, SPENT_SINCE, TOTALS];

/// The table `model_calls`.
#[derive(Clone, Copy, Debug)]
pub struct Calls<'a>(&'a Store);

impl Store {
    /// Tries of model calls.
    pub const fn calls(&self) -> Calls<'_> {
        Calls(self)
    }
}

impl Calls<'_> {
    /// Records a try that failed; once, however often it is recorded. [`StoreError::Fenced`] where
    /// the lease is lost.
    pub async fn record(&self, fence: Fence, call: &ModelCall) -> Result<(), StoreError> {
        let recorded = sqlx::query_scalar(RECORD)
            .bind(fence.execution_id.as_uuid())
            .bind(fence.node_id.as_uuid())
            .bind(fence.lease_epoch)
            .bind(call.run_id.as_uuid())
            .bind(Json(call));
        let held: Option<i64> =
            around(points::CALL_RECORD, recorded.fetch_optional(self.0.pool())).await?;
        held.map(|_| ()).ok_or(StoreError::Fenced)
    }

    /// Records a try that nobody waited for to its end; its number is made up. It says what was
    /// billed and decides nothing, so it needs no lease: the one it ran under is over.
    pub async fn record_cancelled(&self, call: &ModelCall) -> Result<(), StoreError> {
        let recorded = sqlx::query(RECORD_CANCELLED)
            .bind(Json(call))
            .bind(FIRST_CANCELLED)
            .bind(call.run_id.as_uuid())
            .bind(call.request_seq);
        around(points::CALL_CANCELLED, recorded.execute(self.0.pool())).await?;
        Ok(())
    }

    /// The tries of one request, the first one first.
    pub async fn of_request(&self, run: RunId, seq: i32) -> Result<Vec<ModelCall>, StoreError> {
        let query = sqlx::query_as(OF_REQUEST).bind(run.as_uuid()).bind(seq);
        Ok(query.fetch_all(self.0.pool()).await?)
    }

    /// Billionths of a US dollar that all calls since then cost, as far as prices are known.
    pub async fn spent_since(&self, since: DateTime<Utc>) -> Result<u64, StoreError> {
        let query = sqlx::query_scalar(SPENT_SINCE).bind(since);
        let spent: i64 = query.fetch_one(self.0.pool()).await?;
        Ok(u64::try_from(spent).unwrap_or_default())
    }

    /// What the calls since then came to, by model.
    pub async fn totals(&self, since: DateTime<Utc>) -> Result<Vec<ModelTotals>, StoreError> {
        Ok(sqlx::query_as(TOTALS).bind(since).fetch_all(self.0.pool()).await?)
    }
}
