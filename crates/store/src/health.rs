//! Health, as the three SQL functions judge it, and the database's own upkeep.

use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Acting, Store, StoreError};

const SYSTEM: &str = "SELECT get_system_health()";
const LEARNING: &str = "SELECT get_learning_system_health()";
const INTEGRATION: &str = "SELECT get_integration_health()";
const ENSURE_PARTITIONS: &str = "SELECT ensure_partitions(now())";
const APPLY_RETENTION: &str = "SELECT apply_retention(now())";

pub(crate) const ALL: &[&str] =
    &[SYSTEM, LEARNING, INTEGRATION, ENSURE_PARTITIONS, APPLY_RETENTION];

/// The three judgements. Each has `status` (healthy, degraded, unhealthy), `reasons`
/// (`[{"grade", "text"}]`), `timestamp` and its figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Tasks, executions, agents.
    pub system: Value,
    /// Evaluations, errors, patterns, knowledge.
    pub learning: Value,
    /// Integrations, events, workflows, notifications.
    pub integration: Value,
}

impl Store {
    /// All three judgements.
    pub async fn health(&self) -> Result<Health, StoreError> {
        let ask = |sql| sqlx::query_scalar::<_, Value>(sql).fetch_one(self.pool());
        Ok(Health {
            system: ask(SYSTEM).await?,
            learning: ask(LEARNING).await?,
            integration: ask(INTEGRATION).await?,
        })
    }

    /// Makes the partitions of the coming months, sums metrics up, and drops what is older than
    /// `analytics.retention_days`; says which partitions went. May be called at any time.
    pub async fn upkeep(&self, acting: &Acting<'_>) -> Result<Vec<String>, StoreError> {
        let mut transaction = self.begin(acting).await?;
        sqlx::query(ENSURE_PARTITIONS).execute(&mut *transaction).await?;
        let dropped = sqlx::query_scalar(APPLY_RETENTION).fetch_all(&mut *transaction).await?;
        around(points::UPKEEP, transaction.commit()).await?;
        Ok(dropped)
    }
}
