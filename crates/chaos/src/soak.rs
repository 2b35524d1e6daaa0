//! A long time under load with random kills: nothing may grow, and nothing may be left.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use journeyman_runtime::client::Client;
use journeyman_runtime::socket;
use journeyman_testkit::database;
use journeyman_testkit::model::{ModelServer, Reply, Script};
use serde_json::{Value, json};
use sqlx::{Connection as _, FromRow, PgConnection};
use tokio::process::Child;
use tokio::time::sleep;

use crate::judge;
use crate::life::Lived;
use crate::life::daemon::{died, start, stop};
use crate::play::Play;
use crate::stage::Stage;
use crate::world::{Options, World};

/// Between two samples.
const EVERY: Duration = Duration::from_secs(5);
/// A life has its caches and connections by this age: younger ones are not compared.
const GROWN_UP: Duration = Duration::from_secs(15);
/// How much more the last quarter may have of something than the second one.
const GROWTH: f64 = 1.25;

/// What is asked of a soak.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// How long.
    pub time: Duration,
    /// Runs at once.
    pub runs: u32,
    /// What the kills follow from.
    pub seed: u64,
}

/// What is there at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at: Duration,
    age: Duration,
    /// Memory of the daemon's own, in KiB.
    memory_kib: u64,
    files: u64,
    threads: u64,
    connections: u64,
    processes: u64,
    folders: u64,
    running: u64,
    done: u64,
}

const PLAY: Play = Play {
    name: "soak",
    files: &[("note.txt", "one\n"), (".journeyman.toml", "checks = [\"grep -q two note.txt\"]\n")],
    script: Some(script),
    forge: false,
    acts: Vec::new,
    weight: 0,
};

fn script() -> Script {
    let wait = Duration::from_secs(3);
    let edit = json!({ "path": "note.txt", "old": "one", "new": "two" });
    Script::turns([
        Reply::call("read", &json!({ "path": "note.txt" })).wait_before_headers(wait),
        Reply::call("edit", &edit).wait_before_headers(wait),
        Reply::text("Done.").wait_before_headers(wait),
    ])
    .key(crate::world::KEY)
}

/// A daemon and its birth.
struct Life {
    daemon: Child,
    born: Instant,
    ends: Option<Duration>,
}

impl Soak {
    /// Soaks, prints a line each few seconds and a table at the end; whether nothing grew and nothing is left.
    pub async fn run(&self, program: &Path) -> Result<bool> {
        database::init(program);
        let folder = tempfile::Builder::new().prefix("soak-cluster").tempdir()?;
        let cluster = database::cluster_in(folder.path().to_owned(), program, true).await?;
        database::init_url(&cluster.url());
        let options = Options { concurrent: self.runs, ..Options::default() };
        let world = World::new(program, options).await?;
        let stage = Stage::set(&world, &PLAY, PLAY.name)?;
        let mut database = PgConnection::connect(&world.url()).await?;
        let mut random = fastrand::Rng::with_seed(self.seed);
        let began = Instant::now();
        let mut samples = Vec::new();
        let (mut kills, mut added) = (0, 0);
        let mut left = Vec::new();
        let mut life = born(&stage, None)?;
        let mut out = std::io::stdout();
        while began.elapsed() < self.time {
            sleep(EVERY).await;
            if let Some(status) = life.daemon.try_wait()? {
                left.push(format!("{:?}", died(&stage, status, None)));
                life = born(&stage, None)?;
            }
            // The second quarter and the last one have no kills: they are compared.
            let part = began.elapsed().as_secs_f64() / self.time.as_secs_f64();
            let is_quiet = (0.15..0.4).contains(&part) || part > 0.75;
            if !is_quiet && life.ends.is_none_or(|ends| life.born.elapsed() >= ends) {
                life.daemon.kill().await?;
                kills += 1;
                life = born(&stage, Some(Duration::from_secs(random.u64(10..45))))?;
            }
            added += feed(&stage, &mut database, self.runs, added).await.unwrap_or(0);
            let sample = sample(&stage, &mut database, &life, began.elapsed()).await?;
            writeln!(
                out,
                "{:>4} s  {} kills  {} running, {} done  {} MiB, {} files, {} threads, {} connections, {} processes, {} folders",
                sample.at.as_secs(),
                kills,
                sample.running,
                sample.done,
                sample.memory_kib / 1024,
                sample.files,
                sample.threads,
                sample.connections,
                sample.processes,
                sample.folders,
            )?;
            samples.push((part, sample));
        }
        let is_flat = compare(&samples)?;
        left.extend(self.end(&stage, &mut database, life).await?);
        writeln!(out, "{kills} kills; left at the end: {left:?}")?;
        Ok(is_flat && left.is_empty())
    }

