//! What is left at the end of a scenario, held against what the contract promises.

mod audit;
mod left;
mod repository;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use journeyman_testkit::forge::Pull;
use journeyman_testkit::git;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};

use crate::stage::Stage;

pub use audit::audit;
pub use left::{evidence, left_behind, litter, orphans, processes_of};
pub use repository::repository;

/// The states that a task stays in.
const FINAL: [&str; 4] = ["completed", "failed", "cancelled", "timeout"];

/// How one task ended, in all that does not differ from run to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEnd {
    /// Its state, and what it waits for.
    pub state: String,
    /// The runtime's judgement.
    pub verified: Option<bool>,
    /// Attempts and runs.
    pub counts: (i32, i64),
    /// The states of its executions, in order.
    pub executions: Vec<String>,
    /// Whether it has an error.
    pub is_failed: bool,
    /// The kinds of its journals' entries, in order, and of calls what was called, how it ended, and whether it changed
    /// anything.
    pub journal: Vec<String>,
    /// What its branch changes, and in how many commits.
    pub branch: Option<(String, String)>,
    /// What its patch file says.
    pub patch: Option<String>,
    /// What was to be sent for it, and how that ended.
    pub effects: Vec<String>,
    /// What the forge and the remote have of its branch.
    pub published: Option<Published>,
    /// Whether the folder of a run of it is there, where it is not over: whoever looks into why may want to see it.
    pub keeps_folder: bool,
}

/// What foreign systems have of a branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its pull requests: what they are to be merged into, and their titles.
    pub pulls: Vec<(String, String)>,
    /// How often it changed on the remote.
    pub changes: usize,
    /// Whether the remote has what the user's repository has.
    pub is_the_same: bool,
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
    executions: Vec<String>,
    runs: i64,
    is_failed: bool,
    verified: Option<bool>,
    branch: Option<String>,
    patch: Option<String>,
    journal: Vec<String>,
    effects: Vec<String>,
    run_ids: Vec<String>,
}

const TASKS: &str = "SELECT t.title, t.id::text AS id, concat_ws(' ', t.status, t.waiting_for) AS state, t.attempts, \
     ARRAY(SELECT e.status::text FROM task_executions e WHERE e.task_id = t.id ORDER BY e.attempt, e.id) AS executions, \
     (SELECT count(*) FROM agent_tasks r WHERE r.task_id = t.id) AS runs, t.error IS NOT NULL AS is_failed, \
     t.verified, t.branch, (SELECT e.result ->> 'patch' FROM task_executions e WHERE e.task_id = t.id \
         ORDER BY e.attempt DESC LIMIT 1) AS patch, \
     ARRAY(SELECT concat_ws(' ', s.kind, s.payload #>> '{call,tool,name}', s.payload ->> 'effect', \
             s.payload #>> '{result,ended,ended}', s.payload #>> '{result,ended,code}', s.payload #>> '{result,changed}') \
         FROM run_steps s JOIN agent_tasks r ON r.id = s.run_id WHERE r.task_id = t.id \
         ORDER BY r.attempt, r.id, s.seq) AS journal, \
     ARRAY(SELECT concat_ws(' ', o.kind, o.state) FROM outbox o WHERE o.task_id = t.id ORDER BY o.kind) AS effects, \
     ARRAY(SELECT r.id::text FROM agent_tasks r WHERE r.task_id = t.id) AS run_ids \
     FROM tasks t WHERE t.title LIKE $1 ORDER BY t.title";

