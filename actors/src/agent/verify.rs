//! Verification: base and candidate in clean checkouts, judged by the domain, classified.

use std::path::Path;
use std::time::Duration;

use journeyman_domain::check::{Check, CheckOutcome, report};
use journeyman_domain::failure::{Category, Evidence, Phase, Policy, sentence};
use journeyman_domain::step::Entry;
use journeyman_domain::tool::{Ended, Exec, head_and_tail};
use journeyman_domain::verdict::{self, Change, Comparison, Verdict};
use journeyman_faults::{around, points};
use journeyman_telemetry::names;
use journeyman_workspace::{ObjectId, Policy as Sandbox};
use tracing::Instrument as _;

use super::execute::{RunError, Work};
use super::journal::Beside;
use super::scene::Scene;
use super::{call, dependencies};
use crate::classifier::Classified;
use crate::learner::Resolution;
use crate::support::recordable;

/// Bytes of a check's output that are kept at each end.
const HEAD_AND_TAIL: usize = 16 * 1024;
/// Bytes of evidence that go back to a driver.
const EVIDENCE: usize = 24 * 1024;

/// Which tree is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Base,
    Candidate,
}

impl Side {
    const fn word(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Candidate => "candidate",
        }
    }
}

/// Takes the diff, judges it, and journals the judgement.
pub(super) async fn verify(work: &mut Work, scene: &mut Scene) -> Result<(), RunError> {
    let base = scene.workspace.base();
    let patch =
        journeyman_workspace::diff(&scene.workspace, &base.commit, &scene.current.commit).await?;
    // To be read only: what is kept are the bytes, since a text file need not be UTF-8.
    let diff = String::from_utf8_lossy(&patch).into_owned();
    let change = Change::from_diff(&diff);
    let on_base = base_outcomes(work, scene, &base.commit).await?;
    let candidate = if scene.current.tree == base.tree {
        on_base.clone()
    } else {
        check_all(work, scene, Side::Candidate, &scene.current.commit.clone()).await?
    };
    let mut verdict = verdict::judge(&on_base, &candidate, &change);
    forbid(work, &change, &mut verdict);
    for path in &scene.current.left_out {
        verdict.verified = false;
        verdict.reasons.push(format!("{} is too large for a change", path.display()));
    }
    let failures = classify(work, &verdict, &candidate).await?;
    let is_full = |failure: &Classified| failure.classification.category == Category::ResourceDisk;
    if failures.iter().any(is_full) {
        // That says nothing of the change; the checks run again when there is room.
        return Err(RunError::Refused(verdict.reasons.join("; ")));
    }
    let policy = match failures.first() {
        _ if !verdict.checked => Policy::Ask,
        Some(first) => first.policy,
        None => Policy::RetryWithEvidence,
    };
    let span = tracing::Span::current();
    span.record("verified", verdict.verified);
    if let Some(failure) = failures.first() {
        span.record(names::ATTR_ERROR_TYPE, failure.classification.category.as_str());
    }
    let evidence = if verdict.verified {
        String::new()
    } else {
        verdict::evidence(&verdict, &candidate, EVIDENCE)
    };
    let mended = if verdict.verified { mended(&verdict, &on_base) } else { Vec::new() };
    let entry = Entry::Verification {
        tree: scene.current.tree.to_string(),
        verdict,
        checks: candidate,
        failures: failures.into_iter().map(|failure| failure.classification).collect(),
        policy,
        evidence,
        files_changed: change.paths.len(),
    };
    let beside = Beside { output: Some(patch), ..Beside::default() };
    work.journal.append_with(entry, beside).await?;
    // Once it is journaled, so that a repeat after a crash is not learned twice.
    learn(work, mended, &diff);
    Ok(())
}

/// The base is judged once in a run; its outcomes are journaled.
async fn base_outcomes(
    work: &mut Work,
    scene: &Scene,
    base: &ObjectId,
) -> Result<Vec<CheckOutcome>, RunError> {
    for step in &work.journal.steps {
        if let Entry::BaseChecked { checks } = &step.entry {
            return Ok(checks.clone());
        }
    }
    let checks = check_all(work, scene, Side::Base, base).await?;
    work.journal.append(Entry::BaseChecked { checks: checks.clone() }).await?;
    Ok(checks)
}

async fn check_all(
    work: &Work,
    scene: &Scene,
    side: Side,
    commit: &ObjectId,
) -> Result<Vec<CheckOutcome>, RunError> {
    if scene.plan.checks.is_empty() {
        return Ok(Vec::new());
    }
    let folder = scene.workspace.folder().join(format!("check-{}", side.word()));
    let checked_out = journeyman_workspace::checkout(&scene.workspace, commit, &folder);
    around(points::CHECKOUT, checked_out).await?;
    dependencies::link(&folder, &scene.prepared).await;
    // Neither the agent nor the other side may have put something there.
    let temporary = scene.workspace.folder().join(format!("check-{}-temporary", side.word()));
    journeyman_workspace::empty(&temporary).await?;
    let mut outcomes = Vec::with_capacity(scene.plan.checks.len());
    for check in &scene.plan.checks {
        if work.stop.is_cancelled() {
            return Err(RunError::Stopped);
        }
        work.say(format!("{} on the {}", check.name, side.word()));
        outcomes.push(check_one(work, scene, side, check, [&folder, &temporary]).await?);
    }
    // A checkout is evidence of one judgement; nothing of it is used again.
    for used in [&folder, &temporary] {
        if let Err(error) = journeyman_workspace::discard(used).await {
            tracing::debug!(error = %sentence(&error), "a checkout was not removed");
        }
    }
    Ok(outcomes)
}

