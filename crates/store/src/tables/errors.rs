//! `error_reports`: every classified failure, and what became of it.

use chrono::{DateTime, Utc};
use journeyman_domain::failure::ErrorClass;
use journeyman_domain::ids::{CodebaseId, ErrorReportId, RunId, TaskId};
use journeyman_domain::status::Priority;
use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::column::{IdPart, MaybeId, Text, only, page};
use crate::{Acting, Store, StoreError};

/// One failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct ErrorReport {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: ErrorReportId,
    /// The repository.
    #[sqlx(try_from = "MaybeId")]
    pub codebase_id: Option<CodebaseId>,
    /// The task.
    #[sqlx(try_from = "MaybeId")]
    pub task_id: Option<TaskId>,
    /// The run.
    #[sqlx(try_from = "MaybeId")]
    pub run_id: Option<RunId>,
    /// The mission's class.
    #[sqlx(try_from = "Text<ErrorClass>")]
    pub error_type: ErrorClass,
    /// The classifier's category.
    pub category: Option<String>,
    /// Equal for equal failures.
    pub fingerprint: Option<String>,
    /// Equal for failures of one kind.
    pub fingerprint_group: Option<String>,
    /// "rustc:E0308".
    pub error_code: Option<String>,
    /// One line.
    pub error_message: String,
    /// How bad.
    #[sqlx(try_from = "Text<Priority>")]
    pub severity: Priority,
    /// "task", "evaluation", "system", "integration", "compilation", "runtime".
    pub source_type: Option<String>,
    /// The check or tool that failed.
    pub source_location: Option<String>,
    /// The evidence.
    pub error_context: Value,
    /// "open", "investigating", "resolved", "closed", "wont_fix".
    pub resolution_status: String,
    /// What resolved it.
    pub resolution_strategy: Value,
    /// Earlier reports with the same fingerprint.
    #[sqlx(json)]
    pub similar_errors: Vec<ErrorReportId>,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// When it was resolved.
    pub resolved_at: Option<DateTime<Utc>>,
}

/// A failure to report.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of ErrorReport")]
pub struct NewErrorReport {
    pub id: ErrorReportId,
    pub codebase_id: Option<CodebaseId>,
    pub task_id: Option<TaskId>,
    pub run_id: Option<RunId>,
    pub error_type: ErrorClass,
    pub category: String,
    pub fingerprint: String,
    pub fingerprint_group: Option<String>,
    pub error_code: Option<String>,
    pub error_message: String,
    pub severity: Priority,
    pub source_type: Option<String>,
    pub source_location: Option<String>,
    pub error_context: Value,
}

/// Which reports a list shows; newest first.
#[derive(Clone, Debug)]
pub struct ErrorFilter {
    /// Only of this task.
    pub task: Option<TaskId>,
    /// Only with this `resolution_status`.
    pub resolution_status: Option<String>,
    /// Only of this category.
    pub category: Option<String>,
    /// How many at the most.
    pub limit: u32,
    /// The last report of the page before.
    pub cursor: Option<ErrorReportId>,
}

impl Default for ErrorFilter {
    fn default() -> Self {
        Self { task: None, resolution_status: None, category: None, limit: 50, cursor: None }
    }
}

macro_rules! columns {
    () => {
        "id, codebase_id, task_id, run_id, error_type::text, category, fingerprint, \
         fingerprint_group, error_code, error_message, severity::text, source_type, \
         source_location, coalesce(error_context, '{}') AS error_context, \
         coalesce(resolution_status, 'open') AS resolution_status, \
         coalesce(resolution_strategy, '{}') AS resolution_strategy, \
         coalesce(similar_errors, '[]') AS similar_errors, occurred_at, resolved_at"
    };
}
const INSERT: &str = "INSERT INTO error_reports (id, codebase_id, task_id, run_id, error_type, \
     category, fingerprint, fingerprint_group, error_code, error_message, severity, source_type, \
     source_location, error_context, similar_errors) \
     VALUES ($1, $2, $3, $4, $5::error_classification, $6, $7, $8, $9, $10, $11::priority_level, \
     $12, $13, $14, (SELECT coalesce(jsonb_agg(s.id ORDER BY s.occurred_at DESC, s.id DESC), '[]') \
     FROM (SELECT id, occurred_at FROM error_reports WHERE fingerprint = $7 \
     ORDER BY occurred_at DESC, id DESC LIMIT 20) s)) ON CONFLICT (id) DO NOTHING";