    /// Takes back what has not begun, lets the rest end, stops in order; what is left.
    async fn end(
        &self,
        stage: &Stage<'_>,
        database: &mut PgConnection,
        mut life: Life,
    ) -> Result<Vec<String>> {
        let began = Instant::now();
        let open =
            "SELECT id::text FROM tasks WHERE status IN ('pending', 'ready', 'running', 'waiting')";
        let mut left = loop {
            let open: Vec<String> = sqlx::query_scalar(open).fetch_all(&mut *database).await?;
            if open.is_empty() || began.elapsed() > Duration::from_mins(5) {
                break open.iter().map(|task| format!("task {task} is open")).collect::<Vec<_>>();
            }
            let client = client(stage).await?;
            for task in open {
                // It may have ended by itself.
                let path = format!("/api/v1/tasks/{task}/cancel");
                let _ = client.post::<Value>(&path, &json!({})).await;
            }
            sleep(EVERY).await;
        };
        if let Lived::Stuck(why) = stop(stage, &mut life.daemon, None, Lived::Over).await? {
            left.push(why);
        }
        left.extend(judge::orphans(stage).await?);
        let query = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        let connections = query.fetch_one(&mut *database).await?;
        if connections > 0 {
            left.push(format!("{connections} connections"));
        }
        let repeated = stage.model.iter().flat_map(ModelServer::violations);
        left.extend(repeated);
        Ok(left)
    }
}

fn born(stage: &Stage<'_>, ends: Option<Duration>) -> Result<Life> {
    let daemon = start(stage, &stage.world.data(), None)?;
    Ok(Life { daemon, born: Instant::now(), ends })
}

async fn client(stage: &Stage<'_>) -> Result<Client> {
    let socket = socket::path(&stage.world.data())?;
    Client::connect(&socket).await.context("the daemon does not answer")
}

/// Sees to it that there is always more to do than runs at once; how many tasks were added.
async fn feed(
    stage: &Stage<'_>,
    database: &mut PgConnection,
    runs: u32,
    so_far: u64,
) -> Result<u64> {
    let open: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM tasks WHERE status IN ('pending', 'ready', 'running', 'waiting')",
    )
    .fetch_one(database)
    .await?;
    let wanted = u64::from(runs) * 5 / 4;
    let missing = wanted.saturating_sub(u64::try_from(open)?);
    if missing == 0 {
        return Ok(0);
    }
    let task = |n: u64| {
        json!({ "repo": stage.repository, "prompt": stage.title(&n.to_string()), "driver": "native",
                "model": "scripted/small-1", "deliver": "none" })
    };
    let tasks: Vec<Value> = (so_far..so_far + missing).map(task).collect();
    let added =
        client(stage).await?.post::<Value>("/api/v1/tasks", &json!({ "tasks": tasks })).await;
    Ok(if added.is_ok() { missing } else { 0 })
}

#[derive(FromRow)]
struct Counts {
    running: i64,
    done: i64,
    connections: i64,
}

async fn sample(
    stage: &Stage<'_>,
    database: &mut PgConnection,
    life: &Life,
    at: Duration,
) -> Result<Sample> {
    let counts: Counts = sqlx::query_as(
        "SELECT (SELECT count(*) FROM tasks WHERE status = 'running') AS running, \
         (SELECT count(*) FROM tasks WHERE status = 'completed') AS done, \
         (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections",
    )
    .fetch_one(database)
    .await?;
    let pid = life.daemon.id().unwrap_or_default();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let of_name = status.lines().find(|row| row.starts_with(name));
        of_name.and_then(|row| row.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    };
    let count = |path: std::path::PathBuf| {
        std::fs::read_dir(path).map_or(0, |entries| u64::try_from(entries.count()).unwrap_or(0))
    };
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    Ok(Sample {
        at,
        age: life.born.elapsed(),
        memory_kib: field("RssAnon:"),
        files: count(format!("/proc/{pid}/fd").into()),
        threads: field("Threads:"),
        connections: number(counts.connections),
        processes: processes(pid),
        folders: count(stage.world.data().join("runs")),
        running: number(counts.running),
        done: number(counts.done),
    })
}

/// The processes below one, itself left out.
fn processes(above: u32) -> u64 {
    let read = |pid: u32| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("children")).ok()?;
            Some(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        });
        children.flatten().collect::<Vec<u32>>()
    };
    let (mut open, mut count) = (read(above), 0);
    while let Some(pid) = open.pop() {
        count += 1;
        open.extend(read(pid));
    }
    count
}

/// Prints the second quarter beside the last one; whether nothing grew.
fn compare(samples: &[(f64, Sample)]) -> Result<bool> {
    type Value = fn(&Sample) -> u64;
    let of = |from: f64, to: f64, value: Value| {
        let grown_up =
            |(part, sample): &&(f64, Sample)| (from..to).contains(part) && sample.age >= GROWN_UP;
        let mut values: Vec<u64> =
            samples.iter().filter(grown_up).map(|(_, sample)| value(sample)).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    };
    let values: [(&str, Value); 6] = [
        ("memory, KiB", |sample| sample.memory_kib),
        ("files", |sample| sample.files),
        ("threads", |sample| sample.threads),
        ("connections", |sample| sample.connections),
        ("processes", |sample| sample.processes),
        ("folders of runs", |sample| sample.folders),
    ];
    let mut out = std::io::stdout();
    let mut is_flat = true;
    writeln!(out, "\n| median of | second quarter | last quarter |\n|---|---:|---:|")?;
    for (name, value) in values {
        let (early, late) = (of(0.2, 0.4, value), of(0.8, 1.1, value));
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let grew = late as f64 > early as f64 * GROWTH + 4.0;
        is_flat &= !grew;
        writeln!(out, "| {name} | {early} | {late} |{}", if grew { " grew" } else { "" })?;
    }
    Ok(is_flat)
}
