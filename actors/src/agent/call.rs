//! Tool calls: an intent is in the journal when one begins here, its result when it ends.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use journeyman_domain::driver::Observation;
use journeyman_domain::failure;
use journeyman_domain::failure::sentence;
use journeyman_domain::run::Recovery;
use journeyman_domain::status::DriverKind;
use journeyman_domain::step::Entry;
use journeyman_domain::tool::{
    EffectClass, Ended, Exec, Tool, ToolCall, ToolResult, head_and_tail,
};
use journeyman_faults::{around, points};
use journeyman_store::{Acting, NewChild, StoreError, is_transient};
use journeyman_telemetry::{TraceContext, names};
use journeyman_workspace::process::{Exit, ProcessOutcome, ProcessSpec};
use journeyman_workspace::{WorkspaceError, edit};
use tracing::Instrument as _;
use uuid::Uuid;

use super::dependencies;
use super::execute::{RunError, Work};
use super::journal::Beside;
use super::prepare;
use super::scene::{Scene, object};
use crate::support::recordable;

/// Bytes of an output that the journal's entry keeps at each end.
const HEAD_AND_TAIL: usize = 16 * 1024;
/// Bytes of one output that are kept whole.
const OUTPUT_LIMIT: u64 = 16 * 1024 * 1024;

/// Does a call whose intent is journaled, and journals its result.
pub(super) async fn perform(
    work: &mut Work,
    scene: &mut Scene,
    call: ToolCall,
    effect: EffectClass,
) -> Result<(), RunError> {
    work.say(format!("round {}: {}", work.journal.run.round(), call.title));
    let span = tracing::info_span!(
        "execute_tool",
        otel.name = format!("execute_tool {}", call.tool.name()),
        { names::ATTR_OPERATION } = "execute_tool",
        { names::ATTR_TOOL_NAME } = call.tool.name(),
        { names::ATTR_TOOL_CALL } = call.call_id,
        { names::ATTR_TOOL_TYPE } = "function",
        step.seq = work.journal.steps.last().map(|step| step.seq),
        process.exit.code = tracing::field::Empty,
    );
    async {
        let began = Instant::now();
        let done = match execute(work, scene, &call.tool).await {
            Ok(done) => done,
            Err(error) => Done::any(refused(&call.tool, error)?, String::new()),
        };
        let ended = &done.ended;
        if *ended == Ended::Interrupted {
            // The intent stays without a result, and recovery deals with it by its class. What
            // ended by itself just before the stop is settled: its effect is known.
            return Err(RunError::Stopped);
        }
        // Whoever slept past the lease must not look into a folder that may be another's by now.
        // Where the database is away, the journal waits for it. A read looks at nothing afterwards.
        if effect != EffectClass::Read
            && let Ok(false) = work.runtime.store.queue().holds(work.held.fence).await
        {
            return Err(StoreError::Fenced.into());
        }
        if let Ended::Exited { code } = ended {
            tracing::Span::current().record("process.exit.code", *code);
        }
        if work.driver() != DriverKind::Native {
            // What a model tries and misses is its own affair.
            report(work, &call, ended, &done.output).await;
        }
        settle(work, scene, call.call_id, effect, done, began.elapsed()).await
    }
    .instrument(span)
    .await
}

/// Files that are read at once: each may be large.
const READS_AT_ONCE: usize = 4;
/// Between two tries to write down that a child is gone.
const AGAIN: Duration = Duration::from_millis(500);

/// Does calls that all only read at once. Their intents and their results are journaled in order.
pub(super) async fn perform_reads(
    work: &mut Work,
    scene: &mut Scene,
    calls: Vec<ToolCall>,
) -> Result<(), RunError> {
    for call in &calls {
        let entry = Entry::ToolIntent { call: call.clone(), effect: EffectClass::Read };
        work.journal.defer(entry)?;
    }
    work.say(format!("round {}: {} reads", work.journal.run.round(), calls.len()));
    let began = Instant::now();
    let mut reading = Vec::new();
    for call in &calls {
        let (tree, tool) = (scene.workspace.tree(), call.tool.clone());
        reading.push(blocking(move || viewed(&tree, &tool)));
    }
    let read: Vec<_> = stream::iter(reading).buffered(READS_AT_ONCE).collect().await;
    for (call, read) in calls.into_iter().zip(read) {
        let done = match read {
            Ok(output) => Done::of(output, Vec::new()),
            Err(error) => Done::any(refused(&call.tool, error)?, String::new()),
        };
        settle(work, scene, call.call_id, EffectClass::Read, done, began.elapsed()).await?;
    }
    Ok(())
}