/// How the scenario's tasks ended, and what is there more than once.
pub async fn end_state(
    stage: &Stage<'_>,
    database: &mut PgConnection,
) -> Result<(EndState, Vec<String>)> {
    let rows: Vec<Row> =
        sqlx::query_as(TASKS).bind(format!("{}%", stage.prefix)).fetch_all(database).await?;
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
        let published = match &row.branch {
            Some(branch) => published(stage, branch)?,
            None => None,
        };
        let is_over = FINAL.contains(&row.state.as_str());
        let keeps_folder = !is_over && !left::folders(stage, &row.run_ids).is_empty();
        let patch = row.patch.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        let end = TaskEnd {
            state: row.state,
            verified: row.verified,
            counts: (row.attempts, row.runs),
            executions: row.executions,
            is_failed: row.is_failed,
            journal: row.journal,
            branch: change,
            patch,
            effects: row.effects,
            published,
            keeps_folder,
        };
        if ends.insert(name.clone(), end).is_some() {
            duplicated.push(format!("task {name} ({}) is there twice", row.id));
        }
    }
    for branch in branches.iter().filter(|branch| !known.contains(**branch)) {
        duplicated.push(format!("branch {branch} belongs to no task's end"));
    }
    for (name, published) in
        ends.iter().filter_map(|(name, end)| Some((name, end.published.as_ref()?)))
    {
        let (pulls, changes) = (published.pulls.len(), published.changes);
        if pulls > 1 {
            duplicated.push(format!("{pulls} pull requests of {name}"));
        }
        if changes > 1 {
            duplicated
                .push(format!("the branch of {name} was changed {changes} times on the remote"));
        }
    }
    if let Some((forge, remote)) = &stage.forge {
        let there = git(&remote.bare(), &["for-each-ref", "--format=%(refname:short)"])?;
        for branch in there.lines().filter(|name| *name != "main" && !known.contains(*name)) {
            duplicated.push(format!("branch {branch} of the remote belongs to no task's end"));
        }
        for pull in forge.pulls().iter().filter(|pull| !known.contains(&pull.head)) {
            duplicated.push(format!("a pull request of {} belongs to no task's end", pull.head));
        }
    }
    Ok((ends, duplicated))
}

/// What the forge and the remote have of a branch; none where the scenario has neither.
fn published(stage: &Stage<'_>, branch: &str) -> Result<Option<Published>> {
    let Some((forge, remote)) = &stage.forge else { return Ok(None) };
    let own = git(&stage.repository, &["rev-parse", branch])?;
    let pulls = forge.pulls();
    let of_branch = pulls.iter().filter(|pull| pull.head == branch);
    let said = |pull: &Pull| (pull.base.clone(), pull.title.replace(&stage.prefix, ""));
    Ok(Some(Published {
        pulls: of_branch.map(said).collect(),
        // The remote goes on when a push is killed: who counts may not have come to it yet.
        changes: remote.changes(branch).max(usize::from(remote.branch(branch).is_some())),
        is_the_same: remote.branch(branch) == Some(own),
    }))
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

/// The same, where work itself was hit: what ended as expected has the same result, what did not has ended, and says why;
/// these are so many at the `most`.
pub fn differences_after_a_hit(
    expected: &EndState,
    found: &EndState,
    most: u32,
) -> (Vec<String>, Vec<String>) {
    let (mut lost, mut divergent) = (Vec::new(), Vec::new());
    let mut hit = Vec::new();
    for (name, expected) in expected {
        let Some(found) = found.get(name) else {
            lost.push(format!("task {name} is not there"));
            continue;
        };
        let is_same = found.state == expected.state
            && (&found.branch, &found.patch, &found.published)
                == (&expected.branch, &expected.patch, &expected.published);
        let waits = found.state.starts_with("waiting") || found.state == "cancelled";
        let says_why = found.is_failed && (found.state == "failed" || waits);
        if !(is_same || says_why || found.state == "waiting dependency") {
            divergent.push(format!("task {name}: {found:?} instead of {expected:?}"));
        } else if says_why && !is_same {
            hit.push(name);
        }
    }
    if u32::try_from(hit.len()).is_ok_and(|count| count > most) {
        divergent.push(format!("{hit:?} failed, and only {most} were hit"));
    }
    (lost, divergent)
}
