//! The auditor's shell.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use journeyman_store::{Acting, StoreError};
use journeyman_supervision::{Change, Child, ChildContext, ChildPath, Exit, SupervisionRecord};
use journeyman_telemetry::metrics::metrics;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::broadcast::error::RecvError;

use super::messages::{AuditorHandle, AuditorMessage, AuditorSnapshot};
use crate::context::{Mode, Runtime};
use crate::support::{Envelope, Spawned, TrackedTasks, answer};

/// Between two looks at what is not sealed yet, while something is.
const BUSY: Duration = Duration::from_secs(5);
/// The same, while nothing is: an idle runtime shall cost nothing.
const IDLE: Duration = Duration::from_mins(1);

/// Between two times at which old partitions are dropped and new ones made.
const UPKEEP: Duration = Duration::from_hours(24);

/// The auditor.
#[derive(Debug)]
pub struct AuditorActor;

/// What it starts with.
pub struct Arguments {
    /// What all actors share.
    pub runtime: Runtime,
    /// Its place in the tree, and where the records of the tree are.
    pub child: ChildContext,
}

/// What it holds.
pub struct State {
    runtime: Runtime,
    generation: u64,
    done: AuditorSnapshot,
    tasks: TrackedTasks,
    handle: AuditorHandle,
    kept_up_at: Option<Instant>,
    /// How those ended that were neither restarted nor given up yet.
    exits: HashMap<ChildPath, &'static str>,
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
        Arguments { runtime, child }: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let handle = AuditorHandle::new(child.directory.clone(), "auditor");
        let state = State {
            runtime,
            generation: child.generation,
            done: AuditorSnapshot::default(),
            tasks: TrackedTasks::default(),
            handle: handle.clone(),
            kept_up_at: None,
            exits: HashMap::new(),
        };
        let mut records = child.records();
        state.tasks.spawn(move |stop| async move {
            loop {
                let record = tokio::select! {
                    record = records.recv() => record,
                    () = stop.cancelled() => return,
                };
                match record {
                    Ok(record) => {
                        handle.tell(AuditorMessage::Supervised { record: Box::new(record) });
                    }
                    Err(RecvError::Lagged(lost)) => {
                        tracing::warn!(lost, "supervision records came too fast");
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
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
                    AuditorMessage::Supervised { record } => state.record(&record).await,
                    AuditorMessage::Tick => {
                        let sealed = state.seal().await;
                        state.keep_up().await;
                        state.tick_after(if sealed == 0 { IDLE } else { BUSY });
                    }
                    AuditorMessage::Snapshot { reply } => {
                        answer(reply, Ok(state.done.clone()));
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
        state.tasks.stop(Duration::from_secs(1)).await;
        state.seal().await;
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
        match self.runtime.store.audit().seal().await {
            Ok(sealed) => {
                self.done.sealed += sealed;
                sealed
            }
            Err(error) => {
                tracing::warn!(error = %error, "the audit was not sealed; it will be later");
                0
            }
        }
    }

    /// Retention: one daemon a database would do, and more do no harm.
    async fn keep_up(&mut self) {
        let due = self.kept_up_at.is_none_or(|at| at.elapsed() >= UPKEEP);
        if self.runtime.mode != Mode::Daemon || !due {
            return;
        }
        match self.runtime.store.upkeep(&Acting::now("auditor")).await {
            Ok(dropped) => {
                self.kept_up_at = Some(Instant::now());
                if !dropped.is_empty() {
                    tracing::info!(partitions = dropped.join(", "), "old rows are gone");
                }
            }
            Err(error) => tracing::warn!(error = %error, "the upkeep failed; it comes again"),
        }
    }

    async fn record(&mut self, record: &SupervisionRecord) {
        self.measure(record);
        // A command that only looks has no node that the record could be about.
        if self.runtime.mode == Mode::Observer {
            return;
        }
        match self.write(record).await {
            Ok(()) => self.done.recorded += 1,
            Err(error) => {
                self.done.lost += 1;
                tracing::warn!(error = %error, "a supervision record was not written");
            }
        }
    }

    /// A restart is counted with the exit before it.
    fn measure(&mut self, record: &SupervisionRecord) {
        match &record.change {
            Change::Exited { exit } => {
                if !exit.is_normal() {
                    tracing::warn!(path = %record.path, exit = %exit, "a supervised child ended");
                }
                self.exits.insert(record.path.clone(), word(exit));
            }
            Change::Restarting { .. } => {
                let exit = self.exits.remove(&record.path).unwrap_or("failed");
                metrics().actor_restarted(actor_of(record), exit);
            }
            Change::Stopped => {
                self.exits.remove(&record.path);
            }
            Change::Started
            | Change::StartFailed { .. }
            | Change::Unhealthy { .. }
            | Change::GaveUp { .. } => {}
        }
    }

    async fn write(&self, record: &SupervisionRecord) -> Result<(), StoreError> {
        let detail = serde_json::to_value(record).unwrap_or_default();
        let acting = Acting::now("auditor");
        let node = [self.runtime.node.as_uuid()];
        let audit = self.runtime.store.audit();
        audit.record(&acting, "supervision", "runtime_nodes", &node, &detail).await
    }
}

/// The exit as a metric's label.
const fn word(exit: &Exit) -> &'static str {
    match exit {
        Exit::Normal => "normal",
        Exit::Shutdown => "shutdown",
        Exit::Drained => "drained",
        Exit::Killed => "killed",
        Exit::Cancelled => "cancelled",
        Exit::Failed(_) => "failed",
    }
}

/// The name in the table of actors of whoever a record is about; supervisors have one for all.
fn actor_of(record: &SupervisionRecord) -> &'static str {
    let id = record.path.id();
    let is_run = record.path.as_str().matches('/').count() == 3;
    let named = crate::ACTORS.iter().find(|actor| actor.name == id).map(|actor| actor.name);
    named.unwrap_or(if is_run { "run" } else { "supervisor" })
}
