//! The actor of one run: starts its work as a tracked task, stops it when told to.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use journeyman_domain::failure::sentence;
use journeyman_domain::ids::RunId;
use journeyman_supervision::{Child, ChildContext, ChildPath};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio_util::sync::CancellationToken;

use super::claimed::{Claimed, wish_of};
use super::conclude::park;
use super::execute::{RunError, Work, execute};
use super::journal::Journal;
use super::messages::{RunMessage, RunSnapshot, StopReason};
use super::prepare;
use crate::classifier::ClassifierHandle;
use crate::context::Runtime;
use crate::gateway::GatewayHandle;
use crate::learner::LearnerHandle;
use crate::outbox::OutboxHandle;
use crate::scheduler::SchedulerHandle;
use crate::support::{Envelope, Spawned, TrackedTasks, answer, read_at_start};

/// How long a stopping run may take before it is cut off.
const STOP_LIMIT: Duration = Duration::from_secs(12);
/// How long the cut may take; both together are below the limit in `config/supervisor.toml`.
const CUT_LIMIT: Duration = Duration::from_secs(3);

/// The actor of one run.
#[derive(Debug)]
pub struct RunActor;

/// What it starts with.
pub struct Arguments {
    /// What all actors share.
    pub runtime: Runtime,
    /// Its place in the tree; the last part of its path is the run.
    pub child: ChildContext,
}

/// What it holds.
pub struct State {
    path: ChildPath,
    generation: u64,
    run: RunId,
    epoch: i64,
    tasks: TrackedTasks,
    stop: CancellationToken,
    reason: Arc<OnceLock<StopReason>>,
    now: Arc<Mutex<String>>,
    scheduler: SchedulerHandle,
}

impl RunActor {
    /// Starts a run at its place in the tree.
    pub async fn start(arguments: Arguments) -> Spawned<Child> {
        let supervisor = arguments.child.supervisor.clone();
        let (actor, _) = Self::spawn_linked(None, Self, arguments, supervisor).await?;
        Ok(Child::new(actor))
    }
}

/// Parks a run whose journal cannot be read; what an earlier life of it has left is ended first.
async fn give_up(runtime: &Runtime, held: &Claimed, evidence: &str) {
    if let Err(error) = prepare::reap(runtime, held).await {
        tracing::warn!(error = %sentence(&error), run.id = %held.run.id, "processes of a run are left");
    }
    park(runtime, held, evidence).await;
}

impl Actor for RunActor {
    type Msg = Envelope<RunMessage>;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        Arguments { runtime, child }: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let run: RunId = child.path.id().parse()?;
        let claimed = || Claimed::load(&runtime.store, run, runtime.node);
        let held = read_at_start(runtime.mode, claimed).await?;
        let state = State {
            path: child.path.clone(),
            generation: child.generation,
            run,
            epoch: held.fence.lease_epoch,
            tasks: TrackedTasks::default(),
            stop: CancellationToken::new(),
            reason: Arc::default(),
            now: Arc::default(),
            scheduler: SchedulerHandle::new(child.directory.clone(), "run"),
        };
        let stop = state.stop.clone();
        // What the user wished while nobody worked on it comes first.
        if let Some(wish) = wish_of(&held.task) {
            let _ = state.reason.set(wish);
            stop.cancel();
        }
        let load = || async {
            let store = runtime.store.clone();
            match Journal::load(store, held.fence, run, stop.clone()).await {
                Err(RunError::Store(error)) => Err(error),
                loaded => Ok(loaded),
            }
        };
        let journal = match read_at_start(runtime.mode, load).await? {
            // Found now or by the next life: it is said once, and not tried again.
            Err(RunError::Damaged(evidence)) => {
                state.tasks.spawn(move |_| async move {
                    give_up(&runtime, &held, &evidence).await;
                    myself.stop(None);
                });
                return Ok(state);
            }
            journal => journal?,
        };
        let work = Work {
            classifier: ClassifierHandle::new(child.directory.clone(), "run"),
            learner: LearnerHandle::new(child.directory.clone(), "run"),
            gateway: GatewayHandle::new(child.directory.clone(), "run"),
            outbox: OutboxHandle::new(child.directory.clone(), "run"),
            runtime,
            held,
            stop,
            reason: Arc::clone(&state.reason),
            now: Arc::clone(&state.now),
            journal,
        };
        state.tasks.spawn(move |cancelled| async move {
            // Neither may outlive the other: the actor stops with its work, and the work of an
            // actor that is gone, or does not get its work to stop, is cut off.
            let mut done = tokio::spawn(execute(work));
            tokio::select! {
                ended = &mut done => {
                    if let Err(error) = ended {
                        tracing::error!(error = %sentence(&error), run.id = %run, "a run's work panicked");
                    }
                }
                () = cancelled.cancelled() => {
                    done.abort();
                    // Only when it is gone may somebody else work in its folder.
                    let _ = done.await;
                }
            }
            myself.stop(None);
        });
        Ok(state)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Envelope<RunMessage>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        envelope
            .open(state.generation, |_, message| async {
                match message {
                    RunMessage::Stop { reason } => {
                        // The first reason stands.
                        let _ = state.reason.set(reason);
                        state.stop.cancel();
                    }
                    RunMessage::Snapshot { reply } => {
                        let now = state.now.lock().map(|now| now.clone()).unwrap_or_default();
                        answer(reply, Ok(RunSnapshot { now }));
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
        let _ = state.reason.set(StopReason::Shutdown);
        state.stop.cancel();
        if !state.tasks.wait(STOP_LIMIT).await {
            state.tasks.stop(CUT_LIMIT).await;
        }
        state.scheduler.run_ended(state.run, state.epoch);
        tracing::debug!(path = %state.path, "a run's actor stopped");
        Ok(())
    }
}
