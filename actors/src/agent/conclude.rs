//! How an executor leaves its run: the rows say so in one transaction, and the folder goes.

use std::time::Duration;

use journeyman_domain::failure::{Evidence, Phase, Policy, sentence};
use journeyman_domain::ids::AgentId;
use journeyman_domain::run::Aside;
use journeyman_domain::schedule::{TaskAfter, after_attempt};
use journeyman_domain::status::{Status, WaitingFor};
use journeyman_domain::step::{Entry, Outcome};
use journeyman_store::{Acting, Finish, StoreError, is_transient};
use journeyman_telemetry::names;
use journeyman_workspace::WorkspaceError;

use super::ask::now_ms;
use super::claimed::Claimed;
use super::execute::{Left, RunError, Work};
use super::messages::StopReason;
use super::other::next_agent;
use crate::context::{Change, Runtime};

/// Between two tries to write the end down.
const AGAIN: Duration = Duration::from_millis(500);

/// Writes how the run was left; the word is that of the execution's state.
pub(super) async fn conclude(work: &mut Work, left: Result<Left, RunError>) -> &'static str {
    let left = match left {
        Err(error) => failed(work, error).await,
        left => left,
    };
    let mut next_agent = None;
    let aside = matches!(left, Ok(Left::AwaitingApproval | Left::Aside(_)));
    let after = match left {
        Ok(Left::Ended(outcome)) => {
            next_agent = other_agent(work, &outcome).await;
            ended(work, &outcome, next_agent.is_some())
        }
        Ok(Left::AwaitingApproval) => waiting(WaitingFor::Approval),
        Ok(Left::Aside(aside)) => put_aside(aside),
        Err(RunError::Stopped) => match work.reason.get() {
            Some(StopReason::Cancelled) => plain(Status::Cancelled),
            Some(StopReason::Paused) => plain(Status::Paused),
            Some(StopReason::Shutdown) | None => return release(work).await,
        },
        Err(RunError::Store(StoreError::Fenced)) => return fenced(),
        // No fault of the run: a life that the database cut off says nothing about its progress.
        Err(RunError::Store(error)) if is_transient(&error) => {
            tracing::warn!(error = %sentence(&error), "the run goes on when the database is back");
            return release(work).await;
        }
        Err(RunError::Damaged(evidence)) => {
            return park(&work.runtime, &work.held, &evidence).await;
        }
        Err(error) => {
            tracing::error!(error = %sentence(&error), "the run is left to be taken over");
            return abandon(work).await;
        }
    };
    if after.status == Status::Parked {
        let reason = after.error.unwrap_or_default();
        let attempts = work.held.execution.attempt;
        let evidence =
            format!("cut off in each of {attempts} attempts, and so not tried again: {reason}");
        return park(&work.runtime, &work.held, &evidence).await;
    }
    finish(work, &after, aside, next_agent).await
}

/// The agent of the next attempt, where the policy asks for another one and there is one.
async fn other_agent(work: &Work, outcome: &Outcome) -> Option<AgentId> {
    let Outcome::Failed { policy: Policy::OtherAgent, .. } = outcome else { return None };
    let next = next_agent(&work.runtime.store, &work.runtime.models, work.held.task.id).await;
    next.unwrap_or_else(|error| {
        tracing::debug!(error = %sentence(&error), "no other agent was looked for");
        None
    })
}

