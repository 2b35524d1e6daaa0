//! What is left at the end of a scenario, held against what the contract promises.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use journeyman_store::{PoolOptions, Store};
use journeyman_testkit::git;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, FromRow, PgConnection};

use crate::stage::Stage;

/// Lines of the daemons' log that evidence has.
const LOG_LINES: usize = 200;

/// How one task ended, in all that does not differ from run to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEnd {
    /// Its state, and what it waits for.
    pub state: String,
    /// The runtime's judgement.
    pub verified: Option<bool>,
    /// Attempts, executions and runs.
    pub counts: (i32, i64, i64),
    /// Whether it has an error.
    pub is_failed: bool,
    /// The kinds of its journals' entries, in order.
    pub journal: Vec<String>,
    /// What its branch changes, and in how many commits.
    pub branch: Option<(String, String)>,
    /// What its patch file says.
    pub patch: Option<String>,
    /// What was to be sent for it, and how that ended.
    pub effects: Vec<String>,
}

/// How all tasks of a scenario ended, by their names.
pub type EndState = BTreeMap<String, TaskEnd>;

/// What is wrong at the end of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// What did not come to an end, or is not there.
    pub lost: Vec<String>,
    /// What was done more than once.
    pub duplicated: Vec<String>,
    /// What ended otherwise than undisturbed.
    pub divergent: Vec<String>,
    /// Processes and folders that are still there.
    pub orphans: Vec<String>,
    /// Answers of a model that were journaled, and asked for again.
    pub repeated: Vec<String>,
    /// What the audit does not hold.
    pub audit: Vec<String>,
}

impl Findings {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(FromRow)]
struct Row {
    title: String,
    id: String,
    state: String,
    attempts: i32,
    executions: i64,
    runs: i64,
    is_failed: bool,
    verified: Option<bool>,
    branch: Option<String>,
    patch: Option<String>,
    journal: Vec<String>,
    effects: Vec<String>,
}

const TASKS: &str = "SELECT t.title, t.id::text AS id, concat_ws(' ', t.status, t.waiting_for) AS state, t.attempts, \
     (SELECT count(*) FROM task_executions e WHERE e.task_id = t.id) AS executions, \
     (SELECT count(*) FROM agent_tasks r WHERE r.task_id = t.id) AS runs, t.error IS NOT NULL AS is_failed, \
     t.verified, t.branch, (SELECT e.result ->> 'patch' FROM task_executions e WHERE e.task_id = t.id \
         ORDER BY e.attempt DESC LIMIT 1) AS patch, \
     ARRAY(SELECT s.kind FROM run_steps s JOIN agent_tasks r ON r.id = s.run_id WHERE r.task_id = t.id \
         ORDER BY r.attempt, r.id, s.seq) AS journal, \
     ARRAY(SELECT concat_ws(' ', o.kind, o.state) FROM outbox o WHERE o.task_id = t.id ORDER BY o.kind) AS effects \
     FROM tasks t WHERE t.title LIKE $1 ORDER BY t.title";

/// How the scenario's tasks ended, and what is there more than once.
pub async fn end_state(stage: &Stage<'_>) -> Result<(EndState, Vec<String>)> {
    let mut database = PgConnection::connect(&stage.world.url()).await?;
    let rows: Vec<Row> =
        sqlx::query_as(TASKS).bind(format!("{}%", stage.prefix)).fetch_all(&mut database).await?;
    let branches =
        git(&stage.repository, &["for-each-ref", "--format=%(refname:short)", "refs/heads"])?;
    let branches: BTreeSet<&str> = branches.lines().filter(|name| *name != "main").collect();
    let mut duplicated = Vec::new();
    let mut known = BTreeSet::new();
    let mut ends = EndState::new();
    for row in rows {
        let name = row.title.trim_start_matches(&stage.prefix).to_owned();
        let mut change = None;
        if let Some(branch) = &row.branch {
            known.insert(branch.clone());
            let range = format!("main..{branch}");
            let diff = git(&stage.repository, &["diff", &range])?;
            change = Some((diff, git(&stage.repository, &["rev-list", "--count", &range])?));
        }
        let patch = row.patch.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        let end = TaskEnd {
            state: row.state,
            verified: row.verified,
            counts: (row.attempts, row.executions, row.runs),
            is_failed: row.is_failed,
            journal: row.journal,
            branch: change,
            patch,
            effects: row.effects,
        };
        if ends.insert(name.clone(), end).is_some() {
            duplicated.push(format!("task {name} ({}) is there twice", row.id));
        }
    }
    for branch in branches.iter().filter(|branch| !known.contains(**branch)) {
        duplicated.push(format!("branch {branch} belongs to no task's end"));
    }
    if let Some((forge, remote)) = &stage.forge {
        let pulls = forge.pulls();
        for branch in &known {
            let of_branch = pulls.iter().filter(|pull| pull.head == *branch).count();
            if of_branch > 1 {
                duplicated.push(format!("{of_branch} pull requests of {branch}"));
            }
            let changes = remote.changes(branch);
            if changes > 1 {
                duplicated.push(format!("{branch} was changed {changes} times on the remote"));
            }
        }
    }
    Ok((ends, duplicated))
}

