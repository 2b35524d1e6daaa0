//! The audit: what was written by the triggers and the batch events, and the chain over it.
//!
//! Owns: `audit_rows`, `audit_events`, `audit_blocks`. Rows come from the triggers alone, events from
//! `record_event` and `record_once`. Must never: change what was written.

mod chain;
mod once;
mod seen;

use chrono::{DateTime, Utc};
use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

pub use chain::{Broken, VerifyReport};
pub use once::{OnceEvent, Subject};
pub use seen::{Mark, Seen};

use crate::column::page;
use crate::{Acting, Store, StoreError};

/// One row of the view `audit_log`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct AuditEntry {
    /// Sorts by time.
    pub id: Uuid,
    /// The table that changed.
    pub table_name: String,
    /// The row that changed.
    pub record_id: Uuid,
    /// "INSERT", "UPDATE", "DELETE", "EVENT".
    pub operation: String,
    /// Of an update the changed fields only; secrets are "***".
    pub old_values: Option<Value>,
    /// Likewise.
    pub new_values: Option<Value>,
    /// Names of the changed fields.
    #[sqlx(json)]
    pub changed_fields: Vec<String>,
    /// Of an event its kind and attributes.
    pub context: Value,
    /// The session, where one was named.
    pub session_id: Option<String>,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// Who.
    pub actor: String,
    /// In which trace.
    pub trace_id: Option<String>,
    /// In which span.
    pub span_id: Option<String>,
    /// The hash of the block before this one's, in hexadecimal; `None` while unsealed.
    pub previous_hash: Option<String>,
    /// The hash of its block.
    pub hash: Option<String>,
}

/// Which entries a list shows; newest first.
#[derive(Clone, Debug)]
pub struct AuditFilter {
    /// Only of this table.
    pub table: Option<String>,
    /// Only of this row.
    pub record: Option<Uuid>,
    /// How many at the most.
    pub limit: u32,
    /// The last entry of the page before.
    pub cursor: Option<Uuid>,
}

impl Default for AuditFilter {
    fn default() -> Self {
        Self { table: None, record: None, limit: 50, cursor: None }
    }
}

macro_rules! columns {
    () => {
        "id, table_name, record_id, operation, old_values, new_values, changed_fields, context, \
         session_id, occurred_at, actor, trace_id, span_id, encode(previous_hash, 'hex') \
         AS previous_hash, encode(hash, 'hex') AS hash"
    };
}
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM audit_log WHERE ($1::text IS NULL OR table_name = $1) \
     AND ($2::uuid IS NULL OR record_id = $2) AND ($3::uuid IS NULL OR id < $3) \
     ORDER BY id DESC LIMIT $4"
);
const SHOW: &str = concat!("SELECT ", columns!(), " FROM audit_log WHERE id = $1 LIMIT 1");
const RECORD: &str = "INSERT INTO audit_events \
     (kind, table_name, record_ids, attributes, actor, trace_id, span_id) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";

pub(crate) const ALL: &[&str] = &[
    LIST,
    SHOW,
    RECORD,
    once::IN_TURN,
    once::INSERT,
    chain::LOCK_TIMEOUT,
    chain::LOCK_ROWS,
    chain::LOCK_EVENTS,
    chain::LAST_ROW,
    chain::LAST_EVENT,
    chain::LAST_BLOCK,
    chain::BLOCKS,
    chain::ROWS,
    chain::EVENTS,
    chain::SEAL,
    chain::UNSEALED_ROWS,
    chain::UNSEALED_EVENTS,
    chain::PRUNED,
    seen::LAST,
    seen::KNOWS_ROW,
    seen::KNOWS_EVENT,
];

/// The audit's tables.
#[derive(Clone, Copy, Debug)]
pub struct Audit<'a>(pub(crate) &'a Store);

impl Store {
    /// The audit.
    pub const fn audit(&self) -> Audit<'_> {
        Audit(self)
    }
}

/// Records an event in the transaction of what happened.
pub(crate) async fn record_event(
    connection: &mut PgConnection,
    acting: &Acting<'_>,
    kind: &str,
    table: &str,
    records: &[Uuid],
    attributes: &Value,
) -> Result<(), StoreError> {
    sqlx::query(RECORD)
        .bind(kind)
        .bind(table)
        .bind(records)
        .bind(attributes)
        .bind(acting.actor)
        .bind(acting.trace.map(|context| context.trace_id_hex()))
        .bind(acting.trace.map(|context| context.span_id_hex()))
        .execute(connection)
        .await?;
    Ok(())
}

impl Audit<'_> {
    /// Records an event of its own: something happened that changed no row, or many.
    pub async fn record(
        &self,
        acting: &Acting<'_>,
        kind: &str,
        table: &str,
        records: &[Uuid],
        attributes: &Value,
    ) -> Result<(), StoreError> {
        let mut connection = self.0.pool().acquire().await?;
        let recorded = record_event(&mut connection, acting, kind, table, records, attributes);
        around(points::AUDIT_RECORD, recorded).await
    }

    /// A page, newest first, and the cursor of the next one.
    pub async fn list(
        &self,
        filter: &AuditFilter,
    ) -> Result<(Vec<AuditEntry>, Option<Uuid>), StoreError> {
        let rows: Vec<AuditEntry> = sqlx::query_as(LIST)
            .bind(&filter.table)
            .bind(filter.record)
            .bind(filter.cursor)
            .bind(i64::from(filter.limit) + 1)
            .fetch_all(self.0.pool())
            .await?;
        Ok(page(rows, filter.limit, |entry| entry.id))
    }

    /// One entry.
    pub async fn show(&self, id: Uuid) -> Result<AuditEntry, StoreError> {
        let found = sqlx::query_as(SHOW).bind(id).fetch_optional(self.0.pool()).await?;
        found.ok_or_else(|| StoreError::not_found("audit entry", id))
    }
}
