//! The peer `dbos`, DBOS Transact for Rust: a task is a queued workflow of no step; the only peer here with steps.

use std::process::ExitCode;
use std::time::Duration;

use dbos::{
    Client, ClientConfig, Config, DBOS, EngineOnly, QueueConflict, QueueOptions, WorkflowRef,
};
use runner::{Mode, Peer, Purpose, Result, bail};

const APPLICATION: &str = "benchmark";
const QUEUE: &str = "nothing";
const NOTHING: &str = "nothing";
const STEPS: &str = "steps";
/// The default is a second; a poll that finds work starts all of it.
const POLLING_INTERVAL: Duration = Duration::from_millis(10);
const LATENCY_POLLING_INTERVAL: Duration = Duration::from_millis(1);
/// Twice the default; it ran the most steps, 50 no more.
const CONNECTIONS: u32 = 20;

struct Dbos {
    client: Client,
    instance: DBOS,
    steps: WorkflowRef<usize, (), EngineOnly>,
}

fn config(url: &str, queues: Option<Vec<String>>) -> Config {
    Config {
        app_version: Some("1".to_owned()),
        max_connections: CONNECTIONS,
        listen_queues: queues,
        ..Config::new(APPLICATION, url)
    }
}

async fn nothing(_number: usize) -> dbos::Result<()> {
    runner::handler_ran();
    Ok(())
}

async fn nothing_in_steps(steps: usize) -> dbos::Result<()> {
    for _ in 0..steps {
        dbos::step("nothing", || async { dbos::Result::Ok(()) }).await?;
    }
    Ok(())
}

impl Peer for Dbos {
    const UNFINISHED: &'static str = "\
        SELECT EXISTS (SELECT FROM dbos.workflow_status
                       WHERE status IN ('ENQUEUED', 'PENDING', 'DELAYED'))";
    const FINISHED: Option<&'static str> =
        Some("SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'");

    async fn install(url: &str, mode: &Mode) -> Result<Self> {
        let connections = runner::connections(mode, CONNECTIONS);
        // The tables, before the worker's instance: it listens to no queue yet when it is launched.
        let installer = DBOS::new(config(url, Some(Vec::new())));
        installer.launch().await?;
        let polling_interval = match mode {
            Mode::Latency { .. } => LATENCY_POLLING_INTERVAL,
            _ => POLLING_INTERVAL,
        };
        let options = QueueOptions { polling_interval, ..QueueOptions::default() };
        installer.register_queue(QUEUE, options, QueueConflict::UpdateIfLatestVersion).await?;
        installer.shutdown().await;
        let client = Client::connect(ClientConfig {
            app_name: Some(APPLICATION.to_owned()),
            max_connections: connections,
            ..ClientConfig::new(url)
        })
        .await?;
        let instance = DBOS::new(config(url, None));
        instance.register_workflow(NOTHING, nothing)?;
        let steps = instance.register_workflow(STEPS, nothing_in_steps)?;
        if matches!(mode, Mode::Steps { .. }) {
            instance.launch().await?;
        }
        Ok(Self { client, instance, steps })
    }

    async fn enqueue(&self, number: usize) -> Result<()> {
        self.client.enqueue::<usize, (), EngineOnly>(NOTHING, QUEUE, number).await?;
        Ok(())
    }

    async fn enqueue_batch(&self, _size: usize) -> Result<bool> {
        Ok(false)
    }

    async fn start(&self, _purpose: Purpose) -> Result<()> {
        self.instance.launch().await?;
        Ok(())
    }

    async fn run_workflows(&self, workflows: usize, steps: usize) -> Result<bool> {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..workflows {
            let workflow = self.steps.clone();
            running.spawn(async move { workflow.run(steps).await });
        }
        while let Some(ended) = running.join_next().await {
            if let Err(error) = ended? {
                bail!("a workflow failed: {error}");
            }
        }
        Ok(true)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    runner::run::<Dbos>().await
}