async fn check_one(
    work: &Work,
    scene: &Scene,
    side: Side,
    check: &Check,
    [folder, temporary]: [&Path; 2],
) -> Result<CheckOutcome, RunError> {
    let span = tracing::info_span!(
        "run_check",
        otel.name = names::SPAN_RUN_CHECK,
        check.name = check.name,
        check.side = side.word(),
        check.outcome = tracing::field::Empty,
    );
    async {
        let sandbox =
            scene.workspace.policy(work.runtime.settings.sandbox.namespaces, check.network);
        let mut sandbox = Sandbox {
            cwd: folder.to_owned(),
            writable: vec![folder.to_owned()],
            temporary: Some(temporary.to_owned()),
            ..sandbox
        };
        sandbox.readable.extend(scene.prepared.iter().map(|(_, source)| source.clone()));
        let timeout_ms = check.timeout_ms.unwrap_or(scene.limits.check_timeout_ms);
        let exec = Exec { argv: check.argv.clone(), network: check.network, ..Exec::default() };
        let began = std::time::Instant::now();
        let (ended, output) = call::run(work, &exec, sandbox, timeout_ms).await?;
        if work.stop.is_cancelled() {
            return Err(RunError::Stopped);
        }
        let took = began.elapsed();
        let outcome = outcome_word(&ended);
        tracing::Span::current().record("check.outcome", outcome);
        journeyman_telemetry::metrics().check_ran(side.word(), outcome, took);
        let output = recordable(&output);
        let (head, tail) = head_and_tail(&output, HEAD_AND_TAIL);
        Ok(CheckOutcome {
            check: check.name.clone(),
            kind: check.kind,
            // What was cut short says nothing certain of single tests, and may be very long.
            tests: (!matches!(ended, Ended::Refused { .. }))
                .then(|| report::read(check, &output))
                .flatten(),
            ended,
            duration_ms: millis(took),
            head,
            tail,
        })
    }
    .instrument(span)
    .await
}

const fn outcome_word(ended: &Ended) -> &'static str {
    match ended {
        Ended::Exited { code: 0 } => "passed",
        Ended::Exited { .. } => "failed",
        Ended::TimedOut { .. } => "timeout",
        Ended::Signalled { .. } | Ended::Refused { .. } | Ended::Interrupted => "broken",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A change of a forbidden path is never verified.
fn forbid(work: &Work, change: &Change, verdict: &mut Verdict) {
    let mut prefixes = Vec::new();
    for step in &work.journal.steps {
        if let Entry::Started { forbidden, .. } = &step.entry {
            prefixes.clone_from(forbidden);
        }
    }
    for path in &change.paths {
        if prefixes.iter().any(|prefix| path.starts_with(prefix.as_str())) {
            verdict.verified = false;
            verdict.reasons.push(format!("{path} is changed, which the repository forbids"));
        }
    }
}

/// Has everything that stands against the change classified and reported: failing checks first, then
/// what the judgement found although no program failed.
async fn classify(
    work: &Work,
    verdict: &Verdict,
    candidate: &[CheckOutcome],
) -> Result<Vec<Classified>, RunError> {
    let mut classified = Vec::new();
    if verdict.verified {
        return Ok(classified);
    }
    let claimed = work.journal.run.claim() == Some(true);
    let failing = candidate.iter().filter(|outcome| !outcome.passed()).map(evidence_of);
    for evidence in failing.chain(verdict::reasons_evidence(verdict, claimed)) {
        classified.extend(work.judged(evidence).await?);
    }
    Ok(classified)
}

fn evidence_of(outcome: &CheckOutcome) -> Evidence {
    let (exit_code, signal) = match outcome.ended {
        Ended::Exited { code } => (Some(code), None),
        Ended::Signalled { signal } => (None, Some(signal)),
        Ended::TimedOut { .. } | Ended::Refused { .. } | Ended::Interrupted => (None, None),
    };
    let mut text = outcome.head.clone();
    if let Some(tail) = &outcome.tail {
        text.push('\n');
        text.push_str(tail);
    }
    Evidence {
        phase: Phase::Verify,
        source: Some(outcome.check.clone()),
        exit_code,
        signal,
        timed_out: matches!(outcome.ended, Ended::TimedOut { .. }),
        http_status: None,
        sqlstate: None,
        model_failure: None,
        text,
    }
}

/// The failures of the base that the change mended.
fn mended(verdict: &Verdict, base: &[CheckOutcome]) -> Vec<Evidence> {
    let is_mended = |name: &str| {
        verdict.checks.iter().any(|(check, became)| {
            check == name && matches!(became, Comparison::Mended | Comparison::Better)
        })
    };
    let failed = base.iter().filter(|outcome| !outcome.passed());
    failed.filter(|outcome| is_mended(&outcome.check)).map(evidence_of).collect()
}

/// Tells the learner what this change mended.
fn learn(work: &Work, mended: Vec<Evidence>, diff: &str) {
    for evidence in mended {
        work.learner.resolved(Resolution {
            task: work.held.task.id,
            run: work.held.run.id,
            codebase: work.held.task.codebase_id,
            driver: work.driver(),
            evidence,
            diff: diff.chars().take(8 * 1024).collect(),
        });
    }
}
