//! Rows as the documents of the API.

use std::collections::HashMap;

use futures_util::future::try_join_all;
use journeyman_domain::ids::{AgentId, CodebaseId};
use journeyman_domain::status::{Status, WaitingFor};
use journeyman_store::{
    ErrorFilter, Execution, Outgoing, Run, StepPosition, Store, StoreError, Turn, Usage,
};
use journeyman_telemetry::TraceContext;
use serde_json::Value;

use crate::because::{Around, because};
use crate::types::{Delivery, ErrorReport, Task};

/// Failures that a task's document shows at the most.
const ERRORS: u32 = 20;
/// How long a node may be silent until it counts as gone.
const SILENCE: std::time::Duration = std::time::Duration::from_mins(1);

/// What documents call by name and rows by id.
struct Names {
    codebases: HashMap<CodebaseId, (String, Option<String>)>,
    agents: HashMap<AgentId, String>,
}

impl Names {
    async fn load(store: &Store) -> Result<Self, StoreError> {
        let codebases = store.codebases().list().await?.into_iter();
        let agents = store.agents().list().await?.into_iter();
        Ok(Self {
            codebases: codebases.map(|row| (row.id, (row.name, row.local_path))).collect(),
            agents: agents.map(|row| (row.id, row.name)).collect(),
        })
    }
}

/// What a sentence on one task needs beside its row.
pub(crate) struct Surroundings {
    awaited: Vec<journeyman_store::Task>,
    holder: Option<journeyman_store::Task>,
    files: Vec<String>,
    turn: Option<Turn>,
    readiness: Readiness,
}

/// What keeps every ready task from its turn.
#[derive(Clone, Default)]
struct Readiness {
    forsaken: bool,
    idle: Option<String>,
}

impl Surroundings {
    pub(crate) async fn of(
        store: &Store,
        row: &journeyman_store::Task,
    ) -> Result<Self, StoreError> {
        let awaited = if row.waiting_for == Some(WaitingFor::Dependency) {
            store.tasks().awaited(row.id).await?
        } else {
            Vec::new()
        };
        let files = store.tasks().files(row.id).await?;
        let holder = match files.as_ref().and_then(|files| files.waits_for) {
            Some(holder) => store.tasks().get_many(&[holder]).await?.pop(),
            None => None,
        };
        let readiness = Readiness::of(store, std::slice::from_ref(row)).await?;
        let files = files.map_or_else(Vec::new, |files| files.globs);
        let turn = if row.status == Status::Ready {
            Some(store.queue().turn(row.id).await?)
        } else {
            None
        };
        Ok(Self { awaited, holder, files, turn, readiness })
    }

    pub(crate) fn around(&self) -> Around<'_> {
        Around {
            awaited: &self.awaited,
            holder: self.holder.as_ref(),
            turn: self.turn.as_ref(),
            forsaken: self.readiness.forsaken,
            idle: self.readiness.idle.as_deref(),
        }
    }
}

/// Everything about one task.
pub(crate) async fn whole(store: &Store, row: journeyman_store::Task) -> Result<Task, StoreError> {
    let names = Names::load(store).await?;
    let runs = store.runs().of_task(row.id).await?;
    let executions = store.executions().of_task(row.id).await?;
    let filter = ErrorFilter { task: Some(row.id), limit: ERRORS, ..ErrorFilter::default() };
    let (errors, _) = store.errors().list(&filter).await?;
    let known = Surroundings::of(store, &row).await?;
    let mut task = document(&row, &names, &runs, known.around());
    if let Some(last) = executions.last() {
        add_execution(&mut task, last);
    }
    if let Some(run) = runs.last() {
        add_started(&mut task, store, run).await?;
    }
    let used = store.runs().used_by_task(row.id).await?;
    if used.calls > 0 {
        task.tokens = tokens(&used.usage);
        task.cost_usd = used.is_cost_known.then_some(used.usage.cost_usd);
    }
    task.errors = errors.into_iter().rev().map(error_report).collect();
    task.files = known.files;
    let effects = store.outbox().of_task(row.id).await?;
    task.deliveries = effects.into_iter().map(delivery).collect();
    Ok(task)
}

/// The driver and the model that a run chose by itself: its journal begins with them.
async fn add_started(task: &mut Task, store: &Store, run: &Run) -> Result<(), StoreError> {
    let Some(id) = run.task_id else {
        return Ok(());
    };
    let before = StepPosition { run_id: run.id, seq: 0 };
    let first = store.journal().tail(id, Some(before), 1).await?;
    let Some(started) = first.first().map(|step| &step.payload) else {
        return Ok(());
    };
    if let Some(driver) = started["driver"].as_str() {
        task.driver = Some(driver.to_owned());
    }
    let model = &started["assignment"]["model"];
    if let (Some(provider), Some(name)) = (model["provider"].as_str(), model["model"].as_str()) {
        task.model = Some(format!("{provider}/{name}"));
    }
    Ok(())
}

/// All tokens together.
fn tokens(usage: &Usage) -> i64 {
    usage.uncached_input_tokens
        + usage.cache_read_tokens
        + usage.cache_write_tokens
        + usage.output_tokens
}

