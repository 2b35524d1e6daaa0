//! Before a run acts: what an earlier life left is ended, the workspace stands, the checks are
//! known.

use std::path::{Path, PathBuf};

use journeyman_domain::check::discover::{self, RepositoryFiles};
use journeyman_domain::check::{CheckPlan, Prepare};
use journeyman_domain::driver::Assignment;
use journeyman_domain::limits::Limits;
use journeyman_domain::model::{ModelSettings, nanousd};
use journeyman_domain::run::Aside;
use journeyman_domain::status::DriverKind;
use journeyman_domain::step::Entry;
use journeyman_faults::{Mechanism, around, is_out, points};
use journeyman_store::{Acting, Child};
use journeyman_telemetry::names;
use journeyman_workspace::reap::{self, ChildIdentity, Owner};
use journeyman_workspace::{ObjectId, Workspace};
use tracing::Instrument as _;

use super::ask::now_ms;
use super::claimed::Claimed;
use super::execute::{RunError, Work};
use super::scene::Scene;
use super::{deliver, dependencies, guides};
use crate::context::Runtime;
use crate::repository::Repository;
use crate::support::recordable;

/// Files that a driver is told of at the most.
const FILES: usize = 20_000;
/// Bytes of a manifest that are read.
const MANIFEST_BYTES: usize = 1024 * 1024;

/// Ends the processes that earlier lives of this execution have left.
pub(super) async fn reap(runtime: &Runtime, held: &Claimed) -> Result<(), RunError> {
    if is_out(Mechanism::Reaping) {
        return Ok(());
    }
    let (store, fence) = (&runtime.store, held.fence);
    // Nothing of our own, nor of whoever has the run by now, if our lease is lost.
    let owner = owner(held).earlier();
    let rows = store.children().live_of(fence.execution_id, fence.lease_epoch).await?;
    // Those of another machine, or of another boot of this one, are nobody here.
    let here = |row: &&Child| row.boot_id == runtime.settings.boot_id;
    let left: Vec<_> = rows.iter().filter(here).map(|row| identity(row, owner)).collect();
    // A child that was started in the last moment has no row; its marker finds it.
    around(points::REAP, reap::reap(&left, &[owner])).await?;
    for row in rows.iter().filter(here) {
        store.children().ended(&Acting::now("run"), row.id).await?;
    }
    Ok(())
}

/// Whose the processes are that are started for a claimed run.
pub(super) const fn owner(held: &Claimed) -> Owner {
    Owner { run: held.run.id, epoch: held.fence.lease_epoch }
}

fn identity(row: &Child, owner: Owner) -> ChildIdentity {
    let start_time = u64::try_from(row.start_time).unwrap_or_default();
    ChildIdentity { pid: row.pid, start_time, owner }
}

/// The run's workspace, made where it does not stand.
pub(super) async fn workspace(work: &Work, base: &ObjectId) -> Result<Workspace, RunError> {
    let folder = work.folder();
    let repository = repository(work)?;
    let span = tracing::info_span!("prepare_workspace", otel.name = names::SPAN_PREPARE_WORKSPACE);
    let made = journeyman_workspace::create(&repository, base, owner(&work.held), &folder);
    Ok(around(points::CLONE, made.instrument(span)).await?)
}

/// The user's repository.
pub(super) fn repository(work: &Work) -> Result<PathBuf, RunError> {
    let path = work.held.codebase.as_ref().and_then(|codebase| codebase.local_path.clone());
    path.map(PathBuf::from)
        .ok_or_else(|| RunError::Task("the task's codebase has no folder any more".to_owned()))
}

