//! The peer `graphile_worker`, the Rust port of Graphile Worker. Its rows are deleted when they succeed.

use std::process::ExitCode;
use std::time::Duration;

use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, WorkerContext,
    WorkerOptions, WorkerUtils,
};
use runner::{Mode, Peer, Purpose, Result};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

/// As in the peer's own throughput benchmark, `benches/perf_test.rs`.
const CONCURRENCY: usize = 500;
const LOCAL_QUEUE: usize = 5000;
/// Two of them: its page on local queues offers it for many small jobs, and it is a tenth faster here.
const LOCAL_QUEUES: usize = 2;
/// The peer's default.
const CONNECTIONS: u32 = 20;
const BATCH_DELAY: Duration = Duration::from_millis(5);
/// One task at a time needs no more.
const LATENCY_CONCURRENCY: usize = 4;

#[derive(Clone, Deserialize, Serialize)]
struct Nothing {
    n: usize,
}

impl TaskHandler for Nothing {
    const IDENTIFIER: &'static str = "nothing";

    async fn run(self, _context: WorkerContext) -> impl IntoTaskHandlerResult {
        runner::handler_ran();
        Ok::<(), String>(())
    }
}

struct GraphileWorker {
    pool: PgPool,
    utilities: WorkerUtils,
}

impl Peer for GraphileWorker {
    const UNFINISHED: &'static str = "SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)";
    const FINISHED: Option<&'static str> = None;

    async fn install(url: &str, mode: &Mode) -> Result<Self> {
        let connections = runner::connections(mode, CONNECTIONS);
        let pool = PgPoolOptions::new()
            .min_connections(connections)
            .max_connections(connections)
            .connect(url)
            .await?;
        // Makes the task's identifier known, so that its enqueues need no look-up of their own.
        let worker =
            WorkerOptions::default().pg_pool(pool.clone()).define_job::<Nothing>().init().await?;
        Ok(Self { pool, utilities: worker.create_utils() })
    }

    async fn enqueue(&self, number: usize) -> Result<()> {
        self.utilities.add_job(Nothing { n: number }, JobSpec::default()).await?;
        Ok(())
    }

    async fn enqueue_batch(&self, size: usize) -> Result<bool> {
        let jobs: Vec<RawJobSpec> = (0..size)
            .map(|number| RawJobSpec {
                identifier: Nothing::IDENTIFIER.to_owned(),
                payload: runner::payload(number),
                spec: JobSpec::default(),
            })
            .collect();
        self.utilities.add_raw_jobs(&jobs).await?;
        Ok(true)
    }

    async fn start(&self, purpose: Purpose) -> Result<()> {
        let options = WorkerOptions::default().pg_pool(self.pool.clone()).define_job::<Nothing>();
        let options = match purpose {
            Purpose::Throughput => options
                .concurrency(CONCURRENCY)
                .poll_interval(BATCH_DELAY)
                .complete_job_batch_delay(BATCH_DELAY)
                .local_queue(
                    LocalQueueConfig::default()
                        .with_size(LOCAL_QUEUE)
                        .with_queue_count(LOCAL_QUEUES),
                ),
            Purpose::Latency => options.concurrency(LATENCY_CONCURRENCY),
        };
        let worker = options.init().await?;
        tokio::spawn(async move { worker.run().await });
        Ok(())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    runner::run::<GraphileWorker>().await
}