const GET: &str = concat!("SELECT ", columns!(), " FROM error_reports WHERE id = $1");
const BY_PART: &str = "SELECT id FROM error_reports WHERE id BETWEEN $1 AND $2 \
     OR reverse(replace(id::text, '-', '')) LIKE $3 LIMIT 2";
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM error_reports WHERE ($1::uuid IS NULL OR task_id = $1) \
     AND ($2::text IS NULL OR resolution_status = $2) AND ($3::text IS NULL OR category = $3) \
     AND ($4::uuid IS NULL OR (occurred_at, id) < \
     (SELECT c.occurred_at, c.id FROM error_reports c WHERE c.id = $4)) \
     ORDER BY occurred_at DESC, id DESC LIMIT $5"
);
const SIMILAR: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM error_reports WHERE fingerprint = $1 ORDER BY occurred_at DESC, id DESC LIMIT $2"
);
const RESOLVE: &str = concat!(
    "UPDATE error_reports SET resolution_status = $2::text, resolution_strategy = $3, \
     resolved_at = CASE WHEN $2::text = 'resolved' THEN now() END WHERE id = $1 RETURNING ",
    columns!()
);

pub(crate) const ALL: &[&str] = &[INSERT, GET, BY_PART, LIST, SIMILAR, RESOLVE];

/// The table `error_reports`.
#[derive(Clone, Copy, Debug)]
pub struct Errors<'a>(&'a Store);

impl Store {
    /// Classified failures.
    pub const fn errors(&self) -> Errors<'_> {
        Errors(self)
    }
}

pub(crate) async fn insert(
    connection: &mut PgConnection,
    new: &NewErrorReport,
) -> Result<(), StoreError> {
    sqlx::query(INSERT)
        .bind(new.id.as_uuid())
        .bind(new.codebase_id.map(CodebaseId::as_uuid))
        .bind(new.task_id.map(TaskId::as_uuid))
        .bind(new.run_id.map(RunId::as_uuid))
        .bind(new.error_type.as_str())
        .bind(&new.category)
        .bind(&new.fingerprint)
        .bind(&new.fingerprint_group)
        .bind(&new.error_code)
        .bind(&new.error_message)
        .bind(new.severity.as_str())
        .bind(&new.source_type)
        .bind(&new.source_location)
        .bind(&new.error_context)
        .execute(connection)
        .await?;
    Ok(())
}

impl Errors<'_> {
    /// Reports a failure; earlier ones with its fingerprint become its similar errors. One that is
    /// reported already stays as it is.
    pub async fn record(
        &self,
        acting: &Acting<'_>,
        new: &NewErrorReport,
    ) -> Result<ErrorReport, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        insert(&mut transaction, new).await?;
        around(points::ERROR_RECORD, transaction.commit()).await?;
        self.get(new.id).await
    }

    /// One report.
    pub async fn get(&self, id: ErrorReportId) -> Result<ErrorReport, StoreError> {
        let found = sqlx::query_as(GET).bind(id.as_uuid()).fetch_optional(self.0.pool()).await?;
        found.ok_or_else(|| StoreError::not_found("error report", id))
    }

    /// By a part of its id.
    pub async fn find(&self, text: &str) -> Result<ErrorReport, StoreError> {
        let part =
            IdPart::parse(text).ok_or_else(|| StoreError::not_found("error report", text))?;
        let ids: Vec<Uuid> = sqlx::query_scalar(BY_PART)
            .bind(part.low)
            .bind(part.high)
            .bind(part.reversed_suffix)
            .fetch_all(self.0.pool())
            .await?;
        self.get(ErrorReportId::from_uuid(only("error report", text, &ids)?)).await
    }

    /// A page, newest first, and the cursor of the next one.
    pub async fn list(
        &self,
        filter: &ErrorFilter,
    ) -> Result<(Vec<ErrorReport>, Option<ErrorReportId>), StoreError> {
        let rows: Vec<ErrorReport> = sqlx::query_as(LIST)
            .bind(filter.task.map(TaskId::as_uuid))
            .bind(&filter.resolution_status)
            .bind(&filter.category)
            .bind(filter.cursor.map(ErrorReportId::as_uuid))
            .bind(i64::from(filter.limit) + 1)
            .fetch_all(self.0.pool())
            .await?;
        Ok(page(rows, filter.limit, |report| report.id))
    }

    /// Reports with this fingerprint, newest first.
    pub async fn similar(
        &self,
        fingerprint: &str,
        limit: u32,
    ) -> Result<Vec<ErrorReport>, StoreError> {
        let similar = sqlx::query_as(SIMILAR).bind(fingerprint).bind(i64::from(limit));
        Ok(similar.fetch_all(self.0.pool()).await?)
    }

    /// Says what became of a failure: "resolved", "closed", "wont_fix", "investigating" or "open",
    /// and by what.
    pub async fn resolve(
        &self,
        acting: &Acting<'_>,
        id: ErrorReportId,
        status: &str,
        strategy: &Value,
    ) -> Result<ErrorReport, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let changed: Option<ErrorReport> = sqlx::query_as(RESOLVE)
            .bind(id.as_uuid())
            .bind(status)
            .bind(strategy)
            .fetch_optional(&mut *transaction)
            .await?;
        around(points::ERROR_RESOLVE, transaction.commit()).await?;
        changed.ok_or_else(|| StoreError::not_found("error report", id))
    }
}
