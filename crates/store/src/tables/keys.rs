//! `task_keys`: which unfinished task has which unique key. A trigger on `tasks` keeps it.

use journeyman_domain::ids::TaskId;
use uuid::Uuid;

use crate::{Store, StoreError};

const HOLDERS: &str = "SELECT unique_key, task_id FROM task_keys WHERE unique_key = ANY ($1)";

pub(crate) const ALL: &[&str] = &[HOLDERS];

/// The table `task_keys`.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a>(&'a Store);

impl Store {
    /// Unique keys of unfinished tasks.
    pub const fn keys(&self) -> Keys<'_> {
        Keys(self)
    }
}

impl Keys<'_> {
    /// Those of these keys that are taken, each with its task.
    pub async fn holders(&self, keys: &[&str]) -> Result<Vec<(String, TaskId)>, StoreError> {
        let rows: Vec<(String, Uuid)> =
            sqlx::query_as(HOLDERS).bind(keys).fetch_all(self.0.pool()).await?;
        Ok(rows.into_iter().map(|(key, task)| (key, TaskId::from_uuid(task))).collect())
    }
}
