//! A long time under load with random kills: nothing may grow, and nothing may be left.

use std::fmt;
use std::io::Write as _;
use std::ops::Range;
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
/// The part of the time after which nothing is killed: what leaks grows in the one life that is left.
const QUIET_FROM: f64 = 0.5;
/// The parts of that life that are compared: it has its caches and connections by the first one.
const EARLY: Range<f64> = 0.6..0.75;
const LATE: Range<f64> = 0.85..1.1;
/// How much more the second one may have of something.
const GROWTH: f64 = 1.1;
/// How many more of what comes and goes with the runs, whose number at a moment is chance; of memory, in KiB.
const CHANCE: f64 = 100.0;
/// How many more of what comes and goes with the load.
const FEW: f64 = 10.0;

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
            let part = began.elapsed().as_secs_f64() / self.time.as_secs_f64();
            if part < QUIET_FROM && life.ends.is_none_or(|ends| life.born.elapsed() >= ends) {
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
        let compared = Compared::of(&samples, self.runs);
        left.extend(self.end(&stage, &mut database, life).await?);
        let minutes = self.time.as_secs() / 60;
        writeln!(
            out,
            "\n{minutes} minutes, {kills} kills, {} runs done\n\n{compared}",
            compared.done
        )?;
        writeln!(out, "left at the end: {left:?}")?;
        Ok(compared.is_good() && left.is_empty())
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
        left.extend(judge::orphans(stage, database).await?);
        let query = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        let connections = query.fetch_one(&mut *database).await?;
        if connections > 0 {
            left.push(format!("{connections} connections"));
        }
        let repeated = stage.model.iter().flat_map(ModelServer::violations);
        left.extend(repeated);
        // All of the work is good: whatever struck it, it ends well.
        let query = sqlx::query_scalar(
            "SELECT concat_ws(' ', 'task', id, status, error) FROM tasks WHERE status NOT IN ('completed', 'cancelled')",
        );
        left.extend(query.fetch_all(&mut *database).await?);
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
    // All of them may end until the next look, and their places are to be taken at once.
    let wanted = u64::from(runs) * 3;
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

/// Two parts of one life beside each other.
struct Compared {
    /// What of, its medians, and whether it grew.
    rows: Vec<(&'static str, u64, u64, bool)>,
    runs: u32,
    /// Runs that were done at the end.
    done: u64,
    /// Of them, between the middles of the two parts.
    done_between: u64,
}

impl Compared {
    fn of(samples: &[(f64, Sample)], runs: u32) -> Self {
        type Value = fn(&Sample) -> u64;
        let median = |parts: &Range<f64>, value: Value| {
            let within = samples.iter().filter(|(part, _)| parts.contains(part));
            let mut values: Vec<u64> = within.map(|(_, sample)| value(sample)).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or(0)
        };
        let values: [(&str, Value, f64); 6] = [
            ("memory, KiB", |sample| sample.memory_kib, CHANCE),
            ("files", |sample| sample.files, CHANCE),
            ("threads", |sample| sample.threads, FEW),
            ("connections", |sample| sample.connections, FEW),
            ("processes", |sample| sample.processes, CHANCE),
            ("folders of runs", |sample| sample.folders, CHANCE),
        ];
        let rows = values.map(|(name, value, chance)| {
            let (early, late) = (median(&EARLY, value), median(&LATE, value));
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            let grew = late as f64 > early as f64 * GROWTH + chance;
            (name, early, late, grew)
        });
        let done: Value = |sample| sample.done;
        let running: Value = |sample| sample.running;
        let mut rows = rows.to_vec();
        rows.push(("runs at once", median(&EARLY, running), median(&LATE, running), false));
        let done_between = median(&LATE, done).saturating_sub(median(&EARLY, done));
        Self { rows, runs, done: samples.last().map_or(0, |(_, last)| last.done), done_between }
    }

    /// Whether nothing grew, while so many runs were at work as were asked for, and ended.
    fn is_good(&self) -> bool {
        // One that ends leaves its place for an instant.
        let is_busy = |(name, early, late, _): &(&str, u64, u64, bool)| {
            *name != "runs at once" || *early.min(late) >= u64::from(self.runs) * 9 / 10
        };
        self.rows.iter().all(|row| !row.3 && is_busy(row))
            && self.done_between >= u64::from(self.runs)
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| median of | early in the last life | late in it |\n|---|---:|---:|")?;
        for (name, early, late, grew) in &self.rows {
            let grew = if *grew { " grew" } else { "" };
            writeln!(f, "| {name} | {early} | {late} |{grew}")?;
        }
        writeln!(f, "\nRuns that ended between the two: {}.", self.done_between)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten minutes of which each sample has so much more than the one before.
    fn samples(more: Sample) -> Vec<(f64, Sample)> {
        let at = |nth: u64| Sample {
            memory_kib: 60_000 + nth * more.memory_kib,
            files: 270 + nth * more.files,
            threads: 110 + nth * more.threads,
            running: 200 - nth * more.running,
            done: nth * 40,
            ..Sample::default()
        };
        (1..=120).map(|nth| (f64::from(u32::try_from(nth).unwrap()) / 120.0, at(nth))).collect()
    }

    #[test]
    fn what_leaks_is_seen() {
        let good = |more| Compared::of(&samples(more), 200).is_good();
        assert!(good(Sample::default()));
        // Of a life with forty runs between two samples.
        assert!(!good(Sample { memory_kib: 40 * 8, ..Sample::default() }));
        assert!(!good(Sample { files: 40, ..Sample::default() }));
        assert!(!good(Sample { threads: 1, ..Sample::default() }));
        assert!(!good(Sample { running: 1, ..Sample::default() }));
    }
}
