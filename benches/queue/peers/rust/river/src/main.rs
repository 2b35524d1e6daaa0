//! The peer `riverqueue`, the official River client for Rust.

use std::process::ExitCode;
use std::time::Duration;

use riverqueue::migrate::PostgresMigrator;
use riverqueue::sqlx::postgres::PgPoolOptions;
use riverqueue::{
    BoxError, Client, InsertOpts, Job, JobArgs, QueueConfig, WorkContext, WorkOutcome, Workers,
};
use runner::{Mode, Peer, Purpose, Result};
use serde::{Deserialize, Serialize};

/// The defaults of the peer's own benchmark, `riverqueue bench`.
const MAX_WORKERS: usize = 2000;
const CONNECTIONS: u32 = 50;
const FETCH_COOLDOWN: Duration = Duration::from_millis(2);
const FETCH_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The least that the peer allows: each insert notifies, and is fetched at once.
const LATENCY_COOLDOWN: Duration = Duration::from_millis(1);

#[derive(Clone, Debug, Deserialize, JobArgs, Serialize)]
#[river(kind = "nothing")]
struct Nothing {
    n: usize,
}

async fn nothing(_context: WorkContext, _job: Job<Nothing>) -> Result<WorkOutcome, BoxError> {
    runner::handler_ran();
    Ok(WorkOutcome::Complete)
}

struct River {
    client: Client,
}

impl Peer for River {
    const UNFINISHED: &'static str = "\
        SELECT EXISTS (SELECT FROM river_job
                       WHERE state IN ('available', 'running', 'retryable', 'scheduled'))";
    const FINISHED: Option<&'static str> =
        Some("SELECT count(*) FROM river_job WHERE state = 'completed'");

    async fn install(url: &str, mode: &Mode) -> Result<Self> {
        let connections = runner::connections(mode, CONNECTIONS);
        let pool = PgPoolOptions::new()
            .min_connections(connections)
            .max_connections(connections)
            .connect(url)
            .await?;
        PostgresMigrator::new(pool.clone()).migrate_up().await?;
        let mut workers = Workers::new();
        workers.add_fn(nothing)?;
        let builder = Client::builder(pool).workers(workers);
        let builder = match mode {
            Mode::Latency { .. } => builder
                .fetch_cooldown(LATENCY_COOLDOWN)
                .queue(riverqueue::QUEUE_DEFAULT, QueueConfig::new(MAX_WORKERS)),
            _ => builder.queue(
                riverqueue::QUEUE_DEFAULT,
                QueueConfig::new(MAX_WORKERS)
                    .with_fetch_cooldown(FETCH_COOLDOWN)
                    .with_fetch_poll_interval(FETCH_POLL_INTERVAL),
            ),
        };
        Ok(Self { client: builder.build()? })
    }

    async fn enqueue(&self, number: usize) -> Result<()> {
        self.client.insert(Nothing { n: number }).await?;
        Ok(())
    }

    async fn enqueue_batch(&self, size: usize) -> Result<bool> {
        let jobs = (0..size).map(|number| (Nothing { n: number }, InsertOpts::default()));
        self.client.insert_many::<Nothing, _>(jobs).await?;
        Ok(true)
    }

    async fn start(&self, purpose: Purpose) -> Result<()> {
        let mut run = self.client.start()?;
        if purpose == Purpose::Latency {
            run.wait_ready().await?;
        }
        run.detach();
        Ok(())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    runner::run::<River>().await
}
