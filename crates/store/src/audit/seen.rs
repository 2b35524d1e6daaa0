//! How far the audit was seen, for whoever keeps that outside of the database: a database that does not
//! know it any more is an older state of itself, or another one.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Audit;
use super::chain::PRUNED;
use crate::StoreError;

pub(super) const LAST: &str = "SELECT (SELECT position FROM audit_rows ORDER BY position DESC LIMIT 1), \
     (SELECT id FROM audit_rows ORDER BY position DESC LIMIT 1), \
     (SELECT position FROM audit_events ORDER BY position DESC LIMIT 1), \
     (SELECT id FROM audit_events ORDER BY position DESC LIMIT 1)";
pub(super) const KNOWS_ROW: &str =
    "SELECT EXISTS (SELECT FROM audit_rows WHERE position = $1 AND id = $2)";
pub(super) const KNOWS_EVENT: &str =
    "SELECT EXISTS (SELECT FROM audit_events WHERE position = $1 AND id = $2)";

/// The last entry of a chain: its position, and the id that tells it from another one there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Where it stands.
    pub position: i64,
    /// Its id.
    pub id: Uuid,
}

/// How far the audit was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Of changed rows.
    pub rows: Option<Mark>,
    /// Of events.
    pub events: Option<Mark>,
}

impl Audit<'_> {
    /// The last entries as they are now.
    pub async fn last(&self) -> Result<Seen, StoreError> {
        type Last = (Option<i64>, Option<Uuid>, Option<i64>, Option<Uuid>);
        let (row, row_id, event, event_id): Last =
            sqlx::query_as(LAST).fetch_one(self.0.pool()).await?;
        let mark =
            |position: Option<i64>, id: Option<Uuid>| Some(Mark { position: position?, id: id? });
        Ok(Seen { rows: mark(row, row_id), events: mark(event, event_id) })
    }

    /// Names the chains in which what was seen is not there any more; none where all of it is, or was
    /// dropped by retention.
    pub async fn lacks(&self, seen: &Seen) -> Result<Vec<&'static str>, StoreError> {
        let mut lacking = Vec::new();
        let chains = [("rows", KNOWS_ROW, seen.rows), ("events", KNOWS_EVENT, seen.events)];
        for (name, knows, mark) in chains {
            let Some(mark) = mark else { continue };
            let known: bool = sqlx::query_scalar(knows)
                .bind(mark.position)
                .bind(mark.id)
                .fetch_one(self.0.pool())
                .await?;
            let pruned: i64 =
                sqlx::query_scalar(PRUNED).bind(name).fetch_one(self.0.pool()).await?;
            if !known && mark.position > pruned {
                lacking.push(name);
            }
        }
        Ok(lacking)
    }
}
