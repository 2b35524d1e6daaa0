//! `child_processes`: every process that a node started and that may still live.

use chrono::{DateTime, Utc};
use journeyman_domain::ids::{ExecutionId, NodeId, RunId};
use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use crate::column::MaybeId;
use crate::queue::Fence;
use crate::{Acting, Here, Store, StoreError};

/// A process that was started and of which nobody has seen the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Child {
    /// Its row.
    pub id: Uuid,
    /// Who started it.
    #[sqlx(try_from = "Uuid")]
    pub node_id: NodeId,
    /// For which execution.
    #[sqlx(try_from = "MaybeId")]
    pub execution_id: Option<ExecutionId>,
    /// In which epoch of its lease.
    pub lease_epoch: Option<i64>,
    /// For which run.
    #[sqlx(try_from = "MaybeId")]
    pub run_id: Option<RunId>,
    /// Its PID, which names it only together with `start_time` and `boot_id`.
    pub pid: i32,
    /// Clock ticks since boot.
    pub start_time: i64,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// The first arguments, for a person.
    pub argv_head: String,
    /// The boot and the namespace that it ran in.
    pub boot_id: String,
}

/// A process that was just started.
#[derive(Clone, Debug)]
pub struct NewChild<'a> {
    /// Its row, fresh, of version 7: its end is written down though nobody heard that its beginning was.
    pub id: Uuid,
    /// The lease under which it was started.
    pub fence: Fence,
    /// For which run.
    pub run_id: RunId,
    /// Its PID.
    pub pid: u32,
    /// Clock ticks since boot.
    pub start_time: u64,
    /// The first arguments.
    pub argv_head: &'a str,
}

// Fenced: a node that lost its lease must not start anything that nobody will reap.
const STARTED: &str = "INSERT INTO child_processes \
     (id, node_id, execution_id, lease_epoch, run_id, pid, start_time, argv_head) \
     SELECT $1, e.node_id, e.id, e.lease_epoch, $5, $6, $7, $8 FROM task_executions e \
     WHERE e.id = $2 AND e.node_id = $3 AND e.lease_epoch = $4 AND e.status = 'running' FOR SHARE";
const ENDED: &str =
    "UPDATE child_processes SET ended_at = now() WHERE id = $1 AND ended_at IS NULL";

macro_rules! live {
    ($where:literal) => {
        concat!(
            "SELECT c.id, c.node_id, c.execution_id, c.lease_epoch, c.run_id, c.pid, \
             c.start_time, c.started_at, c.argv_head, n.boot_id \
             FROM child_processes c JOIN runtime_nodes n ON n.id = c.node_id \
             WHERE c.ended_at IS NULL AND ",
            $where
        )
    };
}
const LIVE_OF: &str = live!("c.execution_id = $1 AND c.lease_epoch < $2 ORDER BY c.id");
const LIVE_OF_NODE: &str = live!("c.node_id = $1 ORDER BY c.id");
// Of a node that stopped, for a run that goes on: here later, or elsewhere by now. Where another node of here
// goes on with it, that one has ended them.
const OF_OPEN_RUNS: &str = live!(
    "(n.boot_id = $1 OR n.data_id = $2) AND n.stopped_at IS NOT NULL AND EXISTS ( \
         SELECT FROM task_executions e LEFT JOIN runtime_nodes o ON o.id = e.node_id \
         WHERE e.id = c.execution_id AND e.status IN ('running', 'waiting', 'paused') \
             AND (o.id IS NULL OR o.stopped_at IS NOT NULL \
                 OR (o.boot_id = $1 OR o.data_id = $2) IS NOT TRUE)) ORDER BY c.id LIMIT $3"
);
// Of a run that never goes on.
const OF_ENDED_RUNS: &str = live!(
    "(n.boot_id = $1 OR n.data_id = $2) AND NOT EXISTS (SELECT FROM task_executions e WHERE e.id = c.execution_id \
         AND e.status IN ('running', 'waiting', 'paused')) ORDER BY c.id LIMIT $3"
);
const ALL_ENDED: &str =
    "UPDATE child_processes SET ended_at = now() WHERE id = ANY ($1) AND ended_at IS NULL";

pub(crate) const ALL: &[&str] =
    &[STARTED, ENDED, LIVE_OF, LIVE_OF_NODE, OF_OPEN_RUNS, OF_ENDED_RUNS, ALL_ENDED];

/// Whose processes are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftBy {
    /// Runs that go on: nobody may work on them here while their processes are ended.
    OpenRuns,
    /// Runs that are over; it can be done at any time.
    EndedRuns,
}

/// The table `child_processes`.
#[derive(Clone, Copy, Debug)]
pub struct Children<'a>(&'a Store);

impl Store {
    /// Processes that nodes started.
    pub const fn children(&self) -> Children<'_> {
        Children(self)
    }
}

impl Children<'_> {
    /// Records a process; [`StoreError::Fenced`] where its lease is lost: then kill it.
    pub async fn started(&self, acting: &Acting<'_>, new: &NewChild<'_>) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let done = sqlx::query(STARTED)
            .bind(new.id)
            .bind(new.fence.execution_id.as_uuid())
            .bind(new.fence.node_id.as_uuid())
            .bind(new.fence.lease_epoch)
            .bind(new.run_id.as_uuid())
            .bind(i32::try_from(new.pid).unwrap_or(i32::MAX))
            .bind(i64::try_from(new.start_time).unwrap_or(i64::MAX))
            .bind(new.argv_head)
            .execute(&mut *transaction)
            .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Fenced);
        }
        around(points::CHILD_STARTED, transaction.commit()).await?;
        Ok(())
    }

    /// Records that a process is gone; twice does nothing.
    pub async fn ended(&self, acting: &Acting<'_>, id: Uuid) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        sqlx::query(ENDED).bind(id).execute(&mut *transaction).await?;
        around(points::CHILD_ENDED, transaction.commit()).await?;
        Ok(())
    }

    /// Those of earlier epochs of an execution.
    pub async fn live_of(
        &self,
        execution: ExecutionId,
        before_epoch: i64,
    ) -> Result<Vec<Child>, StoreError> {
        let children = sqlx::query_as(LIVE_OF).bind(execution.as_uuid()).bind(before_epoch);
        Ok(children.fetch_all(self.0.pool()).await?)
    }

    /// Those of a node.
    pub async fn live_of_node(&self, node: NodeId) -> Result<Vec<Child>, StoreError> {
        Ok(sqlx::query_as(LIVE_OF_NODE).bind(node.as_uuid()).fetch_all(self.0.pool()).await?)
    }

    /// Those of here that nobody looks after any more, `limit` at the most: to be reaped.
    pub async fn left_over(
        &self,
        here: Here<'_>,
        by: LeftBy,
        limit: u32,
    ) -> Result<Vec<Child>, StoreError> {
        let statement = match by {
            LeftBy::OpenRuns => OF_OPEN_RUNS,
            LeftBy::EndedRuns => OF_ENDED_RUNS,
        };
        let found = sqlx::query_as(statement).bind(here.boot_id).bind(here.data_id);
        let found = found.bind(i64::from(limit));
        Ok(found.fetch_all(self.0.pool()).await?)
    }

    /// Records that these are gone.
    pub async fn all_ended(&self, acting: &Acting<'_>, ids: &[Uuid]) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        sqlx::query(ALL_ENDED).bind(ids).execute(&mut *transaction).await?;
        around(points::CHILDREN_ENDED, transaction.commit()).await?;
        Ok(())
    }
}