/// Sets the scene of a run that has not begun, and journals `Started`.
pub(super) async fn first(work: &mut Work) -> Result<Scene, RunError> {
    work.say("preparing the workspace");
    let path = repository(work)?;
    let base = match deliver::earlier(work).await? {
        Some(earlier) => earlier.base,
        None => base(work, &path).await?,
    };
    let (files, uncommitted) = tokio::try_join!(
        journeyman_workspace::files(&path, &base, FILES),
        journeyman_workspace::uncommitted(&path),
    )?;
    let (own, plan) = plan(work, &path, &base, &files).await?;
    let limits = limits(work, &own);
    let driver = work.held.driver(&work.runtime.models);
    let native = driver == DriverKind::Native;
    let model = if native { Some(model(work)?) } else { None };
    let assignment = Assignment {
        // A secret that the user wrote down is no word for a model.
        prompt: recordable(&work.held.run.prompt),
        checks: plan.checks.clone(),
        command: work.held.command(),
        workspace: journeyman_workspace::tree_in(&work.folder()).await?.display().to_string(),
        // The repository speaks for its checks only.
        network: work.held.agent.configuration["network"] == true,
        instructions: if native { instructions(work) } else { String::new() },
        guides: if native { guides::of(&path, &base, &files).await? } else { Vec::new() },
        files,
        model,
    };
    if driver == DriverKind::Command && assignment.command.is_empty() {
        return Err(RunError::Task(
            "the driver 'command' needs a program; give one with --command".to_owned(),
        ));
    }
    let entry = Entry::Started {
        driver,
        assignment: Box::new(assignment.clone()),
        plan: plan.clone(),
        limits: limits.clone(),
        base_commit: base.to_string(),
        confined: work.runtime.settings.sandbox.namespaces,
        forbidden: own.forbidden,
        uncommitted,
    };
    work.journal.append(entry).await?;
    // A clone or a fetch may take minutes: whoever goes on then knows base and plan.
    let workspace = workspace(work, &base).await?;
    let prepared = dependencies::dependencies(work, &workspace, &plan).await?;
    let current = workspace.base();
    let model = assignment.model.clone();
    let driver = journeyman_drivers::build(driver, assignment, &limits);
    let mut scene = Scene { workspace, driver, model, plan, limits, current, prepared };
    deliver::adopt(work, &mut scene).await?;
    Ok(scene)
}

/// The model of a run that needs one.
fn model(work: &Work) -> Result<ModelSettings, RunError> {
    let models = &work.runtime.models;
    let Some(wanted) = work.held.model(models) else {
        return Err(RunError::Task(
            "the driver 'native' needs a model; give one with --model, or set model.default"
                .to_owned(),
        ));
    };
    models.resolve(wanted).map_err(RunError::Task)
}

/// The system prompt of the agent's role: the user's own, else the shipped one.
fn instructions(work: &Work) -> String {
    let role = work.held.agent.agent_type.as_str();
    let own = &work.runtime.settings.prompts;
    let own = own.get(role).or_else(|| own.get("default"));
    recordable(own.map_or_else(|| journeyman_drivers::prompt(role), String::as_str))
}

/// The limits with which a run that was put aside goes on; `None` where it still waits.
pub(super) fn goes_on(work: &Work, aside: &Aside) -> Option<Limits> {
    let (task, settings) = (&work.held.task, &work.runtime.settings.limits);
    // Their word is about what they saw: not about a limit that was reached after it.
    let put_aside_at = work.journal.steps.last().and_then(|step| step.written_at);
    let user_said = put_aside_at.is_some_and(|at| task.resumed_at.is_some_and(|said| said > at));
    let mut limits = own_limits(
        work,
        Limits {
            steps: settings.steps,
            output_bytes: settings.output_bytes,
            tokens: settings.tokens,
            ..work.journal.run.limits()?.clone()
        },
    );
    if task.budget_usd.is_none() {
        limits.cost_nanousd = settings.cost_nanousd;
    }
    if user_said && let Some(hit) = aside.hit {
        limits = limits.with_another_portion(hit, settings);
    }
    let now_ms = now_ms();
    let put_aside_ms = put_aside_at.and_then(|at| u64::try_from(at.timestamp_millis()).ok());
    let has_jumped = put_aside_ms.is_some_and(|at_ms| aside.is_of_another_clock(at_ms, now_ms));
    if has_jumped {
        let run = work.held.run.id;
        tracing::warn!(run.id = %run, "the clock is before the time at which a run was put aside; it goes on");
    }
    (has_jumped || aside.is_over(now_ms, &limits, user_said)).then_some(limits)
}

/// The limits of a run that has begun, where the user has given its task others meanwhile.
pub(super) fn other_limits(work: &Work) -> Option<Limits> {
    let run = &work.journal.run;
    // An open request is sent again as it was, so that it is the same one.
    let current = run.limits().filter(|_| run.open_request().is_none())?;
    let limits = own_limits(work, current.clone());
    (limits != *current).then_some(limits)
}

