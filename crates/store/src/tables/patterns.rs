//! `learning_patterns` and `pattern_applications`: what resolved a failure, and how often it helped.

use chrono::{DateTime, Utc};
use journeyman_domain::ids::{PatternId, TaskId};
use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use crate::column::{IdPart, only, page};
use crate::{Acting, Store, StoreError};

/// One learned pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Pattern {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: PatternId,
    /// One of `learning_pattern_type`.
    pub pattern_type: String,
    /// For a person.
    pub pattern_name: String,
    /// For a person.
    pub pattern_description: Option<String>,
    /// What it applies to: of a resolution `fingerprint` and `strategy`.
    pub pattern_signature: Value,
    /// What it does.
    pub pattern_context: Value,
    /// Applications so far.
    pub usage_count: i32,
    /// Percent of applications that succeeded; a part success counts half.
    pub success_rate: f64,
    /// 0 to 100, by feedback.
    pub effectiveness_score: Option<f64>,
    /// 0 to 1: how much the figures are to be trusted.
    pub confidence_level: f64,
    /// Mean over the applications that gave a time.
    pub avg_execution_time_ms: Option<i32>,
    /// Whether it may be applied.
    pub is_active: bool,
    /// Whether it was confirmed.
    pub is_validated: bool,
    /// When it was found.
    pub discovered_at: Option<DateTime<Utc>>,
    /// When it was applied last.
    pub last_applied_at: Option<DateTime<Utc>>,
}

/// A strategy was tried on a failure.
#[derive(Clone, Debug)]
pub struct NewResolution<'a> {
    /// Of the failure.
    pub fingerprint: &'a str,
    /// What was done, in a word that stays the same: "mechanic:rustc:E0425".
    pub strategy: &'a str,
    /// For a person.
    pub name: &'a str,
    /// What exactly was done; kept from the first time.
    pub details: &'a Value,
    /// Where.
    pub task_id: TaskId,
    /// "success", "partial_success", "failure", "needs_refinement".
    pub result: &'a str,
    /// 0 to 100.
    pub feedback: Option<f64>,
    /// How long it took.
    pub execution_time_ms: Option<i32>,
}

macro_rules! columns {
    () => {
        "id, pattern_type::text, pattern_name, pattern_description, pattern_signature, \
         coalesce(pattern_context, '{}') AS pattern_context, usage_count, success_rate::float8, \
         effectiveness_score::float8, confidence_level::float8, avg_execution_time_ms, is_active, \
         is_validated, discovered_at, last_applied_at"
    };
}
// The no-op update makes the row that exists come back.
const UPSERT: &str = "INSERT INTO learning_patterns \
     (id, pattern_type, pattern_name, pattern_signature, pattern_context) \
     VALUES ($1, 'error_resolution', $2, jsonb_build_object('fingerprint', $3::text, \
     'strategy', $4::text), $5) \
     ON CONFLICT ((pattern_signature ->> 'fingerprint'), (pattern_signature ->> 'strategy')) \
     WHERE pattern_type = 'error_resolution' AND is_active \
     DO UPDATE SET pattern_name = learning_patterns.pattern_name RETURNING id";
const APPLY: &str = "INSERT INTO pattern_applications (pattern_id, task_id, target_type, target_id, \
     application_result, feedback_score, execution_time_ms, completed_at) \
     VALUES ($1, $2, 'task', $2, $3, $4::float8::numeric, $5, now())";
const EFFECTIVENESS: &str =
    "SELECT 1 FROM update_pattern_effectiveness($1, $2, $3::float8::numeric, $4)";
const GET: &str = concat!("SELECT ", columns!(), " FROM learning_patterns WHERE id = $1");
const BY_PART: &str = "SELECT id FROM learning_patterns WHERE id BETWEEN $1 AND $2 \
     OR reverse(replace(id::text, '-', '')) LIKE $3 LIMIT 2";
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM learning_patterns WHERE ($1::uuid IS NULL OR id < $1) ORDER BY id DESC LIMIT $2"
);
const RESOLUTIONS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM learning_patterns WHERE pattern_signature ->> 'fingerprint' = $1 \
     AND pattern_type = 'error_resolution' AND is_active \
     ORDER BY success_rate * confidence_level DESC, id"
);

pub(crate) const ALL: &[&str] = &[UPSERT, APPLY, EFFECTIVENESS, GET, BY_PART, LIST, RESOLUTIONS];

/// The tables `learning_patterns` and `pattern_applications`.
#[derive(Clone, Copy, Debug)]
pub struct Patterns<'a>(&'a Store);

impl Store {
    /// Learned patterns.
    pub const fn patterns(&self) -> Patterns<'_> {
        Patterns(self)
    }
}

impl Patterns<'_> {
    /// Records that a strategy was tried on a failure: finds or makes its pattern, writes the
    /// application, and brings the figures up to date.
    pub async fn record_resolution(
        &self,
        acting: &Acting<'_>,
        new: &NewResolution<'_>,
    ) -> Result<Pattern, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let id: Uuid = sqlx::query_scalar(UPSERT)
            .bind(Uuid::now_v7())
            .bind(new.name)
            .bind(new.fingerprint)
            .bind(new.strategy)
            .bind(new.details)
            .fetch_one(&mut *transaction)
            .await?;
        sqlx::query(APPLY)
            .bind(id)
            .bind(new.task_id.as_uuid())
            .bind(new.result)
            .bind(new.feedback)
            .bind(new.execution_time_ms)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(EFFECTIVENESS)
            .bind(id)
            .bind(new.result)
            .bind(new.feedback)
            .bind(new.execution_time_ms)
            .execute(&mut *transaction)
            .await?;
        around(points::RESOLUTION, transaction.commit()).await?;
        self.get(PatternId::from_uuid(id)).await
    }

    /// One pattern.
    pub async fn get(&self, id: PatternId) -> Result<Pattern, StoreError> {
        let found = sqlx::query_as(GET).bind(id.as_uuid()).fetch_optional(self.0.pool()).await?;
        found.ok_or_else(|| StoreError::not_found("pattern", id))
    }

    /// By a part of its id.
    pub async fn find(&self, text: &str) -> Result<Pattern, StoreError> {
        let part = IdPart::parse(text).ok_or_else(|| StoreError::not_found("pattern", text))?;
        let ids: Vec<Uuid> = sqlx::query_scalar(BY_PART)
            .bind(part.low)
            .bind(part.high)
            .bind(part.reversed_suffix)
            .fetch_all(self.0.pool())
            .await?;
        self.get(PatternId::from_uuid(only("pattern", text, &ids)?)).await
    }

    /// A page, newest first, and the cursor of the next one.
    pub async fn list(
        &self,
        limit: u32,
        cursor: Option<PatternId>,
    ) -> Result<(Vec<Pattern>, Option<PatternId>), StoreError> {
        let rows: Vec<Pattern> = sqlx::query_as(LIST)
            .bind(cursor.map(PatternId::as_uuid))
            .bind(i64::from(limit) + 1)
            .fetch_all(self.0.pool())
            .await?;
        Ok(page(rows, limit, |pattern| pattern.id))
    }

    /// What helped against this failure before, the most promising first.
    pub async fn resolutions(&self, fingerprint: &str) -> Result<Vec<Pattern>, StoreError> {
        Ok(sqlx::query_as(RESOLUTIONS).bind(fingerprint).fetch_all(self.0.pool()).await?)
    }
}
