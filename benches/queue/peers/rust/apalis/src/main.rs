//! The peer `apalis` with `apalis-postgres`.

use std::process::ExitCode;
use std::time::Duration;

use apalis::prelude::*;
use apalis_postgres::{Config, PgTask, PostgresStorage};
use runner::{Mode, Peer, Purpose, Result};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

const CONNECTIONS: u32 = 20;
const QUEUE: &str = "nothing";
/// Fetched at once; the peer makes its channel of completions four times as long.
const BATCH: usize = 2000;
const CONCURRENCY: usize = 2000;
/// Looks for tasks when no notification came; a fetch that finds some is followed by the next at once.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Nothing {
    n: usize,
}

async fn nothing(_task: Nothing) -> Result<(), BoxDynError> {
    runner::handler_ran();
    Ok(())
}

struct Apalis {
    pool: PgPool,
}

fn tasks(numbers: std::ops::Range<usize>) -> Result<Vec<PgTask>> {
    numbers.map(|n| Ok(TaskBuilder::new(serde_json::to_vec(&Nothing { n })?).build())).collect()
}

impl Peer for Apalis {
    const UNFINISHED: &'static str =
        "SELECT EXISTS (SELECT FROM apalis.jobs WHERE status <> 'Done')";
    const FINISHED: Option<&'static str> =
        Some("SELECT count(*) FROM apalis.jobs WHERE status = 'Done'");

    async fn install(url: &str, mode: &Mode) -> Result<Self> {
        let connections = runner::connections(mode, CONNECTIONS);
        let pool = PgPoolOptions::new()
            .min_connections(connections)
            .max_connections(connections)
            .connect(url)
            .await?;
        PostgresStorage::setup(&pool).await?;
        Ok(Self { pool })
    }

    async fn enqueue(&self, number: usize) -> Result<()> {
        let mut connection = self.pool.acquire().await?;
        apalis_postgres::queries::push_tasks(&mut *connection, QUEUE, tasks(number..number + 1)?)
            .await?;
        Ok(())
    }

    async fn enqueue_batch(&self, size: usize) -> Result<bool> {
        let mut connection = self.pool.acquire().await?;
        apalis_postgres::queries::push_tasks(&mut *connection, QUEUE, tasks(0..size)?).await?;
        Ok(true)
    }

    async fn start(&self, purpose: Purpose) -> Result<()> {
        // The fetch locks a task already; a second lock when it starts is for views of what runs.
        let config = Config::default().queue(QUEUE).lock_tasks(false);
        match purpose {
            Purpose::Throughput => {
                let storage = PostgresStorage::<Nothing>::new(&self.pool)
                    .with_config(config.batch_size(BATCH));
                let worker = WorkerBuilder::new("drain")
                    .backend(storage.poll_with_interval(POLL_INTERVAL))
                    .concurrency(CONCURRENCY)
                    .build(nothing);
                tokio::spawn(worker.run());
            }
            Purpose::Latency => {
                let storage =
                    PostgresStorage::<Nothing>::new(&self.pool).with_config(config).with_pubsub();
                let worker = WorkerBuilder::new("latency").backend(storage).build(nothing);
                tokio::spawn(worker.run());
            }
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    runner::run::<Apalis>().await
}