/// What a call that only reads gives.
fn viewed(tree: &std::path::Path, tool: &Tool) -> Result<String, WorkspaceError> {
    match tool {
        Tool::View { path, offset, limit } => edit::view(tree, path, *offset, *limit),
        Tool::Read { path } => {
            let (bytes, _) = edit::read(tree, path, OUTPUT_LIMIT)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Tool::Exec(_)
        | Tool::Edit { .. }
        | Tool::Restore { .. }
        | Tool::Replace { .. }
        | Tool::Write { .. }
        | Tool::Patch { .. } => Err(WorkspaceError::Edit {
            path: String::new(),
            reason: format!("{} does more than read", tool.name()),
        }),
    }
}

/// What the caller did wrong is the call's result; anything else is the run's affair.
fn refused(tool: &Tool, error: RunError) -> Result<Ended, RunError> {
    let is_of_files = !matches!(tool, Tool::Exec(_) | Tool::Restore { .. });
    match error {
        RunError::Workspace(
            error @ (WorkspaceError::Edit { .. } | WorkspaceError::OutsideWorkspace(_)),
        ) => Ok(Ended::Refused { reason: error.to_string() }),
        RunError::Workspace(error) if is_of_files && error.is_of_the_path() => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            Ok(Ended::Refused { reason: format!("{error}{cause}") })
        }
        RunError::Workspace(_)
        | RunError::Store(_)
        | RunError::Refused(_)
        | RunError::Task(_)
        | RunError::Damaged(_)
        | RunError::Stopped => Err(error),
    }
}

/// Has a failed call classified. Its policy is the run's affair only where nothing is mended in the
/// end; the driver is told of the failure by the result itself.
async fn report(work: &Work, call: &ToolCall, ended: &Ended, output: &str) {
    let Some(evidence) = failure::call_evidence(call, ended, &recordable(output)) else { return };
    if let Err(error) = work.judged(evidence).await {
        tracing::debug!(error = %sentence(&error), "a failed call was not classified");
    }
}

/// Deals with a call that has an intent and no result.
pub(super) async fn recover(
    work: &mut Work,
    scene: &mut Scene,
    call: ToolCall,
    recovery: Recovery,
) -> Result<(), RunError> {
    match recovery {
        Recovery::RunAgain => perform(work, scene, call, EffectClass::Read).await,
        // Setting the scene has put the last snapshot back already.
        Recovery::RestoreAndRunAgain => perform(work, scene, call, EffectClass::Workspace).await,
        Recovery::ReportInterrupted => {
            let effect = EffectClass::Open;
            let changed = changed_paths(scene).await?;
            let inside = if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") };
            let output = format!(
                "interrupted: the runtime stopped while this ran, and what it did outside the \
                 workspace is unknown; in the workspace it changed: {inside}"
            );
            let done = Done::any(Ended::Interrupted, output);
            settle(work, scene, call.call_id, effect, done, Duration::ZERO).await
        }
    }
}

/// What differs between the last snapshot and the files as they are.
async fn changed_paths(scene: &Scene) -> Result<Vec<String>, RunError> {
    let now = journeyman_workspace::take(&scene.workspace, 0, &scene.current).await?;
    let (from, to) = (&scene.current.commit, &now.commit);
    let changed = journeyman_workspace::changed_paths(&scene.workspace, from, to).await?;
    Ok(changed.iter().map(|change| change.path.display().to_string()).take(50).collect())
}