/// The limits, with what the task says of its own instead.
pub(super) fn own_limits(work: &Work, mut limits: Limits) -> Limits {
    let task = &work.held.task;
    if let Some(seconds) = task.time_limit_s {
        limits.wall_time_ms = u64::try_from(seconds).unwrap_or(1).saturating_mul(1000);
    }
    if let Some(budget) = task.budget_usd {
        limits.cost_nanousd = Some(nanousd(budget));
        // Who asks no model spends nothing, and may act though all is spent.
        if work.held.driver(&work.runtime.models) == DriverKind::Native {
            limits.earlier_nanousd = work.held.earlier_nanousd;
        }
    }
    limits
}

/// The commit that the work starts from.
async fn base(work: &Work, repository: &Path) -> Result<ObjectId, RunError> {
    let task = &work.held.task;
    let revision = task.base_commit.as_deref().or(task.base_ref.as_deref());
    match journeyman_workspace::resolve(repository, revision.unwrap_or("HEAD")).await {
        Ok(base) => Ok(base),
        Err(error) => {
            // It may be more than the revision that is gone.
            journeyman_workspace::inspect(repository).await?;
            Err(error.into())
        }
    }
}

/// What the repository says of itself at the base, and the checks that follow.
async fn plan(
    work: &Work,
    repository: &Path,
    base: &ObjectId,
    files: &[String],
) -> Result<(Repository, CheckPlan), RunError> {
    let mut names = discover::wanted(files);
    let has_own = files.iter().any(|file| file == crate::repository::FILE);
    names.extend(has_own.then(|| crate::repository::FILE.to_owned()));
    let mut contents =
        journeyman_workspace::contents(repository, base, &names, MANIFEST_BYTES).await?;
    let own = match contents.remove(crate::repository::FILE) {
        Some(text) => {
            Repository::parse(&text).map_err(|error| RunError::Task(error.to_string()))?
        }
        // It may forbid something: it must not be passed over.
        None if has_own => {
            let file = crate::repository::FILE;
            return Err(RunError::Task(format!("{file} leads to nothing that can be read")));
        }
        None => Repository::default(),
    };
    let mut plan = discover::discover(&RepositoryFiles { paths: files.to_vec(), contents });
    if !own.checks.is_empty() {
        plan.checks = discover::custom(&own.checks, recordable);
    }
    if !own.prepare.is_empty() {
        plan.prepare = vec![custom(&own.prepare, &plan.prepare)];
    }
    plan.caches.extend(own.caches.iter().cloned());
    if !work.held.task.check_commands.is_empty() {
        plan.checks = discover::custom(&work.held.task.check_commands, recordable);
    }
    let timeout_ms = limits(work, &own).check_timeout_ms;
    for check in &mut plan.checks {
        check.network |= own.network;
        if own.check_timeout_s.is_some() {
            check.timeout_ms = Some(check.timeout_ms.map_or(timeout_ms, |own| own.min(timeout_ms)));
        }
    }
    Ok((own, plan))
}

/// The commands of the repository as one script, so that each one finds what those before it made.
/// What they fill, and which files they depend on, is what those that they replace did.
fn custom(commands: &[String], found: &[Prepare]) -> Prepare {
    let all = |of: fn(&Prepare) -> &Vec<String>| found.iter().flat_map(of).cloned().collect();
    Prepare {
        argv: vec!["sh".into(), "-ec".into(), commands.join("\n")],
        lock_files: all(|prepare| &prepare.lock_files),
        provides: all(|prepare| &prepare.provides),
    }
}

/// The user's limits, which the task and the repository may narrow.
fn limits(work: &Work, own: &Repository) -> Limits {
    let mut limits = own_limits(work, work.runtime.settings.limits.clone());
    if let Some(rounds) = work.held.task.max_rounds {
        limits.rounds = u32::try_from(rounds).unwrap_or(1).max(1);
    }
    if let Some(rounds) = own.rounds {
        limits.rounds = limits.rounds.min(rounds.max(1));
    }
    if let Some(seconds) = own.check_timeout_s {
        limits.check_timeout_ms = limits.check_timeout_ms.min(seconds.saturating_mul(1000));
    }
    limits
}
