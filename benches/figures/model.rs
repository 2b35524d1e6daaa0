//! The native loop in the real daemon, with a scripted model that answers at once: what a whole step
//! takes beside two bare commits on the same database, and what a hundred runs at once cost in memory.
//!
//! A step is a request (journaled, sent, its stream journaled) and one small read of a file (its
//! intent and its result journaled): the time from one `model_request` of the journal to the next.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use journeyman_domain::ids::TaskId;
use journeyman_domain::model::Wire;
use journeyman_testkit::model::{ModelServer, Reply, Script};
use journeyman_web::types::{AddTasks, NewTask, Tasks};
use serde_json::json;
use sqlx::PgPool;

use crate::idle::anonymous_memory_mib;
use crate::machine::{Daemon, Home};
use crate::{Figure, instant, milliseconds, quantile};

/// Steps of a measured run: as many as a task of some size takes, and the long tail.
const STEPS: [usize; 2] = [50, 200];
/// Pairs of bare commits before and after a run.
const COMMITS: usize = 200;
/// Runs at once.
pub(crate) const RUNS: usize = 100;

pub(crate) async fn figures() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for steps in STEPS {
        figures.extend(step(steps).await?);
    }
    figures.push(memory().await?);
    Ok(figures)
}

/// A home whose agents ask a model at this address.
pub(crate) fn home(address: &str, wire: Wire) -> Result<Home> {
    let home = Home::new()?;
    home.settings(&format!(
        "[system]\nmax_concurrent_tasks = {RUNS}\n[run]\nsteps = 100000\n\
         [model]\ndefault = \"scripted/m\"\n[providers.scripted]\nwire = \"{wire}\"\n\
         base_url = \"{address}\"\nkey = \"\"\ncontext_window = 2000000\nmax_concurrent = {RUNS}\n",
    ))?;
    Ok(home)
}

async fn step(steps: usize) -> Result<Vec<Figure>> {
    let home = home(&instant::start(steps)?, Wire::OpenAiChat)?;
    let daemon = home.daemon().await?;
    let store = home.store().await?;
    let pool = PgPool::connect(&home.url()?).await?;
    sqlx::query("CREATE TABLE bare (id bigserial PRIMARY KEY, word text NOT NULL)")
        .execute(&pool)
        .await?;
    // Before and after, since the machine is shared.
    let mut bare = two_commits(&pool).await?;
    let task = add(&daemon, &home.repository()?, "Read on").await?;
    let began = Instant::now();
    while !store.tasks().get(task).await?.status.is_final() {
        ensure!(began.elapsed() < Duration::from_mins(3), "the run does not end");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bare.extend(two_commits(&pool).await?);
    let journal = store.journal().tail(task, None, 100_000).await?;
    if std::env::var_os("JOURNEYMAN_BENCH_PARTS").is_some() {
        parts(&journal);
    }
    let requests = journal.iter().filter(|step| step.kind == "model_request");
    let requests: Vec<_> = requests.map(|step| step.created_at).collect();
    ensure!(requests.len() == steps + 1, "{} requests", requests.len());
    let gap = |pair: &[chrono::DateTime<chrono::Utc>]| (pair[1] - pair[0]).to_std();
    let times: Result<Vec<Duration>, _> = requests.windows(2).map(gap).collect();
    let mut times = times?;
    store.close().await;
    pool.close().await;
    let bare = quantile(&mut bare, 0.5);
    let (half, most) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    let ratio = half.as_secs_f64() / bare.as_secs_f64();
    let run = format!("a run of {steps} steps");
    Ok(vec![
        Figure::new(format!("{run}: a step, median"), milliseconds(half), ""),
        Figure::new(format!("{run}: a step, p99"), milliseconds(most), ""),
        Figure::new(format!("{run}: two bare commits, median"), milliseconds(bare), ""),
        Figure::new(
            format!("{run}: a step : two bare commits"),
            format!("{ratio:.2} x"),
            "at most 5",
        ),
    ])
}

/// Where the time of a step goes: from each kind of entry to the next.
fn parts(steps: &[journeyman_store::Step]) {
    let mut parts: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for pair in steps.windows(2) {
        let gap = (pair[1].created_at - pair[0].created_at).to_std().unwrap_or_default();
        parts.entry(format!("{} -> {}", pair[0].kind, pair[1].kind)).or_default().push(gap);
    }
    for (what, mut times) in parts {
        println!("    {what:<40} {:>6}  {}", times.len(), milliseconds(quantile(&mut times, 0.5)));
    }
}

async fn two_commits(pool: &PgPool) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(COMMITS);
    for _ in 0..COMMITS {
        let began = Instant::now();
        for _ in 0..2 {
            sqlx::query("INSERT INTO bare (word) VALUES ($1)").bind("word").execute(pool).await?;
        }
        times.push(began.elapsed());
    }
    Ok(times)
}

/// Memory of the daemon with a hundred runs that wait for their models, beyond the idle one.
async fn memory() -> Result<Figure> {
    let script = Script::by(|seen| match seen.turn {
        0 => Reply::call("read", &json!({ "path": "Cargo.toml" })),
        _ => Reply::text("Read.").wait_before_headers(Duration::from_mins(10)),
    });
    let server = ModelServer::start(script)?;
    let wire = Wire::OpenAiResponses;
    let home = home(&server.base_url(wire), wire)?;
    let daemon = home.daemon().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = anonymous_memory_mib(daemon.pid())?;
    let repository = home.repository()?;
    for number in 0..RUNS {
        add(&daemon, &repository, &format!("Read on {number}")).await?;
    }
    let in_mid_run = |seen: &[std::sync::Arc<journeyman_testkit::model::Seen>]| {
        seen.iter().filter(|one| one.turn == 1).count() >= RUNS
    };
    ensure!(server.wait_until(Duration::from_mins(5), in_mid_run), "the runs do not come about");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = anonymous_memory_mib(daemon.pid())?;
    drop(server);
    let each = (after - before) / f64::from(u32::try_from(RUNS)?);
    Ok(Figure::new(
        format!("memory of each of {RUNS} runs in mid-call, beyond the idle daemon"),
        format!("{each:.2} MiB"),
        "at most 1",
    ))
}

pub(crate) async fn add(daemon: &Daemon, repository: &Path, prompt: &str) -> Result<TaskId> {
    let task = NewTask {
        repo: repository.display().to_string(),
        prompt: prompt.to_owned(),
        check: vec!["true".to_owned()],
        ..NewTask::default()
    };
    let answer: Result<Tasks, _> =
        daemon.client.post("/api/v1/tasks", &AddTasks { tasks: vec![task] }).await;
    let Ok(answer) = answer else { bail!("the task was refused") };
    let first = answer.tasks.first().context("nothing was added")?;
    Ok(first.id.parse()?)
}