/// A failure of ours or of the task as it is given: classified, journaled as the outcome.
async fn failed(work: &mut Work, error: RunError) -> Result<Left, RunError> {
    // To a journal that cannot be trusted, nothing is added either.
    let ours = matches!(error, RunError::Stopped | RunError::Damaged(_));
    if ours || matches!(error, RunError::Store(StoreError::Fenced)) {
        return Err(error);
    }
    if is_left_to_others(&error) {
        return Err(error);
    }
    // Before its journal has begun there is nothing that could be lost.
    let is_begun = work.journal.run.limits().is_some();
    if is_begun && let Some(reason) = refusal(&error) {
        // It may be what fills the disk that the rows need; the journal makes it anew.
        clean(work).await;
        if matches!(error, RunError::Workspace(_)) {
            classified(work, &reason).await?;
        }
        return put_off(work, reason).await;
    }
    let reason = sentence(&error);
    // Whoever waits for the run is told anyway.
    tracing::info!(reason, "the run failed");
    if matches!(error, RunError::Workspace(_)) {
        // It may be what fills the disk that the rows need; another attempt makes it anew.
        clean(work).await;
    }
    let policy = match &error {
        RunError::Task(_) => Policy::Stop,
        RunError::Store(_)
        | RunError::Workspace(_)
        | RunError::Refused(_)
        | RunError::Damaged(_)
        | RunError::Stopped => classified(work, &reason).await?,
    };
    let outcome = Outcome::Failed { reason, policy };
    work.journal.append(Entry::Outcome { outcome: outcome.clone() }).await?;
    Ok(Left::Ended(outcome))
}

/// What the machine refuses, now.
fn refusal(error: &RunError) -> Option<String> {
    match error {
        RunError::Workspace(cause) => cause.is_of_the_machine().then(|| sentence(cause)),
        RunError::Refused(reason) => Some(reason.clone()),
        RunError::Store(_) | RunError::Task(_) | RunError::Damaged(_) | RunError::Stopped => None,
    }
}

/// Leaves the run as it is until the machine can do what it refuses now: nothing of it is done, or paid for, again.
async fn put_off(work: &mut Work, reason: String) -> Result<Left, RunError> {
    let has_room = journeyman_workspace::has_room(&work.runtime.settings.runs);
    let wait_ms = work.journal.run.refused(has_room);
    let until_ms = wait_ms.map(|ms| now_ms().saturating_add(ms));
    tracing::warn!(reason, wait_ms, "the machine refuses; the run is put aside");
    work.journal.append(Entry::Refused { reason: reason.clone(), until_ms }).await?;
    let waiting_for = if until_ms.is_some() { WaitingFor::RetryAt } else { WaitingFor::Input };
    Ok(Left::Aside(Aside { waiting_for, until_ms, hit: None, reason }))
}

/// What is no failure of the task, and may be over for whoever goes on with it: the database is away or refuses what it
/// should not, or a process that was started for it does not end.
fn is_left_to_others(error: &RunError) -> bool {
    match error {
        RunError::Store(store) => is_transient(store) || matches!(store, StoreError::Sql(_)),
        RunError::Workspace(error) => matches!(error, WorkspaceError::StillAlive(_)),
        RunError::Task(_) | RunError::Refused(_) | RunError::Damaged(_) | RunError::Stopped => {
            false
        }
    }
}

async fn classified(work: &Work, reason: &str) -> Result<Policy, RunError> {
    let evidence = Evidence::of(Phase::Act, reason.to_owned());
    let Some(answer) = work.judged(evidence).await? else { return Ok(Policy::Stop) };
    let category = answer.classification.category.as_str();
    tracing::Span::current().record(names::ATTR_ERROR_TYPE, category);
    // A round with evidence needs a driver that can use it; the runtime's own failure has none.
    let is_of_use = answer.policy != Policy::RetryWithEvidence;
    Ok(if is_of_use { answer.policy } else { Policy::Stop })
}

fn ended(work: &Work, outcome: &Outcome, other_agent: bool) -> TaskAfter {
    if let Outcome::Failed { reason, policy: Policy::OtherAgent } = outcome
        && !other_agent
    {
        return TaskAfter { error: Some(reason.clone()), ..plain(Status::Failed) };
    }
    let attempt = u32::try_from(work.held.execution.attempt).unwrap_or(1);
    // The run's id is random enough to spread those that wait for the same thing.
    let jitter = f64::from(work.held.run.id.as_uuid().as_bytes()[15]) / 255.0;
    after_attempt(&work.runtime.schedule.borrow(), outcome, attempt, jitter)
}