/// What differs between two ends.
pub fn differences(expected: &EndState, found: &EndState) -> (Vec<String>, Vec<String>) {
    let (mut lost, mut divergent) = (Vec::new(), Vec::new());
    for (name, expected) in expected {
        match found.get(name) {
            None => lost.push(format!("task {name} is not there")),
            Some(found) if found != expected => {
                divergent.push(format!("task {name}: {found:?} instead of {expected:?}"));
            }
            Some(_) => {}
        }
    }
    for name in found.keys().filter(|name| !expected.contains_key(*name)) {
        divergent.push(format!("task {name} should not be there"));
    }
    (lost, divergent)
}

/// The same, where work itself was hit: what ended as expected has the same result, what did not has ended, and says why.
pub fn differences_after_a_hit(
    expected: &EndState,
    found: &EndState,
) -> (Vec<String>, Vec<String>) {
    let (mut lost, mut divergent) = (Vec::new(), Vec::new());
    for (name, expected) in expected {
        let Some(found) = found.get(name) else {
            lost.push(format!("task {name} is not there"));
            continue;
        };
        let is_same = found.state == expected.state
            && (&found.branch, &found.patch) == (&expected.branch, &expected.patch);
        let waits = found.state.starts_with("waiting") || found.state == "cancelled";
        let says_why = found.is_failed && (found.state == "failed" || waits);
        if !(is_same || says_why || found.state == "waiting dependency") {
            divergent.push(format!("task {name}: {found:?} instead of {expected:?}"));
        }
    }
    (lost, divergent)
}

/// Processes of the scenario's runs, and folders of runs, that are still there after the last life.
pub async fn orphans(stage: &Stage<'_>) -> Result<Vec<String>> {
    let mut database = PgConnection::connect(&stage.world.url()).await?;
    let query = sqlx::query_scalar(
        "SELECT r.id::text FROM agent_tasks r JOIN tasks t ON t.id = r.task_id WHERE t.title LIKE $1 \
         AND t.status IN ('completed', 'failed', 'cancelled', 'timeout')",
    );
    let runs: Vec<String> =
        query.bind(format!("{}%", stage.prefix)).fetch_all(&mut database).await?;
    let mut found = Vec::new();
    for run in &runs {
        let folder = stage.world.data().join("runs").join(run);
        if folder.exists() {
            found.push(format!("folder of run {run}"));
        }
    }
    let mut alive = processes(&runs);
    if !alive.is_empty() {
        // A git of a life that ended just now may be at its last breath.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        alive = processes(&runs);
    }
    for pid in alive {
        found.push(format!("process {pid}"));
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

/// How tasks that did not end well say so, what their journals hold of it, and the last lines of the daemons' log.
pub async fn evidence(stage: &Stage<'_>) -> Result<Vec<String>> {
    let mut database = PgConnection::connect(&stage.world.url()).await?;
    let mut said: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', t.title, t.id, t.status, t.waiting_for, t.error) FROM tasks t WHERE t.title LIKE $1 \
         AND t.status <> 'completed' UNION ALL \
         SELECT concat_ws(' ', t.title, r.id, s.seq, s.epoch, s.created_at::time, s.kind, left(s.payload::text, 2000)) \
         FROM run_steps s JOIN agent_tasks r ON r.id = s.run_id JOIN tasks t ON t.id = r.task_id \
         WHERE t.title LIKE $1 AND t.status <> 'completed'",
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
    let markers: Vec<String> = runs.iter().map(|run| format!("JOURNEYMAN_RUN_ID={run}")).collect();
    let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_of_a_run = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| {
            std::str::from_utf8(one).is_ok_and(|one| markers.iter().any(|marker| marker == one))
        })
    };
    numbers.filter(is_of_a_run).collect()
}

/// What the audit does not hold: its chains do not verify, or a change of a task is missing in it.
pub async fn audit(stage: &Stage<'_>) -> Result<Vec<String>> {
    let store =
        Store::connect(&stage.world.url(), PoolOptions { max: 2, ..PoolOptions::default() })
            .await?;
    let mut found = Vec::new();
    let report = store.audit().verify().await?;
    if !report.ok {
        found.push(format!("the chain does not hold: {report:?}"));
    }
    store.close().await;
    let mut database = PgConnection::connect(&stage.world.url()).await?;
    // What a row says now must be what the audit says last of it; batches have events of their own.
    let unsaid: Vec<String> = sqlx::query_scalar(
        "SELECT t.title FROM tasks t WHERE t.title LIKE $1 AND t.driver IS DISTINCT FROM 'none' AND t.status::text <> \
         coalesce((SELECT a.new_values ->> 'status' FROM audit_log a WHERE a.table_name = 'tasks' \
             AND a.record_id = t.id AND a.new_values ? 'status' ORDER BY a.id DESC LIMIT 1), '')",
    )
    .bind(format!("{}%", stage.prefix))
    .fetch_all(&mut database)
    .await?;
    found.extend(unsaid.into_iter().map(|title| format!("the audit does not say how {title} is")));
    Ok(found)
}
