//! What is left of runs after the last life stopped, and what a reader needs to see why something is wrong.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use journeyman_testkit::processes::{self, command_of};
use sqlx::{Connection as _, PgConnection};

use super::FINAL;
use crate::stage::Stage;

/// Lines of the daemons' log that evidence has.
const LOG_LINES: usize = 200;
/// What the environment of a run's processes names it by, and that of what a node started for no run.
const RUN: &str = "JOURNEYMAN_RUN_ID";
const NODE: &str = "JOURNEYMAN_NODE_ID";
/// How long a process may still be there after a life, or, where the runtime lives on, after the end of its run.
const LAST_BREATH: Duration = Duration::from_millis(300);
const SWEPT: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Processes of any run or node, children of the scenario's runs without an end, folders of those of its runs whose task
/// is over, and folders of runs that nobody knows, that are still there after the last life.
pub async fn orphans(stage: &Stage<'_>, database: &mut PgConnection) -> Result<Vec<String>> {
    let left = litter(stage, database).await?.into_iter();
    let mut found: Vec<String> =
        left.map(|folder| format!("folder {}", folder.display())).collect();
    let ids = Ids::read(database).await?;
    found.extend(unknown_folders(stage, &ids));
    // A git of a life that ended just now may be at its last breath.
    let mut alive = alive(stage, &ids, LAST_BREATH).await;
    found.append(&mut alive);
    let open: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM child_processes c JOIN agent_tasks r ON r.id = c.run_id JOIN tasks t ON t.id = r.task_id \
         WHERE t.title LIKE $1 AND c.ended_at IS NULL",
    )
    .bind(format!("{}%", stage.prefix))
    .fetch_one(database)
    .await?;
    if open > 0 {
        found.push(format!("{open} children without an end"));
    }
    Ok(found)
}

/// Processes that the scenario's programs have left behind while the runtime lives on, and nothing runs any more.
pub async fn left_behind(stage: &Stage<'_>, database: &mut PgConnection) -> Result<Vec<String>> {
    let runs = sqlx::query_scalar(
        "SELECT r.id::text FROM agent_tasks r JOIN tasks t ON t.id = r.task_id WHERE t.title LIKE $1",
    )
    .bind(format!("{}%", stage.prefix))
    .fetch_all(database)
    .await?;
    Ok(alive(stage, &Ids { runs, nodes: Vec::new() }, SWEPT).await)
}

/// Whose processes and folders may be there.
struct Ids {
    runs: Vec<String>,
    nodes: Vec<String>,
}

impl Ids {
    /// All of the database.
    async fn read(database: &mut PgConnection) -> Result<Self> {
        let runs = sqlx::query_scalar("SELECT id::text FROM agent_tasks").fetch_all(&mut *database);
        let runs = runs.await?;
        let nodes = sqlx::query_scalar("SELECT id::text FROM runtime_nodes").fetch_all(database);
        Ok(Self { runs, nodes: nodes.await? })
    }
}

/// What is alive for longer than `patience`, each as a sentence; it is ended.
async fn alive(stage: &Stage<'_>, ids: &Ids, patience: Duration) -> Vec<String> {
    let mark = stage.mark();
    let look = || {
        let mut pids = marked(&[(RUN, &ids.runs), (NODE, &ids.nodes)]);
        pids.extend(processes::all().filter(|pid| command_of(*pid).contains(&mark)));
        pids
    };
    let began = Instant::now();
    let mut pids = look();
    while !pids.is_empty() && began.elapsed() < patience {
        tokio::time::sleep(LOOK).await;
        pids = look();
    }
    let mut found = Vec::new();
    for pid in pids {
        found.push(format!("process {pid}: {}", command_of(pid)));
        // Found and told: it need not stay.
        processes::kill(pid);
    }
    found
}

/// Folders of runs in whatever data folder that no run of the database is of.
fn unknown_folders(stage: &Stage<'_>, ids: &Ids) -> Vec<String> {
    let known: HashSet<&str> = ids.runs.iter().map(String::as_str).collect();
    let all = stage.world.all_data().into_iter();
    let all =
        all.flat_map(|data| std::fs::read_dir(data.join("runs")).into_iter().flatten().flatten());
    let is_known = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| known.contains(name));
    all.filter(|entry| !is_known(&entry.file_name()))
        .map(|entry| format!("unknown folder {}", entry.path().display()))
        .collect()
}

/// Folders of those runs of the scenario whose task is over.
pub async fn litter(stage: &Stage<'_>, database: &mut PgConnection) -> Result<Vec<PathBuf>> {
    let over: Vec<String> = sqlx::query_scalar(
        "SELECT r.id::text FROM agent_tasks r JOIN tasks t ON t.id = r.task_id WHERE t.title LIKE $1 \
         AND t.status::text = ANY ($2)",
    )
    .bind(format!("{}%", stage.prefix))
    .bind(FINAL.as_slice())
    .fetch_all(database)
    .await?;
    Ok(folders(stage, &over))
}

/// The folders of these runs that are there, in whatever data folder.
pub(super) fn folders(stage: &Stage<'_>, runs: &[String]) -> Vec<PathBuf> {
    let of_run = |data: &PathBuf| {
        let folders = runs.iter().map(|run| data.join("runs").join(run));
        folders.filter(|folder| folder.exists()).collect::<Vec<_>>()
    };
    stage.world.all_data().iter().flat_map(of_run).collect()
}

/// How tasks that did not end well say so, what their journals hold of it, and the last lines of the daemons' log.
pub async fn evidence(stage: &Stage<'_>) -> Result<Vec<String>> {
    let mut database = PgConnection::connect(&stage.world.url()).await?;
    let mut said: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', t.title, t.id, t.status, t.waiting_for, t.error) FROM tasks t WHERE t.title LIKE $1 \
         AND t.status <> 'completed' UNION ALL \
         SELECT concat_ws(' ', t.title, r.id, s.seq, s.epoch, s.created_at::time, s.kind, left(s.payload::text, 2000)) \
         FROM run_steps s JOIN agent_tasks r ON r.id = s.run_id JOIN tasks t ON t.id = r.task_id \
         WHERE t.title LIKE $1 AND t.status <> 'completed' UNION ALL \
         SELECT concat_ws(' ', t.title, o.kind, o.state, o.attempts, 'next', o.next_attempt_at::time, 'created', \
             o.created_at::time, 'now', now()::time, o.last_error) \
         FROM outbox o JOIN tasks t ON t.id = o.task_id WHERE t.title LIKE $1",
    )
    .bind(format!("{}%", stage.prefix))
    .fetch_all(&mut database)
    .await?;
    if let Ok(log) = std::fs::read_to_string(stage.world.log()) {
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.len().saturating_sub(LOG_LINES);
        said.extend(lines.iter().skip(last).map(|line| (*line).to_owned()));
    }
    Ok(said)
}

/// What is alive of these runs.
pub fn processes_of(runs: &[String]) -> Vec<i32> {
    marked(&[(RUN, runs)])
}

/// Those that have one of these variables in their environment, with one of its values.
fn marked(marks: &[(&str, &[String])]) -> Vec<i32> {
    let marks: HashSet<Vec<u8>> = marks
        .iter()
        .flat_map(|(name, values)| {
            values.iter().map(move |value| format!("{name}={value}").into_bytes())
        })
        .collect();
    processes::marked(|variable| marks.contains(variable)).collect()
}
