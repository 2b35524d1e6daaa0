//! The learner's shell.

use journeyman_domain::failure::sentence;
use journeyman_store::{Acting, NewResolution, StoreError};
use journeyman_supervision::{Child, ChildContext};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::messages::{LearnerMessage, LearnerSnapshot, Resolution};
use crate::context::Runtime;
use crate::support::{Envelope, Spawned, answer, probed};

/// The pattern learner.
#[derive(Debug)]
pub struct LearnerActor;

/// What it holds.
pub struct State {
    runtime: Runtime,
    generation: u64,
    done: LearnerSnapshot,
}

impl LearnerActor {
    /// Starts the learner at its place in the tree; it answers health probes.
    pub async fn start(runtime: Runtime, child: ChildContext) -> Spawned<Child> {
        let arguments = (runtime, child.generation);
        let supervisor = child.supervisor.clone();
        let (actor, _) = Self::spawn_linked(None, Self, arguments, supervisor).await?;
        Ok(probed(actor, &child, |reply| LearnerMessage::Snapshot { reply }))
    }
}

impl Actor for LearnerActor {
    type Msg = Envelope<LearnerMessage>;
    type State = State;
    type Arguments = (Runtime, u64);

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        (runtime, generation): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State { runtime, generation, done: LearnerSnapshot::default() })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Envelope<LearnerMessage>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let generation = state.generation;
        envelope
            .open(generation, |_, message| async {
                match message {
                    LearnerMessage::Resolved { resolution } => {
                        match state.record(&resolution).await {
                            Ok(()) => state.done.recorded += 1,
                            Err(error) => {
                                tracing::warn!(error = %sentence(&error), "a resolution was not recorded");
                            }
                        }
                    }
                    LearnerMessage::Snapshot { reply } => {
                        answer(reply, Ok(state.done.clone()));
                    }
                }
            })
            .await;
        Ok(())
    }
}

impl State {
    async fn record(&self, resolution: &Resolution) -> Result<(), StoreError> {
        let classification = journeyman_learning::classify(&resolution.evidence);
        let kind = if classification.kind.is_empty() {
            classification.category.as_str()
        } else {
            &classification.kind
        };
        let strategy = format!("{}:{kind}", resolution.driver);
        let name = format!("{} mended: {}", resolution.driver, classification.headline);
        let details = serde_json::json!({
            "category": classification.category,
            "group": classification.group,
            "run": resolution.run,
            "codebase": resolution.codebase,
            "diff": journeyman_telemetry::redact::mask(&resolution.diff),
        });
        let new = NewResolution {
            fingerprint: &classification.fingerprint,
            strategy: &strategy,
            name: &name.chars().take(250).collect::<String>(),
            details: &details,
            task_id: resolution.task,
            result: "success",
            feedback: None,
            execution_time_ms: None,
        };
        self.runtime.store.patterns().record_resolution(&Acting::now("learner"), &new).await?;
        Ok(())
    }
}
