//! The measuring side's own connection to the peer's database.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio_postgres::{Client, NoTls};

/// A connection that no peer shares.
pub struct Database(Client);

impl Database {
    /// Connects.
    pub async fn connect(url: &str) -> Result<Self> {
        let (client, connection) =
            tokio_postgres::connect(url, NoTls).await.context("the measuring connection")?;
        tokio::spawn(connection);
        Ok(Self(client))
    }

    /// Gives the planner statistics of the tasks that were just put in, as autovacuum would soon.
    pub async fn analyze(&self) -> Result<()> {
        Ok(self.0.batch_execute("ANALYZE").await?)
    }

    /// Writes all pages out, so that no checkpoint falls into what follows.
    pub async fn checkpoint(&self) -> Result<()> {
        Ok(self.0.batch_execute("CHECKPOINT").await?)
    }

    /// The position of the log, in bytes.
    pub async fn wal_bytes(&self) -> Result<i64> {
        let position = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
        Ok(self.0.query_one(position, &[]).await?.try_get(0)?)
    }

    /// Waits until the peer's query says that nothing of so many tasks is left.
    pub async fn finished(&self, unfinished: &str, tasks: usize) -> Result<()> {
        let query = unfinished.replace("{tasks}", &tasks.to_string());
        let statement = self.0.prepare(&query).await.context("the query of unfinished tasks")?;
        while self.0.query_one(&statement, &[]).await?.try_get::<_, bool>(0)? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// The number that the query counts.
    pub async fn count(&self, query: &str) -> Result<i64> {
        Ok(self.0.query_one(query, &[]).await?.try_get(0)?)
    }
}