async fn settle(
    work: &mut Work,
    scene: &mut Scene,
    call_id: String,
    effect: EffectClass,
    done: Done,
    took: Duration,
) -> Result<(), RunError> {
    let Done { ended, output, touched } = done;
    let mut beside = Beside::default();
    let mut changed = false;
    if effect != EffectClass::Read {
        let next = work.journal.steps.last().map_or(1, |last| last.seq + 1);
        let seq = u64::try_from(next).unwrap_or_default();
        let (workspace, current) = (&scene.workspace, &scene.current);
        let taken = async {
            match &touched {
                Some(touched) => {
                    journeyman_workspace::take_touched(workspace, seq, current, touched).await
                }
                None => journeyman_workspace::take(workspace, seq, current).await,
            }
        };
        let snapshot = around(points::SNAPSHOT, taken).await?;
        changed = snapshot.changed;
        if changed {
            beside.snapshot = Some(snapshot.commit.to_string());
            beside.pack = Some(snapshot.pack.clone());
        }
        scene.current = snapshot;
    }
    let output = recordable(&output);
    let (head, tail) = head_and_tail(&output, HEAD_AND_TAIL);
    let result = ToolResult {
        call_id,
        ended,
        head,
        tail,
        output_bytes: output.len() as u64,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        changed,
    };
    if result.tail.is_some() {
        beside.output = Some(output.clone().into_bytes());
    }
    let entry = Entry::ToolResult { result: result.clone() };
    if effect == EffectClass::Read && beside.output.is_none() {
        work.journal.defer(entry)?;
    } else {
        work.journal.append_with(entry, beside).await?;
    }
    scene.driver.observe(Observation::CallEnded { result, output });
    Ok(())
}

async fn execute(work: &Work, scene: &mut Scene, tool: &Tool) -> Result<Done, RunError> {
    match tool {
        Tool::Exec(exec) => {
            let mut policy =
                scene.workspace.policy(work.runtime.settings.sandbox.namespaces, exec.network);
            policy.readable.extend(scene.prepared.iter().map(|(_, source)| source.clone()));
            let (ended, output) = run(work, exec, policy, call_limit(work, scene, exec)).await?;
            Ok(Done::any(ended, output))
        }
        Tool::Edit { edits } => {
            let (tree, edits) = (scene.workspace.tree(), edits.clone());
            Ok(Done::told(changing(move || edit::apply(&tree, &edits)).await?))
        }
        Tool::Read { .. } | Tool::View { .. } => {
            let (tree, tool) = (scene.workspace.tree(), tool.clone());
            Ok(Done::of(blocking(move || viewed(&tree, &tool)).await?, Vec::new()))
        }
        Tool::Replace { path, old, new, all } => {
            let tree = scene.workspace.tree();
            let (path, old, new, all) = (path.clone(), old.clone(), new.clone(), *all);
            let changed = move || edit::replace(&tree, &path, &old, &new, all);
            Ok(Done::told(changing(changed).await?))
        }
        Tool::Write { path, content } => {
            let (tree, path, content) = (scene.workspace.tree(), path.clone(), content.clone());
            Ok(Done::told(changing(move || edit::write(&tree, &path, &content)).await?))
        }
        Tool::Patch { patch } => {
            let (tree, patch) = (scene.workspace.tree(), patch.clone());
            Ok(Done::told(changing(move || edit::patch(&tree, &patch)).await?))
        }
        Tool::Restore { after_call } => {
            let commit = match after_call {
                None => scene.workspace.base().commit,
                Some(call) => match work.journal.snapshot(Some(call)) {
                    Some(step) => object(step.snapshot.as_deref().unwrap_or_default())?,
                    None => scene.workspace.base().commit,
                },
            };
            let caches = scene.caches();
            let restored = journeyman_workspace::restore(&scene.workspace, &commit, &caches);
            around(points::RESTORE, restored).await?;
            dependencies::link(&scene.workspace.tree(), &scene.prepared).await;
            Ok(Done::any(Ended::Exited { code: 0 }, format!("restored {commit}")))
        }
    }
}

/// How a call ended.
struct Done {
    ended: Ended,
    output: String,
    /// The only files that it can have changed, relative to the workspace; none where it may be any.
    touched: Option<Vec<PathBuf>>,
}

impl Done {
    fn any(ended: Ended, output: String) -> Self {
        Self { ended, output, touched: None }
    }

    fn of(output: String, touched: Vec<PathBuf>) -> Self {
        Self { ended: Ended::Exited { code: 0 }, output, touched: Some(touched) }
    }

    /// Says which files were changed.
    fn told(touched: Vec<PathBuf>) -> Self {
        let names: Vec<_> = touched.iter().map(|path| path.display().to_string()).collect();
        let output = if names.is_empty() {
            "nothing changed: it stands there already".to_owned()
        } else {
            format!("changed {}", names.join(", "))
        };
        Self::of(output, touched)
    }
}