const fn plain(status: Status) -> TaskAfter {
    TaskAfter { status, waiting_for: None, wake_in_ms: None, error: None }
}

const fn waiting(reason: WaitingFor) -> TaskAfter {
    TaskAfter { status: Status::Waiting, waiting_for: Some(reason), wake_in_ms: None, error: None }
}

fn put_aside(aside: Aside) -> TaskAfter {
    let wake_in_ms = aside.until_ms.map(|until_ms| until_ms.saturating_sub(now_ms()));
    TaskAfter { wake_in_ms, error: Some(aside.reason), ..waiting(aside.waiting_for) }
}

/// `aside` says that this attempt itself goes on later.
async fn finish(
    work: &mut Work,
    after: &TaskAfter,
    aside: bool,
    next_agent: Option<AgentId>,
) -> &'static str {
    let facts = Facts::of(work);
    // A tree that passes because nobody touched it is no verified work.
    let verified = facts.verified.map(|passes| passes && after.status == Status::Completed);
    if let Some(verified) = verified {
        tracing::Span::current().record("verified", verified);
    }
    // Where the task goes on with another attempt, this one is over.
    let again = matches!(after.status, Status::Ready | Status::Waiting) && !aside;
    let status = if again { Status::Retrying } else { after.status };
    let finish = Finish {
        error_message: after.error.clone(),
        result: facts.result,
        verification: facts.verification,
        verified,
        done_by_word: facts.done_by_word,
        branch: facts.branch,
        base_commit: facts.base_commit,
        head_commit: facts.head_commit,
        next_agent,
        ..Finish::new(status, after.clone())
    };
    let acting = Acting::now("run");
    loop {
        match work.runtime.store.queue().finish(&acting, work.held.fence, &finish).await {
            Ok(_) => break,
            Err(error) if is_transient(&error) && !work.stop.is_cancelled() => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => {
                // The journal has the outcome: whoever takes over writes it again.
                tracing::warn!(error = %sentence(&error), "the end of a run was not recorded");
                return "unrecorded";
            }
        }
    }
    let change = Change { task: work.held.task.id, now: None };
    // Nobody need be watching.
    let _ = work.runtime.changes.send(change);
    if again || after.status.is_final() {
        clean(work).await;
    }
    after.status.as_str()
}

fn fenced() -> &'static str {
    tracing::warn!("the lease is lost; another owner goes on with the run");
    "fenced"
}

/// Leaves the task to a person, with the evidence of why nothing can go on by itself. The run's folder
/// stays, to be looked at.
pub(super) async fn park(runtime: &Runtime, held: &Claimed, evidence: &str) -> &'static str {
    let (task, run) = (held.task.id, held.run.id);
    tracing::error!(task.id = %task, run.id = %run, evidence, "a task is parked");
    let acting = Acting::now("run");
    while let Err(error) = runtime.store.queue().park(&acting, held.fence, evidence).await {
        if matches!(error, StoreError::Fenced) {
            return fenced();
        }
        if !is_transient(&error) {
            tracing::warn!(error = %sentence(&error), "a parked task was not recorded");
            return "unrecorded";
        }
        tokio::time::sleep(AGAIN).await;
    }
    // Nobody need be watching.
    let _ = runtime.changes.send(Change { task, now: None });
    "parked"
}

/// Lets any node go on from here at once.
async fn release(work: &Work) -> &'static str {
    let acting = Acting::now("run");
    match work.runtime.store.queue().release(&acting, work.held.fence).await {
        Ok(()) => {}
        Err(StoreError::Fenced) => return fenced(),
        Err(error) => {
            tracing::debug!(error = %sentence(&error), "a lease was not released; it will expire");
        }
    }
    "released"
}

