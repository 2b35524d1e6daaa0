//! The peer `awa`, with its engine of append-only queue storage.

use std::process::ExitCode;
use std::time::Duration;

use awa::model::InsertParams;
use awa::{Client, InsertOpts, JobArgs, JobResult, QueueConfig, QueueStorage, QueueStorageConfig};
use runner::{Mode, Peer, Purpose, Result};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

const QUEUE: &str = "nothing";
/// Permits of the peer's reference shape for no-op queues of 10,000 tasks a second, `docs/configuration.md`.
const MAX_WORKERS: u32 = 1024;
const CONNECTIONS: u32 = 20;
/// The peer's default, for the ready tasks and for the leases.
const ROTATE_INTERVAL: Duration = Duration::from_secs(1);
/// Snapshots for its user interface, which the peer's own benchmark turns off the same way.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(300);

#[derive(Debug, Deserialize, JobArgs, Serialize)]
struct Nothing {
    n: usize,
}

struct Awa {
    pool: PgPool,
    storage: QueueStorage,
}

fn options() -> InsertOpts {
    InsertOpts { queue: QUEUE.to_owned(), ..InsertOpts::default() }
}

impl Peer for Awa {
    // Callers take turns at the head of the queue.
    const BATCH_CALLERS: usize = 1;

    // Completions are compact batches, wide rows, or counts of what was pruned since; the view of all jobs is slow.
    const UNFINISHED: &'static str = "\
        SELECT (SELECT coalesce(sum(completed_count), 0) FROM awa.receipt_completion_batches)
             + (SELECT count(*) FROM awa.done_entries)
             + (SELECT coalesce(sum(pruned_completed_count), 0) FROM awa.queue_terminal_rollups) < {tasks}";
    const FINISHED: Option<&'static str> = None;

    async fn install(url: &str, mode: &Mode) -> Result<Self> {
        let connections = runner::connections(mode, CONNECTIONS);
        let pool = PgPoolOptions::new()
            .min_connections(connections)
            .max_connections(connections)
            .connect(url)
            .await?;
        let installed = pool.clone();
        let storage = runner::apart(async move || {
            awa::migrations::run(&installed).await?;
            let storage = QueueStorage::new(QueueStorageConfig::default())?;
            storage.install(&installed).await?;
            Ok::<_, awa::AwaError>(storage)
        })
        .await??;
        Ok(Self { pool, storage })
    }

    async fn enqueue(&self, number: usize) -> Result<()> {
        awa::insert_with(&self.pool, &Nothing { n: number }, options()).await?;
        Ok(())
    }

    async fn enqueue_batch(&self, size: usize) -> Result<bool> {
        let jobs = (0..size)
            .map(|number| awa::model::insert::params_with(&Nothing { n: number }, options()))
            .collect::<Result<Vec<InsertParams>, _>>()?;
        self.storage.enqueue_params_copy(&self.pool, &jobs).await?;
        Ok(true)
    }

    async fn start(&self, _purpose: Purpose) -> Result<()> {
        let queue = QueueConfig {
            max_workers: MAX_WORKERS,
            deadline_duration: Duration::ZERO,
            ..QueueConfig::default()
        };
        let client = Client::builder(self.pool.clone())
            .queue(QUEUE, queue)
            .queue_storage(QueueStorageConfig::default(), ROTATE_INTERVAL, ROTATE_INTERVAL)
            .queue_stats_interval(SNAPSHOT_INTERVAL)
            .runtime_snapshot_interval(SNAPSHOT_INTERVAL)
            .register::<Nothing, _, _>(|_arguments, _context| async move {
                runner::handler_ran();
                Ok(JobResult::Completed)
            })
            .build()?;
        client.start().await?;
        std::mem::forget(client);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    runner::run::<Awa>().await
}
