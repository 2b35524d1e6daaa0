//! PostgreSQL: migrations, tables, queue, journal, audit, embedded cluster.
//!
//! Owns all durable truth and every SQL statement. A change of state and its audit row are one
//! transaction; a write by an execution carries its [`Fence`], checked in the same statement.
//! Must never: decide what follows a failure, hold a transaction open while something else works,
//! or build SQL at run time.
//!
//! Times of leases and heartbeats come from the database's clock alone, so that the clocks of
//! nodes need not agree.

mod acting;
pub mod audit;
pub mod backup;
pub mod cluster;
mod column;
mod error;
mod group;
pub mod health;
pub mod journal;
mod line;
mod listen;
mod migrations;
pub mod queue;
pub mod tables;

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};

pub use acting::Acting;
pub use error::{StoreError, is_transient};
pub use journal::{Blob, BlobHash, NewStep, Step, StepPosition};
pub use listen::TASKS_CHANNEL;
pub use migrations::{fingerprint as migrations_fingerprint, newest as newest_migration};
pub use queue::{
    Batch, Claim, ClaimRequest, Fence, Finish, Held, QueueStats, Reconciled, Stuck, TakeOver,
    TakeOverRequest, TakenOver, Turn,
};
pub use tables::agents::{Agent, AgentChange};
pub use tables::calls::{ModelCall, ModelTotals};
pub use tables::children::{Child, LeftBy, NewChild};
pub use tables::codebases::{Codebase, NewCodebase};
pub use tables::configuration::Setting;
pub use tables::errors::{ErrorFilter, ErrorReport, NewErrorReport};
pub use tables::executions::Execution;
pub use tables::files::Files;
pub use tables::nodes::{Here, NewNode, Node, NodeKind};
pub use tables::outbox::{EffectClaim, EffectFence, NewEffect, Outgoing};
pub use tables::patterns::{NewResolution, Pattern};
pub use tables::runs::{Run, Usage, Used};
pub use tables::schedules::{Fired, NewSchedule, Schedule};
pub use tables::tasks::graph::{Edge, MOST_EDGES};
pub use tables::tasks::list::TaskFilter;
pub use tables::tasks::{NewTask, Task, TaskTotals};

/// How the pool behaves.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Connections at the most.
    pub max: u32,
    /// How long a caller waits for a free connection.
    pub acquire_timeout: Duration,
    /// After how long an unused connection is closed.
    pub idle_timeout: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            max: 8,
            acquire_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
        }
    }
}

/// The database. Cheap to clone; all clones share one pool.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    appends: Arc<journal::append::Appends>,
    ends: Arc<journal::append::Ends>,
    inserts: Arc<tables::tasks::insert::Inserts>,
    lanes: tables::tasks::insert::Lanes,
    hints: Arc<listen::Hints>,
    lines: Arc<line::Lines>,
}

impl Store {
    /// Connects; [`StoreError::Unavailable`] where no server answers.
    pub async fn connect(url: &str, options: PoolOptions) -> Result<Self, StoreError> {
        let server = PgConnectOptions::from_str(url).map_err(StoreError::Unavailable)?;
        let is_local = server.get_socket().is_some() || server.get_host().starts_with('/');
        let port = (!is_local).then(|| server.get_port());
        let connected = PgPoolOptions::new()
            .max_connections(options.max)
            .min_connections(0)
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(options.idle_timeout)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    // Where the system does not let us, a loss is noticed when the kernel's own patience is over.
                    let _ = port.map(line::socket::fail_when_gone);
                    sqlx::query(BOUNDS).persistent(false).execute(connection).await?;
                    Ok(())
                })
            })
            .test_before_acquire(false) // a round trip for each use
            .before_acquire(|connection, about| {
                Box::pin(async move {
                    if about.idle_for >= line::RESTED {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(server)
            .await;
        match connected {
            Ok(pool) => Ok(Self {
                pool,
                appends: Arc::default(),
                ends: Arc::default(),
                inserts: Arc::default(),
                lanes: Arc::default(),
                hints: Arc::default(),
                lines: Arc::default(),
            }),
            Err(sqlx::Error::PoolTimedOut) => Err(StoreError::Unavailable(cause(url).await)),
            // Whatever it is: an unknown name, a wrong password, an address that is none.
            Err(error) => Err(StoreError::Unavailable(error)),
        }
    }

    /// Brings the schema up to this binary's. Safe against others that do the same at once.
    /// [`StoreError::NewerDatabase`] where the database is ahead.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        migrations::run(&self.pool).await
    }

    /// [`StoreError::NewerDatabase`] or [`StoreError::OlderDatabase`] unless the schema is this
    /// binary's.
    pub async fn check_version(&self) -> Result<(), StoreError> {
        migrations::check(&self.pool).await
    }

    /// Asks the server for nothing but an answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query(PING).execute(&self.pool).await?;
        Ok(())
    }

    /// Closes every connection; what is under way ends first.
    pub async fn close(&self) {
        self.lines.close();
        self.pool.close().await;
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }
}

/// Why no connection came about: the pool tries again and again, and keeps the reason to itself.
async fn cause(url: &str) -> sqlx::Error {
    let once = tokio::time::timeout(Duration::from_secs(2), PgConnection::connect(url)).await;
    match once {
        Ok(Err(error)) => error,
        Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut,
    }
}

const PING: &str = "SELECT 1";

// A node that stands still, or whose machine is cut off, gives back its locks: else nobody could ever take over the
// rows that it has changed. Whoever does nothing in a transaction for as long as a lease is good for by default has
// lost its leases by then; statements, however long they take, and copies do not count. The others are for a server
// that waits for a machine that is gone; over a Unix socket they mean nothing. What the user has set stands.
const BOUNDS: &str = "SELECT set_config(b.name, b.setting, false) FROM (VALUES \
         ('idle_in_transaction_session_timeout', '15s'), ('tcp_user_timeout', '30s'), \
         ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '4') \
     ) AS b (name, setting) JOIN pg_settings p ON p.name = b.name WHERE p.source = 'default'";

/// Every SQL statement of this crate, for the test that prepares them all.
pub fn statements() -> Vec<&'static str> {
    [
        &[PING, BOUNDS][..],
        acting::ALL,
        audit::ALL,
        health::ALL,
        journal::ALL,
        journal::append::ALL,
        line::ALL,
        listen::ALL,
        migrations::ALL,
        queue::ALL,
        queue::batch::ALL,
        queue::finish::ALL,
        queue::leases::ALL,
        queue::park::ALL,
        queue::ready::ALL,
        queue::reconcile::ALL,
        queue::stats::ALL,
        queue::turn::ALL,
        tables::agents::ALL,
        tables::calls::ALL,
        tables::children::ALL,
        tables::codebases::ALL,
        tables::configuration::ALL,
        tables::errors::ALL,
        tables::executions::ALL,
        tables::files::ALL,
        tables::keys::ALL,
        tables::nodes::ALL,
        tables::outbox::ALL,
        tables::outbox::send::ALL,
        tables::patterns::ALL,
        tables::runs::ALL,
        tables::schedules::ALL,
        tables::tasks::ALL,
        tables::tasks::chains::ALL,
        tables::tasks::graph::ALL,
        tables::tasks::insert::ALL,
        tables::tasks::list::ALL,
        tables::tasks::parents::ALL,
        tables::tasks::readiness::ALL,
        tables::tasks::wishes::ALL,
    ]
    .concat()
}
