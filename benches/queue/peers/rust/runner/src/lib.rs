//! What the Rust peers of the queue benchmark share: the command line, the modes, the measuring and the one line of
//! JSON. It owns the definitions of the modes; a peer only says how its library installs, enqueues and works. It must
//! never reach into a peer's tables but through the two queries that the peer gives.

mod arguments;
mod database;
mod handler;
mod modes;
mod report;

use std::future::Future;
use std::process::ExitCode;

pub use anyhow::{Context, Result, anyhow, bail};
pub use arguments::{Arguments, Mode};
pub use handler::handler_ran;

/// How many connections a peer's pool has: one a caller where the callers are the load, else what its worker needs.
pub fn connections(mode: &Mode, worker: u32) -> u32 {
    match mode {
        Mode::Enqueue { callers, .. } => {
            u32::try_from(*callers).unwrap_or(MAX_CONNECTIONS).clamp(4, MAX_CONNECTIONS)
        }
        _ => worker,
    }
}

/// One no-op task's payload, the same few bytes for each peer.
pub fn payload(number: usize) -> serde_json::Value {
    serde_json::json!({ "n": number })
}

/// The server of the benchmark serves twice as many.
const MAX_CONNECTIONS: u32 = 100;

/// What the worker is set up for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// Many tasks wait: the settings that the peer recommends for throughput.
    Throughput,
    /// One task at a time on an idle worker: the settings that start it soonest.
    Latency,
}

/// A peer: its library behind the verbs that the modes need. A worker that was started lives as long as the process.
pub trait Peer: Send + Sync + Sized + 'static {
    /// True while a task is not durably completed: a query of one `boolean`, cheap with the peer's own indexes;
    /// `{tasks}` in it stands for how many were put in.
    const UNFINISHED: &'static str;

    /// How many tasks are durably completed, for peers that keep them: a query of one `bigint`, asked once, untimed.
    const FINISHED: Option<&'static str>;

    /// Concurrent callers that are best for batches.
    const BATCH_CALLERS: usize = 2;

    /// Installs the schema and opens a pool that fits the mode, with all its connections.
    fn install(url: &str, mode: &Mode) -> impl Future<Output = Result<Self>> + Send;

    /// Puts one task in and waits for its commit.
    fn enqueue(&self, number: usize) -> impl Future<Output = Result<()>> + Send;

    /// Puts `size` tasks in with one call; false when the peer has no such call.
    fn enqueue_batch(&self, size: usize) -> impl Future<Output = Result<bool>> + Send;

    /// Starts a worker of no-op tasks whose handler calls [`handler_ran`] first.
    fn start(&self, purpose: Purpose) -> impl Future<Output = Result<()>> + Send;

    /// Runs workflows of durable steps, all at the same time; false when the peer has none.
    fn run_workflows(
        &self,
        _workflows: usize,
        _steps: usize,
    ) -> impl Future<Output = Result<bool>> + Send {
        async { Ok(false) }
    }
}

/// Runs what cannot be sent between threads, as some peers' migrations, on a thread of its own.
pub async fn apart<T, F>(run: impl FnOnce() -> F + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let runtime = tokio::runtime::Handle::current();
    Ok(tokio::task::spawn_blocking(move || runtime.block_on(run())).await?)
}

/// Runs the mode of the command line against the peer and prints its line.
pub async fn run<P: Peer>() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    report::limit(arguments.limit);
    match modes::run::<P>(&arguments).await {
        Ok(line) => {
            report::print(&line);
            // The worker's threads end with the process: nothing of it is measured any more.
            std::process::exit(0)
        }
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}