/// Tasks of a list: without what only the rows of executions and failures know (`patch`,
/// `deliveries`, `verification`, `trace_id`, `errors`).
pub(crate) async fn brief(
    store: &Store,
    rows: &[journeyman_store::Task],
) -> Result<Vec<Task>, StoreError> {
    let names = Names::load(store).await?;
    let Readiness { forsaken, idle } = Readiness::of(store, rows).await?;
    let around = Around { forsaken, idle: idle.as_deref(), ..Around::default() };
    let mut tasks = Vec::with_capacity(rows.len());
    for some in rows.chunks(64) {
        // What was never tried has no run, so a long list of new tasks costs nothing here.
        let runs = try_join_all(some.iter().map(|row| async {
            match row.attempts {
                0 => Ok(Vec::new()),
                _ => store.runs().of_task(row.id).await,
            }
        }));
        let pairs = some.iter().zip(runs.await?);
        tasks.extend(pairs.map(|(row, runs)| document(row, &names, &runs, around)));
    }
    Ok(tasks)
}

impl Readiness {
    /// Looked up only where one of these is ready.
    async fn of(store: &Store, rows: &[journeyman_store::Task]) -> Result<Self, StoreError> {
        if rows.iter().all(|row| row.status != Status::Ready) {
            return Ok(Self::default());
        }
        let live = store.nodes().list_live(SILENCE).await?;
        let idle = live.iter().all(|node| node.idle_because.is_some());
        let because = live.first().and_then(|node| node.idle_because.clone());
        Ok(Self { forsaken: live.is_empty(), idle: because.filter(|_| idle) })
    }
}

fn document(row: &journeyman_store::Task, names: &Names, runs: &[Run], around: Around<'_>) -> Task {
    let last = runs.last();
    let agent = last.map(|run| run.agent_id).or(row.agent_id);
    let codebase = row.codebase_id.and_then(|id| names.codebases.get(&id));
    let priced = runs.iter().any(|run| run.usage.price_version.is_some());
    Task {
        id: row.id.to_string(),
        status: row.status.to_string(),
        waiting_for: row.waiting_for.map(|reason| reason.to_string()),
        because: because(row, around),
        title: row.title.clone(),
        prompt: row.description.clone().unwrap_or_else(|| row.title.clone()),
        codebase: codebase.map(|(name, _)| name.clone()),
        repo: codebase.and_then(|(_, path)| path.clone()),
        agent: agent.and_then(|id| names.agents.get(&id).cloned()),
        driver: last.and_then(|run| run.driver.clone()).or_else(|| row.driver.clone()),
        model: last.and_then(|run| run.model.clone()).or_else(|| row.model.clone()),
        priority: row.priority.to_string(),
        branch: row.branch.clone(),
        base_commit: row.base_commit.clone(),
        head_commit: row.head_commit.clone(),
        patch: None,
        deliveries: Vec::new(),
        done_by_word: row.done_by_word,
        verified: row.verified,
        verification: None,
        attempts: row.attempts,
        cost_usd: priced.then(|| runs.iter().map(|run| run.usage.cost_usd).sum()),
        tokens: runs.iter().map(|run| tokens(&run.usage)).sum(),
        error: row.error.clone(),
        errors: Vec::new(),
        created_at: row.created_at,
        started_at: row.started_at,
        completed_at: row.completed_at,
        wake_at: row.wake_at,
        due: row.due_date,
        parent: row.parent_task_id.map(|id| id.to_string()),
        files: Vec::new(),
        trace_id: None,
    }
}

fn add_execution(task: &mut Task, execution: &Execution) {
    task.verification.clone_from(&execution.verification);
    task.patch = execution.result["patch"].as_str().map(str::to_owned);
    let trace = execution.traceparent.as_deref().and_then(|text| text.parse().ok());
    task.trace_id = trace.map(|context: TraceContext| context.trace_id_hex());
}

fn delivery(row: Outgoing) -> Delivery {
    Delivery {
        kind: row.kind,
        state: row.state.to_string(),
        target: row.target,
        remote_id: row.remote_id,
        attempts: row.attempts,
        last_error: row.last_error,
    }
}

/// A failure without its evidence.
pub(crate) fn error_report(row: journeyman_store::ErrorReport) -> ErrorReport {
    let policy = row.error_context.get("policy").filter(|policy| !policy.is_null());
    ErrorReport {
        id: row.id.to_string(),
        task: row.task_id.map(|id| id.to_string()),
        category: row.category.unwrap_or_else(|| "unknown".to_owned()),
        class: row.error_type.to_string(),
        severity: row.severity.to_string(),
        fingerprint: row.fingerprint.unwrap_or_default(),
        message: row.error_message,
        resolution_status: row.resolution_status,
        policy: policy.cloned(),
        occurred_at: row.occurred_at,
        evidence: None,
    }
}

/// A failure with its evidence.
pub(crate) fn error_report_whole(row: journeyman_store::ErrorReport) -> ErrorReport {
    let evidence: Value = row.error_context.clone();
    ErrorReport { evidence: Some(evidence), ..error_report(row) }
}
