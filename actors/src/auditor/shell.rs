//! The auditor's shell.

use std::time::Duration;

use journeyman_domain::failure::sentence;
use journeyman_domain::ids::NodeId;
use journeyman_store::Store;
use journeyman_supervision::{Child, ChildContext};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::messages::{AuditorHandle, AuditorMessage, AuditorSnapshot};
use super::recorder::Recorder;
use super::sealer;
use crate::context::Mode;
use crate::support::{Envelope, Spawned, TrackedTasks, answer, probed};

/// What the parts of its end may take, together less than its limit in `config/supervisor.toml`.
const TASKS_LIMIT: Duration = Duration::from_secs(1);
const REST_LIMIT: Duration = Duration::from_secs(4);
const SEAL_LIMIT: Duration = Duration::from_secs(3);

/// The auditor.
#[derive(Debug)]
pub struct AuditorActor;

/// What it starts with.
pub struct Arguments {
    /// PostgreSQL.
    pub store: Store,
    /// The node whose tree it is.
    pub node: NodeId,
    /// What that node is for.
    pub mode: Mode,
    /// Its place in the tree, and where the records of the tree are.
    pub child: ChildContext,
}

/// What it holds.
pub struct State {
    recorder: Recorder,
    generation: u64,
    done: AuditorSnapshot,
    tasks: TrackedTasks,
}

impl AuditorActor {
    /// Starts the auditor at its place in the tree; it answers health probes.
    pub async fn start(arguments: Arguments) -> Spawned<Child> {
        let at = arguments.child.clone();
        let (actor, _) = Self::spawn_linked(None, Self, arguments, at.supervisor.clone()).await?;
        Ok(probed(actor, &at, |reply| AuditorMessage::Snapshot { reply }))
    }
}

impl Actor for AuditorActor {
    type Msg = Envelope<AuditorMessage>;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        Arguments { store, node, mode, child }: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let handle = AuditorHandle::new(child.directory.clone(), "auditor");
        let ledger = child.ledger().clone();
        let recorder = Recorder { store: store.clone(), node, mode, ledger };
        let state = State {
            recorder: recorder.clone(),
            generation: child.generation,
            done: AuditorSnapshot::default(),
            tasks: TrackedTasks::default(),
        };
        let auditor = handle.clone();
        state.tasks.spawn(move |stop| recorder.write_on(auditor, stop));
        state.tasks.spawn(move |stop| async move {
            stop.run_until_cancelled(sealer::seal_on(store, mode, handle)).await;
        });
        Ok(state)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Envelope<AuditorMessage>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let generation = state.generation;
        envelope
            .open(generation, |_, message| async {
                match message {
                    AuditorMessage::Recorded { records } => state.done.recorded += records,
                    AuditorMessage::Sealed { rows } => state.done.sealed += rows,
                    AuditorMessage::Snapshot { reply } => {
                        let waiting = state.recorder.ledger.waiting() as u64;
                        answer(reply, Ok(AuditorSnapshot { waiting, ..state.done.clone() }));
                    }
                }
            })
            .await;
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.tasks.stop(TASKS_LIMIT).await;
        // Everything else has ended by now. What cannot be written stays in the ledger for whoever stops the tree.
        match tokio::time::timeout(REST_LIMIT, state.recorder.write_rest()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %sentence(&error), "supervision records wait to be written");
            }
            Err(_) => tracing::warn!("supervision records wait to be written"),
        }
        if tokio::time::timeout(SEAL_LIMIT, sealer::seal(&state.recorder.store)).await.is_err() {
            tracing::warn!("the audit was not sealed; it will be later");
        }
        Ok(())
    }
}
