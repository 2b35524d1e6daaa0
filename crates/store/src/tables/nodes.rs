//! `runtime_nodes`: one row for each life of a runtime process.

use chrono::{DateTime, Utc};
use journeyman_domain::ids::{NodeId, TaskId};
use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use uuid::Uuid;

use crate::column::{MaybeId, Text};
use crate::{Acting, Store, StoreError};

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Claims whatever is ready.
    Daemon,
    /// Claims its own task only, and ends with it.
    Foreground,
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Daemon => "daemon",
            Self::Foreground => "foreground",
        })
    }
}

impl FromStr for NodeKind {
    type Err = StoreError;

    fn from_str(word: &str) -> Result<Self, StoreError> {
        match word {
            "daemon" => Ok(Self::Daemon),
            "foreground" => Ok(Self::Foreground),
            _ => Err(StoreError::not_found("kind of node", word)),
        }
    }
}

/// One life of a runtime process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Node {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: NodeId,
    /// What it is for.
    #[sqlx(try_from = "Text<NodeKind>")]
    pub kind: NodeKind,
    /// Its process.
    pub pid: i32,
    /// The boot of its machine, with its namespace of processes: PIDs of another one mean nothing.
    pub boot_id: String,
    /// Its machine.
    pub host: String,
    /// Its data folder.
    pub data_dir: String,
    /// The id of that folder.
    pub data_id: Option<Uuid>,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it was alive last.
    pub heartbeat_at: DateTime<Utc>,
    /// The only task that it claims.
    #[sqlx(try_from = "MaybeId")]
    pub only_task: Option<TaskId>,
    /// When it stopped in order.
    pub stopped_at: Option<DateTime<Utc>>,
    /// Why it begins nothing, where its user wants that: "drained", "maintenance".
    pub idle_because: Option<String>,
}

/// What registers a node.
#[derive(Clone, Debug)]
pub struct NewNode<'a> {
    /// Fresh, of version 7.
    pub id: NodeId,
    /// What it is for.
    pub kind: NodeKind,
    /// Its process.
    pub pid: u32,
    /// What it can look for.
    pub here: Here<'a>,
    /// Its machine.
    pub host: &'a str,
    /// Its data folder.
    pub data_dir: &'a str,
    /// The only task that it claims.
    pub only_task: Option<TaskId>,
}

/// What a node can look for: processes of the same boot and namespace, and whatever was in the same data folder, whose
/// lock one daemon holds.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// The boot of the machine, with the namespace of processes.
    pub boot_id: &'a str,
    /// The data folder.
    pub data_id: Uuid,
}

macro_rules! columns {
    () => {
        "id, kind, pid, boot_id, host, data_dir, data_id, started_at, heartbeat_at, only_task, \
         stopped_at, idle_because"
    };
}
const REGISTER: &str = concat!(
    "INSERT INTO runtime_nodes (id, kind, pid, boot_id, host, data_dir, only_task, data_id) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING ",
    columns!()
);
const STOP: &str =
    "UPDATE runtime_nodes SET stopped_at = now() WHERE id = $1 AND stopped_at IS NULL";
// Nobody renews the leases of a node that is gone: waiting for them to expire would be for nothing.
const EXPIRE: &str = "UPDATE task_executions SET lease_expires_at = now() \
     WHERE node_id = $1 AND status = 'running' AND lease_expires_at > now()";
// The tasks without a run that it was about to end.
const EXPIRE_BATCHES: &str =
    "UPDATE task_leases SET expires_at = now() WHERE node_id = $1 AND expires_at > now()";
const LIST_LIVE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM runtime_nodes WHERE stopped_at IS NULL \
     AND heartbeat_at > now() - make_interval(secs => $1) ORDER BY id"
);

const UNSTOPPED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM runtime_nodes WHERE stopped_at IS NULL AND (boot_id = $1 OR data_id = $2) ORDER BY id"
);

const GET: &str = concat!("SELECT ", columns!(), " FROM runtime_nodes WHERE id = $1");
const SET_IDLE: &str = "UPDATE runtime_nodes SET idle_because = $2 WHERE id = $1 \
     AND idle_because IS DISTINCT FROM $2";

pub(crate) const ALL: &[&str] =
    &[GET, SET_IDLE, REGISTER, STOP, EXPIRE, EXPIRE_BATCHES, LIST_LIVE, UNSTOPPED];

/// The table `runtime_nodes`.
#[derive(Clone, Copy, Debug)]
pub struct Nodes<'a>(&'a Store);

impl Store {
    /// Runtime processes.
    pub const fn nodes(&self) -> Nodes<'_> {
        Nodes(self)
    }
}

impl Nodes<'_> {
    /// Begins a node's life.
    pub async fn register(
        &self,
        acting: &Acting<'_>,
        new: &NewNode<'_>,
    ) -> Result<Node, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let node = sqlx::query_as(REGISTER)
            .bind(new.id.as_uuid())
            .bind(new.kind.to_string())
            .bind(i32::try_from(new.pid).unwrap_or(i32::MAX))
            .bind(new.here.boot_id)
            .bind(new.host)
            .bind(new.data_dir)
            .bind(new.only_task.map(TaskId::as_uuid))
            .bind(new.here.data_id)
            .fetch_one(&mut *transaction)
            .await?;
        around(points::NODE_REGISTER, transaction.commit()).await?;
        Ok(node)
    }

    /// Ends a node's life, and with it its leases; ending it twice does nothing.
    pub async fn stop(&self, acting: &Acting<'_>, id: NodeId) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        sqlx::query(STOP).bind(id.as_uuid()).execute(&mut *transaction).await?;
        for statement in [EXPIRE, EXPIRE_BATCHES] {
            sqlx::query(statement).bind(id.as_uuid()).execute(&mut *transaction).await?;
        }
        around(points::NODE_STOP, transaction.commit()).await?;
        Ok(())
    }

    /// One of them.
    pub async fn get(&self, id: NodeId) -> Result<Node, StoreError> {
        let found = sqlx::query_as(GET).bind(id.as_uuid()).fetch_optional(self.0.pool()).await?;
        found.ok_or_else(|| StoreError::not_found("node", id))
    }

    /// Says why a node begins nothing, or that it works.
    pub async fn set_idle(
        &self,
        acting: &Acting<'_>,
        id: NodeId,
        because: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        sqlx::query(SET_IDLE).bind(id.as_uuid()).bind(because).execute(&mut *transaction).await?;
        around(points::NODE_IDLE, transaction.commit()).await?;
        Ok(())
    }

    /// Those of here that never said that they stopped, alive or not.
    pub async fn unstopped(&self, here: Here<'_>) -> Result<Vec<Node>, StoreError> {
        let found = sqlx::query_as(UNSTOPPED).bind(here.boot_id).bind(here.data_id);
        Ok(found.fetch_all(self.0.pool()).await?)
    }

    /// Those that were heard of within this time and have not stopped.
    pub async fn list_live(&self, within: Duration) -> Result<Vec<Node>, StoreError> {
        let live = sqlx::query_as(LIST_LIVE).bind(within.as_secs_f64()).fetch_all(self.0.pool());
        Ok(live.await?)
    }
}
