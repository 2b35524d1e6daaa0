//! The auditor's shell.

use std::time::{Duration, Instant};

use journeyman_domain::failure::sentence;
use journeyman_domain::ids::NodeId;
use journeyman_store::{Acting, Store};
use journeyman_supervision::{Child, ChildContext};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::messages::{AuditorHandle, AuditorMessage, AuditorSnapshot};
use super::recorder::Recorder;
use crate::context::Mode;
use crate::support::{Envelope, Spawned, TrackedTasks, answer};

/// Between two looks at what is not sealed yet, while something is.
const BUSY: Duration = Duration::from_secs(5);
/// The same, while nothing is: an idle runtime shall cost nothing.
const IDLE: Duration = Duration::from_mins(1);

/// Between two times at which old partitions are dropped and new ones made.
const UPKEEP: Duration = Duration::from_hours(24);

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
    handle: AuditorHandle,
    kept_up_at: Option<Instant>,
}

impl AuditorActor {
    /// Starts the auditor at its place in the tree.
    pub async fn start(arguments: Arguments) -> Spawned<Child> {
        let supervisor = arguments.child.supervisor.clone();
        let (actor, _) = Self::spawn_linked(None, Self, arguments, supervisor).await?;
        Ok(Child::new(actor))
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
        let recorder = Recorder { store, node, mode, ledger: child.ledger().clone() };
        let state = State {
            recorder: recorder.clone(),
            generation: child.generation,
            done: AuditorSnapshot::default(),
            tasks: TrackedTasks::default(),
            handle: handle.clone(),
            kept_up_at: None,
        };
        state.tasks.spawn(move |stop| recorder.write_on(handle, stop));
        state.tick_after(BUSY);
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
                    AuditorMessage::Tick => {
                        let sealed = state.seal().await;
                        state.keep_up().await;
                        state.tick_after(if sealed == 0 { IDLE } else { BUSY });
                    }
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
        if tokio::time::timeout(SEAL_LIMIT, state.seal()).await.is_err() {
            tracing::warn!("the audit was not sealed; it will be later");
        }
        Ok(())
    }
}

impl State {
    fn tick_after(&self, pause: Duration) {
        let handle = self.handle.clone();
        self.tasks.spawn(move |stop| async move {
            tokio::select! {
                () = tokio::time::sleep(pause) => {
                    handle.tell(AuditorMessage::Tick);
                }
                () = stop.cancelled() => {}
            }
        });
    }

    async fn seal(&mut self) -> i64 {
        match self.recorder.store.audit().seal().await {
            Ok(sealed) => {
                self.done.sealed += sealed;
                sealed
            }
            Err(error) => {
                tracing::warn!(error = %sentence(&error), "the audit was not sealed; it will be later");
                0
            }
        }
    }

    /// Retention: one daemon a database would do, and more do no harm.
    async fn keep_up(&mut self) {
        let due = self.kept_up_at.is_none_or(|at| at.elapsed() >= UPKEEP);
        if self.recorder.mode != Mode::Daemon || !due {
            return;
        }
        match self.recorder.store.upkeep(&Acting::now("auditor")).await {
            Ok(dropped) => {
                self.kept_up_at = Some(Instant::now());
                if !dropped.is_empty() {
                    tracing::info!(partitions = dropped.join(", "), "old rows are gone");
                }
            }
            Err(error) => {
                tracing::warn!(error = %sentence(&error), "the upkeep failed; it comes again");
            }
        }
    }
}
