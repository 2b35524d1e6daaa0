//! The classifier's shell.

use std::collections::BTreeMap;
use std::convert::Infallible;

use journeyman_domain::failure::{
    self, Attempt, Category, Classification, Policy, Reported, in_a_row,
};
use journeyman_domain::ids::{ErrorReportId, RunId};
use journeyman_domain::status::Status;
use journeyman_store::{Acting, ErrorFilter, ErrorReport, NewErrorReport, Run, StoreError};
use journeyman_supervision::{Child, ChildContext};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::messages::{Classified, ClassifierMessage, ClassifierSnapshot, Failure};
use crate::agent::other::next_agent;
use crate::context::Runtime;
use crate::support::{Envelope, Spawned, answer, probed};

/// Bytes of evidence that a report keeps.
const EVIDENCE: usize = 16 * 1024;
/// Reports of a task that are looked back at.
const PAST: u32 = 200;

/// The error classifier.
#[derive(Debug)]
pub struct ClassifierActor;

/// What it holds. What a task has failed with before is in its reports, and nowhere else.
pub struct State {
    runtime: Runtime,
    generation: u64,
    done: ClassifierSnapshot,
}

impl ClassifierActor {
    /// Starts the classifier at its place in the tree; it answers health probes.
    pub async fn start(runtime: Runtime, child: ChildContext) -> Spawned<Child> {
        let arguments = (runtime, child.generation);
        let supervisor = child.supervisor.clone();
        let (actor, _) = Self::spawn_linked(None, Self, arguments, supervisor).await?;
        Ok(probed(actor, &child, |reply| ClassifierMessage::Snapshot { reply }))
    }
}

impl Actor for ClassifierActor {
    type Msg = Envelope<ClassifierMessage>;
    type State = State;
    type Arguments = (Runtime, u64);

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        (runtime, generation): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State { runtime, generation, done: ClassifierSnapshot::default() })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Envelope<ClassifierMessage>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let generation = state.generation;
        envelope
            .open(generation, |_, message| async {
                match message {
                    ClassifierMessage::Classify { failure, reply } => {
                        answer(reply, state.classify(*failure).await);
                    }
                    ClassifierMessage::Snapshot { reply } => {
                        answer::<_, Infallible>(reply, Ok(state.done.clone()));
                    }
                }
            })
            .await;
        Ok(())
    }
}

/// The attempt of this run, and those before it that led to it by themselves: by the same agent, and
/// none of them the end of the task, after which the user had it tried anew.
fn attempts_in_a_row(runs: &[Run], last: RunId) -> BTreeMap<RunId, u32> {
    let Some(now) = runs.iter().find(|run| run.id == last) else { return BTreeMap::new() };
    let mut before: Vec<&Run> = runs.iter().filter(|run| run.attempt < now.attempt).collect();
    before.sort_unstable_by_key(|run| std::cmp::Reverse(run.attempt));
    let leads_on = |run: &&Run| run.agent_id == now.agent_id && run.status == Status::Retrying;
    let row = before.into_iter().take_while(leads_on);
    std::iter::once(now).chain(row).map(|run| (run.id, number(run.attempt))).collect()
}

fn reported(report: ErrorReport, attempts: &BTreeMap<RunId, u32>) -> Option<Reported> {
    let attempt = *attempts.get(&report.run_id?)?;
    let round = u32::try_from(report.error_context["round"].as_u64()?).ok()?;
    Some(Reported { attempt, round, category: report.category?, fingerprint: report.fingerprint? })
}

fn number(attempt: i32) -> u32 {
    u32::try_from(attempt).unwrap_or_default()
}

impl State {
    async fn classify(&mut self, failure: Failure) -> Result<Classified, StoreError> {
        let classification = journeyman_learning::classify(&failure.evidence);
        let runs = self.runtime.store.runs().of_task(failure.task).await?;
        let attempts = attempts_in_a_row(&runs, failure.run);
        let now = Reported {
            attempt: attempts.get(&failure.run).copied().unwrap_or_default(),
            round: failure.round,
            category: classification.category.as_str().to_owned(),
            fingerprint: classification.fingerprint.clone(),
        };
        let (failures, identical) = in_a_row(&self.past(&failure, &attempts).await?, &now);
        let other_agent =
            next_agent(&self.runtime.store, &self.runtime.models, failure.task).await?.is_some();
        let attempt = Attempt { failures, identical, other_agent, ..Attempt::first() };
        let policy = failure::policy(classification.category, &attempt);
        self.report(&failure, &classification, policy, now.attempt).await?;
        self.done.classified += 1;
        self.done.unknown += u64::from(classification.category == Category::Unknown);
        Ok(Classified { classification, policy })
    }

    /// What was reported of these attempts.
    async fn past(
        &self,
        failure: &Failure,
        attempts: &BTreeMap<RunId, u32>,
    ) -> Result<Vec<Reported>, StoreError> {
        let filter =
            ErrorFilter { task: Some(failure.task), limit: PAST, ..ErrorFilter::default() };
        let (reports, _) = self.runtime.store.errors().list(&filter).await?;
        Ok(reports.into_iter().filter_map(|report| reported(report, attempts)).collect())
    }

    async fn report(
        &self,
        failure: &Failure,
        classification: &Classification,
        policy: Policy,
        attempt: u32,
    ) -> Result<(), StoreError> {
        let text = journeyman_telemetry::redact::mask(&failure.evidence.text).into_owned();
        let (head, tail) = journeyman_domain::tool::head_and_tail(&text, EVIDENCE);
        let context = serde_json::json!({
            "attempt": attempt,
            "round": failure.round,
            "phase": failure.evidence.phase,
            "source": failure.evidence.source,
            "exit_code": failure.evidence.exit_code,
            "signal": failure.evidence.signal,
            "timed_out": failure.evidence.timed_out,
            "text": tail.map_or_else(|| head.clone(), |tail| format!("{head}\n… cut …\n{tail}")),
            "kind": classification.kind,
            "confidence": classification.confidence,
            "classified_by": classification.classified_by,
            "policy": policy,
        });
        let source = failure.evidence.source.as_deref().unwrap_or_default();
        let print = &classification.fingerprint;
        let report = NewErrorReport {
            id: ErrorReportId::derived(failure.run, failure.round, source, print),
            codebase_id: failure.codebase,
            task_id: Some(failure.task),
            run_id: Some(failure.run),
            error_type: classification.class,
            category: classification.category.as_str().to_owned(),
            fingerprint: classification.fingerprint.clone(),
            fingerprint_group: Some(classification.group.clone()),
            error_code: Some(classification.kind.clone()).filter(|kind| !kind.is_empty()),
            error_message: classification.headline.clone(),
            severity: classification.severity,
            source_type: Some("task".to_owned()),
            source_location: failure.evidence.source.clone(),
            error_context: context,
        };
        self.runtime.store.errors().record(&Acting::now("classifier"), &report).await?;
        Ok(())
    }
}
