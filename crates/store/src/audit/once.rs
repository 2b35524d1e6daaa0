//! Events that are written after they happened, perhaps in several tries, and stand there once.
//!
//! Whoever writes them keeps them until a try was answered. A try whose answer was lost may have arrived, or may still
//! arrive: so tries on one subject wait for each other, and each looks for the events of those before.

use chrono::{DateTime, Utc};
use journeyman_faults::{around, points};
use journeyman_telemetry::TraceContext;
use serde_json::Value;
use sqlx::Connection as _;
use uuid::Uuid;

use super::{Audit, chain};
use crate::StoreError;

/// An event with an identity of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct OnceEvent {
    /// UUIDv7.
    pub id: Uuid,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What happened.
    pub attributes: Value,
    /// In which trace.
    pub trace: Option<TraceContext>,
}

/// What a number of events have in common.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Who writes.
    pub actor: &'a str,
    /// What kind of events they are.
    pub kind: &'a str,
    /// The table of the record.
    pub table: &'a str,
    /// The record that they are about.
    pub record: Uuid,
}

pub(super) const IN_TURN: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))";
/// The key is (position, occurred_at): looking behind a position is cheap, looking for an id is not.
pub(super) const INSERT: &str = "INSERT INTO audit_events \
     (id, kind, table_name, record_ids, attributes, actor, trace_id, span_id, occurred_at) \
     SELECT e.id, $1, $2, ARRAY[$3::uuid], e.attributes, $4, e.trace_id, e.span_id, e.at \
     FROM unnest($5::uuid[], $6::jsonb[], $7::text[], $8::text[], $9::timestamptz[]) \
     WITH ORDINALITY AS e(id, attributes, trace_id, span_id, at, place) \
     WHERE NOT EXISTS (SELECT FROM audit_events old WHERE old.position > $10 AND old.id = e.id) \
     ORDER BY e.place";

impl Audit<'_> {
    /// The position of the newest event. What is written from now on stands behind it.
    pub async fn newest(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(chain::LAST_EVENT).fetch_one(self.0.pool()).await?)
    }

    /// Writes those of the events, in their order, that do not stand behind the position `after` yet, and answers the
    /// position of the newest event of all.
    pub async fn record_once(
        &self,
        subject: Subject<'_>,
        events: &[OnceEvent],
        after: i64,
    ) -> Result<i64, StoreError> {
        let hex = |part: fn(&TraceContext) -> String| -> Vec<Option<String>> {
            events.iter().map(|event| event.trace.as_ref().map(part)).collect()
        };
        let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
        let attributes: Vec<&Value> = events.iter().map(|event| &event.attributes).collect();
        let times: Vec<DateTime<Utc>> = events.iter().map(|event| event.at).collect();
        let mut connection = self.0.pool().acquire().await?;
        let mut transaction = connection.begin().await?;
        sqlx::query(IN_TURN).bind(subject.record.to_string()).execute(&mut *transaction).await?;
        sqlx::query(INSERT)
            .bind(subject.kind)
            .bind(subject.table)
            .bind(subject.record)
            .bind(subject.actor)
            .bind(ids)
            .bind(attributes)
            .bind(hex(TraceContext::trace_id_hex))
            .bind(hex(TraceContext::span_id_hex))
            .bind(times)
            .bind(after)
            .execute(&mut *transaction)
            .await?;
        let newest = sqlx::query_scalar(chain::LAST_EVENT).fetch_one(&mut *transaction).await?;
        around(points::AUDIT_RECORD, transaction.commit()).await?;
        Ok(newest)
    }
}