/// Milliseconds that a call may take: never more than what is left of the run's time. An agent's own
/// program is the whole of its round, so only the run's time limits it.
fn call_limit(work: &Work, scene: &Scene, exec: &Exec) -> u64 {
    let left = scene.limits.wall_time_ms.saturating_sub(work.journal.elapsed_ms()).max(1);
    let usual = match work.driver() {
        DriverKind::Command => left,
        DriverKind::Mechanic | DriverKind::Native | DriverKind::None => {
            scene.limits.call_timeout_ms
        }
    };
    exec.timeout_ms.unwrap_or(usual).min(left)
}

async fn changing<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, RunError> {
    around(points::EDIT, blocking(work)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, RunError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(RunError::Task(format!("the work was interrupted: {error}"))),
    }
}

/// Runs a program in the sandbox, with its row in `child_processes`.
pub(super) async fn run(
    work: &Work,
    exec: &Exec,
    mut policy: journeyman_workspace::Policy,
    timeout_ms: u64,
) -> Result<(Ended, String), RunError> {
    let settings = &work.runtime.settings;
    policy.hidden.extend(settings.sandbox.hidden.iter().cloned());
    let mut environment: BTreeMap<OsString, OsString> = settings
        .environment
        .iter()
        .chain(&exec.env)
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    environment.entry("CI".into()).or_insert_with(|| "true".into());
    // Compiled files beside the sources would be litter in every checkout.
    environment.entry("PYTHONDONTWRITEBYTECODE".into()).or_insert_with(|| "1".into());
    // Go builds nothing without a cache that it can write, and the user's is not for agents.
    let temporary = policy.temporary.clone().filter(|_| !policy.namespaces);
    let temporary = temporary.unwrap_or_else(|| "/tmp".into());
    environment.entry("GOCACHE".into()).or_insert_with(|| temporary.join("go-build").into());
    let argv: Vec<OsString> = exec.argv.iter().map(OsString::from).collect();
    let mut spec = ProcessSpec::new(argv, policy, prepare::owner(&work.held));
    spec.env = environment;
    spec.timeout = Duration::from_millis(timeout_ms);
    spec.output_limit = OUTPUT_LIMIT;
    spec.head_and_tail = usize::try_from(OUTPUT_LIMIT).unwrap_or(usize::MAX) / 2;
    spec.traceparent = TraceContext::current().map(|context| context.to_string());
    let running = around(points::SPAWN, work.runtime.runner.start(spec)).await?;
    let identity = running.identity();
    let (children, acting) = (work.runtime.store.children(), Acting::now("run"));
    let child = NewChild {
        id: Uuid::now_v7(),
        fence: work.held.fence,
        run_id: work.held.run.id,
        pid: u32::try_from(identity.pid).unwrap_or_default(),
        start_time: identity.start_time,
        argv_head: exec.argv.first().map_or("", String::as_str),
    };
    // Without its row the child is still found by its marker: the work does not fail for it. The row may be there all
    // the same.
    if let Err(error @ StoreError::Fenced) = children.started(&acting, &child).await {
        // The lease is lost: dropping the program kills it.
        return Err(error.into());
    }
    let outcome = around(points::RUN, running.wait(&work.stop, |_| {})).await?;
    record_end(work, child.id).await;
    Ok(described(outcome, timeout_ms))
}

/// Writes down that a child is gone, as soon as the database is there. Whoever is stopped leaves it to the next start.
async fn record_end(work: &Work, row: Uuid) {
    let (children, acting) = (work.runtime.store.children(), Acting::now("run"));
    while let Err(error) = children.ended(&acting, row).await {
        tracing::debug!(error = %sentence(&error), "the end of a child was not recorded");
        if !is_transient(&error) || work.stop.is_cancelled() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = work.stop.cancelled() => {}
        }
    }
}

fn described(outcome: ProcessOutcome, timeout_ms: u64) -> (Ended, String) {
    let mut output = outcome.output.head;
    if let Some(tail) = outcome.output.tail {
        output.push_str("\n… cut …\n");
        output.push_str(&tail);
    }
    let ended = match outcome.exit {
        Exit::Code(code) => Ended::Exited { code },
        Exit::Signal(signal) => Ended::Signalled { signal },
        Exit::TimedOut | Exit::Idle => Ended::TimedOut { after_ms: timeout_ms },
        Exit::Flooded => {
            Ended::Refused { reason: format!("it printed more than {OUTPUT_LIMIT} bytes") }
        }
        Exit::Cancelled => Ended::Interrupted,
        Exit::NotLaunched => {
            Ended::Refused { reason: format!("the sandbox could not be made: {}", output.trim()) }
        }
    };
    (ended, output)
}
