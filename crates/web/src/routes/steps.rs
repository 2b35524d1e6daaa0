//! `/tasks/{task}/diff` and `/restore`: what a task changed, as a whole or by step, and any state on its way.

use std::path::{Path as FilePath, PathBuf};

use axum::Json as Document;
use axum::extract::{Path, State as Extracted};
use journeyman_domain::ids::RunId;
use journeyman_domain::step::Entry;
use journeyman_store::{Step, Store, StoreError, Task};
use journeyman_workspace::{ObjectId, Recorded, StoredSnapshot};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Answer;
use crate::api::{Shared, State};
use crate::extract::{Json, Query};
use crate::problem::Refusal;

#[derive(Deserialize)]
pub(crate) struct Between {
    step: Option<i32>,
    from: Option<i32>,
    attempt: Option<i32>,
}

pub(crate) async fn diff(
    Extracted(shared): State,
    Path(task): Path<String>,
    Query(asked): Query<Between>,
) -> Answer<Value> {
    let store = &shared.runtime.store;
    let task = store.tasks().find(&task).await?;
    let Some(step) = asked.step else {
        if asked.from.is_some() || asked.attempt.is_some() {
            return Err(Refusal::usage("`from` and `attempt` are about a step; name it"));
        }
        let diff = newest_diff(store, &task).await?;
        return Ok(Document(json!({ "diff": String::from_utf8_lossy(&diff) })));
    };
    let journal = History::of(store, &task, asked.attempt).await?;
    // What the step itself did, where nothing else is asked for.
    let from = journal.state(asked.from.unwrap_or_else(|| (step - 1).max(0)))?;
    let to = journal.state(step)?;
    let recorded = journal.rebuild(&shared).await?;
    let diff = recorded.diff(&from, &to).await;
    recorded.remove().await?;
    let (run, diff) = (journal.run.to_string(), diff?);
    Ok(Document(json!({ "run": run, "step": step, "diff": String::from_utf8_lossy(&diff) })))
}

/// Where the files of a step shall be written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    step: i32,
    to: PathBuf,
    attempt: Option<i32>,
}

pub(crate) async fn restore(
    Extracted(shared): State,
    Path(task): Path<String>,
    Json(Wanted { step, to, attempt }): Json<Wanted>,
) -> Answer<Value> {
    let store = &shared.runtime.store;
    let task = store.tasks().find(&task).await?;
    let journal = History::of(store, &task, attempt).await?;
    let commit = journal.state(step)?;
    if !to.is_absolute() {
        return Err(Refusal::usage("`to` is no absolute path"));
    }
    if is_within(&to, &journal.repository).await {
        let text = format!("{} lies in the repository of the task", to.display());
        return Err(Refusal::usage(text).hint("name a new folder elsewhere"));
    }
    let recorded = journal.rebuild(&shared).await?;
    let written = recorded.write(&commit, &to).await;
    recorded.remove().await?;
    let (id, tree) = (task.id.short(), written?.to_string());
    let message = format!("the files of task {id} after step {step} are in {}", to.display());
    let run = journal.run.to_string();
    Ok(Document(json!({ "message": message, "run": run, "step": step, "tree": tree })))
}

/// Whether a path that may not exist yet lies in a folder.
async fn is_within(path: &FilePath, folder: &FilePath) -> bool {
    let Ok(folder) = tokio::fs::canonicalize(folder).await else { return false };
    for ancestor in path.ancestors() {
        if let Ok(found) = tokio::fs::canonicalize(ancestor).await {
            return found.starts_with(&folder);
        }
    }
    false
}

/// The diff that the runtime took when it judged the change last; empty before.
async fn newest_diff(store: &Store, task: &Task) -> Result<Vec<u8>, StoreError> {
    for run in store.runs().of_task(task.id).await?.into_iter().rev() {
        let steps = store.journal().load(run.id).await?;
        if let Some(step) = steps.iter().rfind(|step| step.kind == "verification") {
            return match &step.output_blob {
                Some(blob) => store.journal().blob(blob).await,
                None => Ok(Vec::new()),
            };
        }
    }
    Ok(Vec::new())
}

/// The journal of one attempt at a task, with what its states are made from.
struct History {
    run: RunId,
    repository: PathBuf,
    base: ObjectId,
    steps: Vec<Step>,
}

impl History {
    /// Those of this attempt, else of the newest that has any.
    async fn of(store: &Store, task: &Task, attempt: Option<i32>) -> Result<Self, Refusal> {
        let id = task.id.short();
        let codebase = match task.codebase_id {
            Some(codebase) => store.codebases().get(codebase).await?.local_path,
            None => None,
        };
        let Some(repository) = codebase.map(PathBuf::from) else {
            return Err(Refusal::conflict(format!("the codebase of task {id} has no folder")));
        };
        let runs = store.runs().of_task(task.id).await?;
        let wanted = runs.iter().rev().filter(|run| attempt.is_none_or(|it| run.attempt == it));
        for run in wanted {
            let steps = store.journal().load(run.id).await?;
            let base = steps.iter().find_map(base_of);
            if let Some(base) = base {
                let base = base.parse().map_err(|error| Refusal::internal(&error))?;
                return Ok(Self { run: run.id, repository, base, steps });
            }
        }
        Err(Refusal::conflict(match attempt {
            Some(attempt) => format!("task {id} has no steps of an attempt {attempt}"),
            None => format!("task {id} has no steps yet"),
        }))
    }

    /// The state after a step: the last snapshot up to it; 0 is the base.
    fn state(&self, step: i32) -> Result<ObjectId, Refusal> {
        let last = self.steps.last().map_or(0, |last| last.seq);
        if !(0..=last).contains(&step) {
            return Err(Refusal::usage(format!("there is no step {step}"))
                .hint(format!("its steps are 1 to {last}, and 0 is the base")));
        }
        let mut until = self.steps.iter().rev().filter(|found| found.seq <= step);
        match until.find_map(|found| found.snapshot_tree.as_deref()) {
            Some(commit) => commit.parse().map_err(|error| Refusal::internal(&error)),
            None => Ok(self.base.clone()),
        }
    }

    async fn rebuild(&self, shared: &Shared) -> Result<Recorded, Refusal> {
        let journal = shared.runtime.store.journal();
        let mut snapshots = Vec::new();
        for step in &self.steps {
            let (Some(commit), Some(pack)) = (&step.snapshot_tree, &step.pack_blob) else {
                continue;
            };
            snapshots.push(StoredSnapshot {
                seq: u64::try_from(step.seq).unwrap_or_default(),
                commit: commit.parse().map_err(|error| Refusal::internal(&error))?,
                pack: journal.blob(pack).await?,
            });
        }
        // Beside the runs' folders; what a kill leaves there is removed with what they leave.
        let name = format!("look-{}", uuid::Uuid::now_v7());
        let folder = shared.runtime.settings.runs.join(name);
        let rebuilt =
            Recorded::rebuild(&self.repository, &self.base, self.run, &snapshots, &folder).await;
        if rebuilt.is_err() {
            journeyman_workspace::discard(&folder).await?;
        }
        Ok(rebuilt?)
    }
}

/// What a run started from, where this is its start.
fn base_of(step: &Step) -> Option<String> {
    if step.kind != "started" || step.is_whole == Some(false) {
        return None;
    }
    let entry: Entry = serde_json::from_value(step.payload.clone()).ok()?;
    if let Entry::Started { base_commit, .. } = entry { Some(base_commit) } else { None }
}
