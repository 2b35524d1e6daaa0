//! How far the audit was seen, for whoever keeps that outside of the database: a database that does not
//! know it any more is an older state of itself.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Audit;
use super::chain::PRUNED;
use crate::StoreError;

pub(super) const LAST: &str = "SELECT (SELECT position FROM audit_rows ORDER BY position DESC LIMIT 1), \
     (SELECT id FROM audit_rows ORDER BY position DESC LIMIT 1), \
     (SELECT position FROM audit_events ORDER BY position DESC LIMIT 1), \
     (SELECT id FROM audit_events ORDER BY position DESC LIMIT 1), \
     (SELECT installed_on FROM _sqlx_migrations ORDER BY version LIMIT 1)";
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

/// How far the audit was seen, and of which database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Of changed rows.
    pub rows: Option<Mark>,
    /// Of events.
    pub events: Option<Mark>,
    /// When its schema was made, to the microsecond: what a backup keeps, and another database has not.
    #[serde(default)]
    pub database: Option<DateTime<Utc>>,
}

impl Seen {
    /// Whether both are known to be of different databases.
    pub fn is_of_another(&self, other: &Self) -> bool {
        self.database.is_some() && other.database.is_some() && self.database != other.database
    }
}

impl Audit<'_> {
    /// The last entries as they are now.
    pub async fn last(&self) -> Result<Seen, StoreError> {
        type Last = (Option<i64>, Option<Uuid>, Option<i64>, Option<Uuid>, Option<DateTime<Utc>>);
        let (row, row_id, event, event_id, database): Last =
            sqlx::query_as(LAST).fetch_one(self.0.pool()).await?;
        let mark =
            |position: Option<i64>, id: Option<Uuid>| Some(Mark { position: position?, id: id? });
        Ok(Seen { rows: mark(row, row_id), events: mark(event, event_id), database })
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
