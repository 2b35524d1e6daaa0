//! What is left of runs after the last life stopped, and what a reader needs to see why something is wrong.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection};

use super::FINAL;
use crate::stage::Stage;

/// Lines of the daemons' log that evidence has.
const LOG_LINES: usize = 200;
/// What a run's processes have in their environment, before its id.
const MARKER: &[u8] = b"JOURNEYMAN_RUN_ID=";

/// Processes of any run, children of the scenario's runs without an end, and folders of those of its runs whose task is
/// over, that are still there after the last life.
pub async fn orphans(stage: &Stage<'_>) -> Result<Vec<String>> {
    let left = litter(stage).await?.into_iter();
    let mut found: Vec<String> =
        left.map(|folder| format!("folder {}", folder.display())).collect();
    let mut database = PgConnection::connect(&stage.world.url()).await?;
    let runs: Vec<String> =
        sqlx::query_scalar("SELECT id::text FROM agent_tasks").fetch_all(&mut database).await?;
    let mut alive = processes(&runs);
    if !alive.is_empty() {
        // A git of a life that ended just now may be at its last breath.
        tokio::time::sleep(Duration::from_millis(300)).await;
        alive = processes(&runs);
    }
    for pid in alive {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        found.push(format!("process {pid}: {}", command.replace('\0', " ")));
        // Found and told: it need not stay.
        let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
    }
    let open: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM child_processes c JOIN agent_tasks r ON r.id = c.run_id JOIN tasks t ON t.id = r.task_id \
         WHERE t.title LIKE $1 AND c.ended_at IS NULL",
    )
    .bind(format!("{}%", stage.prefix))
    .fetch_one(&mut database)
    .await?;
    if open > 0 {
        found.push(format!("{open} children without an end"));
    }
    Ok(found)
}

/// Folders of those runs of the scenario whose task is over.
pub async fn litter(stage: &Stage<'_>) -> Result<Vec<PathBuf>> {
    let mut database = PgConnection::connect(&stage.world.url()).await?;
    let over: Vec<String> = sqlx::query_scalar(
        "SELECT r.id::text FROM agent_tasks r JOIN tasks t ON t.id = r.task_id WHERE t.title LIKE $1 \
         AND t.status::text = ANY ($2)",
    )
    .bind(format!("{}%", stage.prefix))
    .bind(FINAL.as_slice())
    .fetch_all(&mut database)
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
pub fn processes(runs: &[String]) -> Vec<i32> {
    let runs: HashSet<&[u8]> = runs.iter().map(String::as_bytes).collect();
    let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_of_a_run = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|one| one.strip_prefix(MARKER).is_some_and(|run| runs.contains(run)))
    };
    numbers.filter(is_of_a_run).collect()
}
