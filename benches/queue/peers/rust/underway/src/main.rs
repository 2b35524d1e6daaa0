//! The peer `underway`: its queue and worker, below its jobs of steps, which would add a row a step.

use std::process::ExitCode;
use std::sync::Arc;

use runner::{Mode, Peer, Purpose, Result};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Postgres, Transaction};
use underway::task::Result as TaskResult;
use underway::{Queue, Task, Worker};

/// Loops that each fetch, run and complete one task.
const CONCURRENCY: usize = 16;
/// Each loop holds a connection for its task and takes a second one for its heartbeat; two listen.
const CONNECTIONS: u32 = 2 * CONCURRENCY as u32 + 4;
/// A loop is started by a notification or a poll; tasks that wait already give no notification.
const POLL_MS: i64 = 5;

#[derive(Deserialize, Serialize)]
struct Input {
    n: usize,
}

#[derive(Clone)]
struct Nothing;

impl Task for Nothing {
    type Input = Input;
    type Output = ();

    async fn execute(
        &self,
        transaction: Transaction<'_, Postgres>,
        _input: Input,
    ) -> TaskResult<()> {
        runner::handler_ran();
        transaction.commit().await?;
        Ok(())
    }
}

struct Underway {
    pool: PgPool,
    queue: Arc<Queue<Nothing>>,
}

impl Peer for Underway {
    const UNFINISHED: &'static str =
        "SELECT EXISTS (SELECT FROM underway.task WHERE state <> 'succeeded')";
    const FINISHED: Option<&'static str> =
        Some("SELECT count(*) FROM underway.task WHERE state = 'succeeded'");

    async fn install(url: &str, mode: &Mode) -> Result<Self> {
        let connections = runner::connections(mode, CONNECTIONS);
        let pool = PgPoolOptions::new()
            .min_connections(connections)
            .max_connections(connections)
            .connect(url)
            .await?;
        let migrated = pool.clone();
        runner::apart(async move || underway::run_migrations(&migrated).await).await??;
        let queue = Arc::new(Queue::builder().name("nothing").pool(pool.clone()).build().await?);
        Ok(Self { pool, queue })
    }

    async fn enqueue(&self, number: usize) -> Result<()> {
        self.queue.enqueue(&self.pool, &Nothing, &Input { n: number }).await?;
        Ok(())
    }

    async fn enqueue_batch(&self, size: usize) -> Result<bool> {
        let inputs: Vec<Input> = (0..size).map(|n| Input { n }).collect();
        self.queue.enqueue_multi(&self.pool, &Nothing, &inputs).await?;
        Ok(true)
    }

    async fn start(&self, purpose: Purpose) -> Result<()> {
        let mut worker = Worker::new(Arc::clone(&self.queue), Nothing);
        worker.set_concurrency_limit(CONCURRENCY);
        tokio::spawn(async move {
            match purpose {
                Purpose::Throughput => {
                    worker.run_every(jiff::Span::new().milliseconds(POLL_MS)).await
                }
                Purpose::Latency => worker.run().await,
            }
        });
        Ok(())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    runner::run::<Underway>().await
}
