//! The classifier's shell.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;

use journeyman_domain::failure::{self, Attempt, Category, Classification, Policy};
use journeyman_domain::ids::{ErrorReportId, RunId};
use journeyman_store::{Acting, NewErrorReport, StoreError};
use journeyman_supervision::{Child, ChildContext};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::messages::{Classified, ClassifierMessage, ClassifierSnapshot, Failure};
use crate::agent::other::next_agent;
use crate::context::Runtime;
use crate::support::{Envelope, Reply, Spawned};

/// Bytes of evidence that a report keeps.
const EVIDENCE: usize = 16 * 1024;
/// Failures that are remembered.
const REMEMBERED: usize = 256;

/// The error classifier.
#[derive(Debug)]
pub struct ClassifierActor;

/// What it holds; all of it can be lost, since reports are rows.
pub struct State {
    runtime: Runtime,
    generation: u64,
    done: ClassifierSnapshot,
    /// The last failures, newest last.
    seen: VecDeque<Seen>,
}

/// A failure that was judged.
struct Seen {
    run: RunId,
    round: u32,
    category: Category,
    fingerprint: String,
}

impl ClassifierActor {
    /// Starts the classifier at its place in the tree.
    pub async fn start(runtime: Runtime, child: ChildContext) -> Spawned<Child> {
        let arguments = (runtime, child.generation);
        let (actor, _) = Self::spawn_linked(None, Self, arguments, child.supervisor).await?;
        Ok(Child::new(actor))
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
        let (done, seen) = (ClassifierSnapshot::default(), VecDeque::new());
        Ok(State { runtime, generation, done, seen })
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
                        let answer = state.classify(*failure).await;
                        answer_with(reply, answer);
                    }
                    ClassifierMessage::Snapshot { reply } => {
                        answer_with::<_, Infallible>(reply, Ok(state.done.clone()));
                    }
                }
            })
            .await;
        Ok(())
    }
}

fn answer_with<T, E>(reply: Reply<T, E>, answer: Result<T, E>) {
    // Whoever asked may have gone.
    let _ = reply.send(answer);
}

impl State {
    async fn classify(&mut self, failure: Failure) -> Result<Classified, StoreError> {
        let classification = journeyman_learning::classify(&failure.evidence);
        let mut attempt = self.attempt(&failure, &classification);
        attempt.other_agent = next_agent(&self.runtime.store, failure.task).await?.is_some();
        let policy = failure::policy(classification.category, &attempt);
        self.report(&failure, &classification, policy).await?;
        self.done.classified += 1;
        self.done.unknown += u64::from(classification.category == Category::Unknown);
        Ok(Classified { classification, policy })
    }

    /// What is known of the run's failures so far, this one included. Several checks may fail in
    /// one round; what counts is in how many rounds something failed.
    fn attempt(&mut self, failure: &Failure, now: &Classification) -> Attempt {
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen {
            run: failure.run,
            round: failure.round,
            category: now.category,
            fingerprint: now.fingerprint.clone(),
        });
        let rounds = |like: &dyn Fn(&Seen) -> bool| {
            let of_run = self.seen.iter().filter(|seen| seen.run == failure.run);
            let rounds: BTreeSet<u32> =
                of_run.filter(|seen| like(seen)).map(|seen| seen.round).collect();
            u32::try_from(rounds.len()).unwrap_or(u32::MAX)
        };
        Attempt {
            failures: rounds(&|seen| seen.category == now.category),
            identical: rounds(&|seen| seen.fingerprint == now.fingerprint),
            ..Attempt::first()
        }
    }

    async fn report(
        &self,
        failure: &Failure,
        classification: &Classification,
        policy: Policy,
    ) -> Result<(), StoreError> {
        let text = journeyman_telemetry::redact::mask(&failure.evidence.text).into_owned();
        let (head, tail) = journeyman_domain::tool::head_and_tail(&text, EVIDENCE);
        let context = serde_json::json!({
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
        let report = NewErrorReport {
            id: ErrorReportId::from_uuid(uuid::Uuid::now_v7()),
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