/// The same after an error, which counts as a life without progress.
async fn abandon(work: &Work) -> &'static str {
    let acting = Acting::now("run");
    if let Err(error) = work.runtime.store.queue().abandon(&acting, work.held.fence).await {
        tracing::debug!(error = %sentence(&error), "a lease was not given up; it will expire");
    }
    "abandoned"
}

/// Everything that counts is in rows now; the folder can go.
async fn clean(work: &Work) {
    let folder = work.folder();
    if let Err(error) = journeyman_workspace::discard(&folder).await {
        tracing::debug!(error = %sentence(&error), "a run's folder was not removed");
    }
}

/// What the journal says of the whole run.
#[derive(Default)]
struct Facts {
    verified: Option<bool>,
    done_by_word: Option<bool>,
    branch: Option<String>,
    base_commit: Option<String>,
    head_commit: Option<String>,
    verification: Option<serde_json::Value>,
    result: serde_json::Value,
}

impl Facts {
    fn of(work: &Work) -> Self {
        let mut facts = Self { result: serde_json::json!({}), ..Self::default() };
        for step in &work.journal.steps {
            match &step.entry {
                Entry::Started { base_commit, .. } => facts.base_commit = Some(base_commit.clone()),
                Entry::ClaimedDone { finished, summary } => {
                    facts.done_by_word = Some(*finished);
                    facts.result["summary"] = summary.clone().into();
                }
                Entry::Verification { verdict, checks, files_changed, .. } => {
                    facts.verified = Some(verdict.verified);
                    facts.verification = Some(verification(verdict, checks, *files_changed));
                }
                Entry::Delivered { branch, commit, patch } => {
                    facts.branch.clone_from(branch);
                    facts.head_commit.clone_from(commit);
                    if let Some(patch) = patch {
                        facts.result["patch"] = patch.clone().into();
                    }
                }
                Entry::BaseChecked { .. }
                | Entry::ModelRequest { .. }
                | Entry::ModelResponse { .. }
                | Entry::ModelFailed { .. }
                | Entry::Resumed { .. }
                | Entry::ToolIntent { .. }
                | Entry::ToolResult { .. }
                | Entry::RoundStarted { .. }
                | Entry::Approved
                | Entry::LimitReached { .. }
                | Entry::Refused { .. }
                | Entry::Outcome { .. } => {}
            }
        }
        facts
    }
}

/// The evidence as a row keeps it: the verdict, and each check with its figures, without output.
fn verification(
    verdict: &journeyman_domain::verdict::Verdict,
    checks: &[journeyman_domain::check::CheckOutcome],
    files_changed: usize,
) -> serde_json::Value {
    let became = |name: &str| verdict.checks.iter().find(|(check, _)| check == name);
    let checks: Vec<_> = checks
        .iter()
        .map(|outcome| {
            serde_json::json!({
                "check": outcome.check,
                "kind": outcome.kind,
                "ended": outcome.ended,
                "comparison": became(&outcome.check).map(|(_, comparison)| comparison),
                "duration_ms": outcome.duration_ms,
                "tests": outcome.tests.as_ref().map(|tests| serde_json::json!({
                    "passed_count": tests.passed_count,
                    "failed_count": tests.failed_count,
                    "skipped_count": tests.skipped_count,
                })),
            })
        })
        .collect();
    serde_json::json!({
        "verified": verdict.verified,
        "checked": verdict.checked,
        "checks": checks,
        "newly_failing": verdict.newly_failing,
        "newly_passing": verdict.newly_passing,
        "missing": verdict.missing,
        "edited_tests": verdict.edited_tests,
        "edited_checks": verdict.edited_checks,
        "reasons": verdict.reasons,
        "files_changed": files_changed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_does_not_end_is_no_failure_of_its_task() {
        let check = |error: RunError, expected| assert_eq!(is_left_to_others(&error), expected);
        check(WorkspaceError::StillAlive(vec![7]).into(), true);
        check(WorkspaceError::Incomplete("folder".into()).into(), false);
        check(StoreError::Conflict("no".into()).into(), false);
    }
}
