//! From the addition of a task to the first step of its run, with a running daemon that is idle:
//! tasks one after the other on a small crate, each with a clone of its own. The clock starts when
//! the request is sent (or at the `created_at` of the task's row) and stops at the `created_at` of
//! the first entry of the run's journal, `started`: the lease is claimed, base, checks and limits
//! are known. The clone comes after it, and is in the time to the agent's first call.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, TimeDelta, Utc};
use journeyman_domain::ids::TaskId;
use journeyman_store::Store;
use journeyman_web::types::{AddTasks, NewTask, Tasks};

use crate::machine::{Daemon, Home};
use crate::{Figure, milliseconds, quantile};

const TASKS: usize = 50;

pub(crate) async fn figures() -> Result<Vec<Figure>> {
    let home = Home::new()?;
    let daemon = home.daemon().await?;
    let store = home.store().await?;
    let repository = home.repository()?;
    // The first one registers the codebase and fetches its dependencies.
    add(&daemon, &store, &repository).await?;
    let (mut sent, mut added, mut called) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TASKS {
        let measured = add(&daemon, &store, &repository).await?;
        sent.push(since(measured.sent, measured.started));
        added.push(since(measured.added, measured.started));
        called.push(since(measured.sent, measured.called));
    }
    store.close().await;
    let mut at = |part| milliseconds(quantile(&mut sent, part));
    let (half, most) = (at(0.5), at(0.99));
    Ok(vec![
        Figure::new(format!("from the request, p50 of {TASKS}"), half, "at most 50"),
        Figure::new("from the request, p99", most, ""),
        Figure::new("from the row, p50", milliseconds(quantile(&mut added, 0.5)), ""),
        Figure::new(
            "from the request to the agent's first call, p50",
            milliseconds(quantile(&mut called, 0.5)),
            "",
        ),
    ])
}

struct Measured {
    sent: DateTime<Utc>,
    added: DateTime<Utc>,
    started: DateTime<Utc>,
    called: DateTime<Utc>,
}

fn since(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    (to - from).max(TimeDelta::zero()).to_std().unwrap_or_default()
}

/// Adds a task and waits until it has ended.
async fn add(daemon: &Daemon, store: &Store, repository: &Path) -> Result<Measured> {
    let task = NewTask {
        repo: repository.display().to_string(),
        prompt: "Do nothing".to_owned(),
        driver: Some("command".to_owned()),
        command: vec!["true".to_owned()],
        check: vec!["true".to_owned()],
        ..NewTask::default()
    };
    let request = AddTasks { tasks: vec![task] };
    let sent = Utc::now();
    let answer: Result<Tasks, _> = daemon.client.post("/api/v1/tasks", &request).await;
    let Ok(answer) = answer else { bail!("the task was refused") };
    let id: TaskId = answer.tasks[0].id.parse()?;
    loop {
        let task = store.tasks().get(id).await?;
        if task.status.is_final() {
            let steps = store.journal().tail(id, None, 10).await?;
            let at = |kind| {
                let step = steps.iter().find(|step| step.kind == kind);
                step.map(|step| step.created_at).with_context(|| format!("no step {kind}"))
            };
            return Ok(Measured {
                sent,
                added: task.created_at,
                started: at("started")?,
                called: at("tool_intent")?,
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
