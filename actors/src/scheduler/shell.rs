//! The scheduler's shell: translates messages into inputs, and effects into calls of the store.

mod adding;
mod leases;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use journeyman_domain::failure::sentence;
use journeyman_domain::ids::{RunId, TaskId};
use journeyman_domain::schedule::{self, Effect, Input};
use journeyman_store::{Acting, Claim, ClaimRequest, Fence, Store, StoreError, Task, is_transient};
use journeyman_supervision::{Child, ChildContext, DynamicError};
use journeyman_telemetry::metrics::metrics;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::handle::SchedulerHandle;
use super::messages::{SchedulerMessage, SchedulerSnapshot, Wish};
use super::tend::Tending;
use crate::agent::{AgentsHandle, StopReason};
use crate::context::{Change, Mode, Runtime};
use crate::support::{Envelope, Reply, Spawned, TrackedTasks, answer, probed, read_at_start};

/// How often it is said that the database refuses or is away.
const TELL_AGAIN: Duration = Duration::from_mins(1);

/// The task scheduler.
#[derive(Debug)]
pub struct SchedulerActor;

/// What it starts with.
pub struct Arguments {
    /// What all actors share.
    pub runtime: Runtime,
    /// Its place in the tree.
    pub child: ChildContext,
}

/// What it holds; all of it can be rebuilt from rows.
pub struct State {
    runtime: Runtime,
    generation: u64,
    decided: schedule::State,
    runs: HashMap<RunId, Started>,
    done: SchedulerSnapshot,
    drained: Option<Reply<(), Infallible>>,
    agents: AgentsHandle,
    handle: SchedulerHandle,
    began: Instant,
    tasks: TrackedTasks,
    /// Whether tasks without a run are being ended.
    completing: Arc<AtomicBool>,
    /// Schedules, and what is stuck.
    tending: Arc<Tending>,
    /// Whether anything new is begun here, for what is under way outside of a handler.
    begins: Arc<AtomicBool>,
    /// Whether a tick waits or is handled: another one would only wait behind it.
    ticking: Arc<AtomicBool>,
    /// What the node's row says of why not.
    told_idle: Option<&'static str>,
    /// Whether the database was away, or without room, since the last renewal.
    was_away: bool,
    /// When it was last said that the database is.
    told_at: Option<Instant>,
}

/// A run that has an actor here, or gets one.
struct Started {
    task: TaskId,
    /// The epoch of its lease: the run may end in one and go on in the next.
    epoch: i64,
}

impl SchedulerActor {
    /// Starts the scheduler at its place in the tree; it answers health probes.
    pub async fn start(arguments: Arguments) -> Spawned<Child> {
        let at = arguments.child.clone();
        let (actor, _) = Self::spawn_linked(None, Self, arguments, at.supervisor.clone()).await?;
        Ok(probed(actor, &at, |reply| SchedulerMessage::Snapshot { reply }))
    }
}

impl Actor for SchedulerActor {
    type Msg = Envelope<SchedulerMessage>;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        Arguments { runtime, child }: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let agents = AgentsHandle::new(child.directory.clone());
        let (runs, held) = read_at_start(runtime.mode, || read_rows(&runtime, &agents)).await?;
        let decided = schedule::State {
            running: u32::try_from(runs.len()).unwrap_or(u32::MAX),
            draining: runtime.mode == Mode::Observer,
            held,
            ..schedule::State::default()
        };
        let state = State {
            generation: child.generation,
            decided,
            runs,
            done: SchedulerSnapshot::default(),
            drained: None,
            agents,
            handle: SchedulerHandle::new(child.directory, "scheduler"),
            began: Instant::now(),
            tasks: TrackedTasks::default(),
            completing: Arc::default(),
            tending: Arc::default(),
            begins: Arc::default(),
            ticking: Arc::default(),
            told_idle: None,
            was_away: false,
            told_at: None,
            runtime,
        };
        state.watch_leases();
        state.start_clock();
        state.start_listening();
        Ok(state)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Envelope<SchedulerMessage>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let generation = state.generation;
        envelope.open(generation, |_, message| state.take(message)).await;
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.tasks.stop(Duration::from_secs(2)).await;
        Ok(())
    }
}

impl State {
    fn settings(&self) -> schedule::Settings {
        self.runtime.schedule.borrow().clone()
    }

    fn start_clock(&self) {
        if self.runtime.mode == Mode::Observer {
            return;
        }
        let (handle, now) = (self.handle.clone(), self.runtime.schedule.clone());
        let ticking = Arc::clone(&self.ticking);
        self.tasks.spawn(move |stop| async move {
            loop {
                if !ticking.swap(true, Ordering::AcqRel) && !handle.tick() {
                    ticking.store(false, Ordering::Release);
                }
                let every = {
                    let settings = now.borrow();
                    Duration::from_millis(settings.poll_ms.min(settings.lease_ms / 3))
                };
                tokio::select! {
                    () = tokio::time::sleep(every) => {}
                    () = stop.cancelled() => return,
                }
            }
        });
    }

    /// Hints from other processes. Losing them costs time, never a task.
    fn start_listening(&self) {
        if self.runtime.mode != Mode::Daemon {
            return;
        }
        let (handle, store) = (self.handle.clone(), self.runtime.store.clone());
        self.tasks.spawn(move |stop| async move {
            loop {
                let listened = async {
                    let hints = store.listen(journeyman_store::TASKS_CHANNEL).await?;
                    let mut hints = std::pin::pin!(hints);
                    while let Some(hint) = hints.next().await {
                        handle.hint_about(hint?.parse().ok());
                    }
                    Ok(())
                };
                let ended: Result<(), StoreError> = tokio::select! {
                    ended = listened => ended,
                    () = stop.cancelled() => return,
                };
                if let Err(error) = ended {
                    tracing::debug!(error = %sentence(&error), "hints are lost; the poll goes on");
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }

    async fn take(&mut self, message: SchedulerMessage) {
        match message {
            SchedulerMessage::Tick => {
                self.step(Input::Tick).await;
                self.ticking.store(false, Ordering::Release);
            }
            SchedulerMessage::Hint { task } => {
                // It may be to be stopped or held.
                if task.is_some_and(|task| self.runs.values().any(|run| run.task == task))
                    && let Err(error) = self.renew().await
                {
                    self.fails("wishes are looked at later", &error);
                }
                self.step(Input::Hint).await;
            }
            SchedulerMessage::Hold { held, reply } => {
                self.step(Input::Hold(held)).await;
                answer(reply, Ok(self.snapshot()));
            }
            SchedulerMessage::RunEnded { run, epoch } => {
                if self.runs.get(&run).is_some_and(|started| started.epoch <= epoch) {
                    self.runs.remove(&run);
                    self.step(Input::RunEnded).await;
                }
                self.settle_drain();
            }
            SchedulerMessage::AddTasks { tasks, reply } => self.add(tasks, reply),
            SchedulerMessage::Wish { task, wish, reply } => {
                let done = self.wish(task, wish).await;
                let is_done = done.is_ok();
                answer(reply, done);
                if is_done {
                    self.step(Input::Hint).await;
                }
            }
            SchedulerMessage::Drain { reply } => {
                self.drained = Some(reply);
                self.step(Input::Drain).await;
                for run in self.agents.runs() {
                    run.stop(StopReason::Shutdown);
                }
                self.settle_drain();
            }
            SchedulerMessage::Snapshot { reply } => answer(reply, Ok(self.snapshot())),
        }
    }

    fn snapshot(&self) -> SchedulerSnapshot {
        let settings = self.settings();
        SchedulerSnapshot {
            running: self.decided.running,
            max_concurrent: settings.max_concurrent,
            draining: self.decided.draining,
            held: self.decided.held,
            maintenance: settings.maintenance,
            ..self.done.clone()
        }
    }

    fn settle_drain(&mut self) {
        if self.runs.is_empty()
            && let Some(reply) = self.drained.take()
        {
            answer(reply, Ok(()));
        }
    }

    async fn step(&mut self, input: Input) {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let settings = self.settings();
        let (state, effects) = schedule::step(&settings, &self.decided, input, now_ms);
        self.decided = state;
        if self.runtime.mode == Mode::Observer {
            return;
        }
        self.tell_why_idle(&settings).await;
        for effect in effects {
            let done = match effect {
                Effect::Renew => {
                    let renewed = self.renew().await;
                    if renewed.is_err() {
                        self.decided.renew_again();
                    }
                    renewed
                }
                Effect::Tend => {
                    self.tend();
                    Ok(())
                }
                Effect::TakeOver { limit } => self.take_over(limit).await,
                Effect::Claim { limit } => self.claim(limit).await,
            };
            if let Err(error) = done {
                let what = format!("the scheduler tries again later: {effect:?}");
                if self.fails(&what, &error) {
                    // The rest would wait for the same, and whoever asks would wait for it. It is due again soon.
                    return;
                }
            }
        }
    }

    /// Says it once a minute; whether no server answers.
    fn fails(&mut self, what: &str, error: &StoreError) -> bool {
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_AGAIN) {
            tracing::warn!(error = %sentence(error), "{what}");
            self.told_at = Some(Instant::now());
        } else {
            tracing::debug!(error = %sentence(error), "{what}");
        }
        self.was_away |= is_transient(error);
        matches!(error, StoreError::Unavailable(_))
    }

    const fn only_task(&self) -> Option<TaskId> {
        match self.runtime.mode {
            Mode::Foreground(task) => Some(task),
            Mode::Daemon | Mode::Observer => None,
        }
    }

    async fn claim(&mut self, limit: u32) -> Result<(), StoreError> {
        let store = self.runtime.store.clone();
        let mut is_more = store.queue().is_anything_there().await?;
        if !is_more {
            return Ok(());
        }
        let settings = self.settings();
        let acting = Acting::now("scheduler");
        let mut left = limit;
        while is_more && left > 0 {
            let request = ClaimRequest {
                node_id: self.runtime.node,
                limit: left,
                agents: None,
                lease: self.runtime.lease(),
                only_task: self.only_task(),
                max_concurrent: settings.max_concurrent,
            };
            let began = Instant::now();
            let claims = store.queue().claim(&acting, &request).await?;
            let took = began.elapsed();
            if claims.is_empty() {
                break;
            }
            left = left.saturating_sub(u32::try_from(claims.len()).unwrap_or(u32::MAX));
            for claim in claims {
                metrics().task_claimed(claim.waited, took);
                self.done.claimed += 1;
                self.start(claim);
            }
            is_more = store.queue().is_anything_there().await?;
        }
        if self.runtime.mode == Mode::Daemon {
            self.complete_runless();
        }
        Ok(())
    }

    /// Writes down why nothing is begun here, once for each change.
    async fn tell_why_idle(&mut self, settings: &schedule::Settings) {
        let idle = self.decided.idle_because(settings);
        self.begins.store(self.decided.begins(settings), Ordering::Release);
        if idle == self.told_idle {
            return;
        }
        let (nodes, acting) = (self.runtime.store.nodes(), Acting::now("scheduler"));
        match nodes.set_idle(&acting, self.runtime.node, idle).await {
            Ok(()) => self.told_idle = idle,
            Err(error) => tracing::debug!(error = %sentence(&error), "it is said later"),
        }
    }

    /// Looks after schedules and stuck tasks, outside of this handler.
    fn tend(&self) {
        if self.runtime.mode == Mode::Daemon {
            let (tending, store) = (Arc::clone(&self.tending), self.runtime.store.clone());
            let handle = self.handle.clone();
            self.tasks.spawn(move |stop| async move {
                if tending.once(&store, &stop).await {
                    handle.hint();
                }
            });
        }
    }

    /// Starts the actor of a claimed run, outside of this handler: it may take a while.
    fn start(&mut self, claim: Claim) {
        let (run, epoch) = (claim.run.id, claim.execution.lease_epoch);
        // Where it is known, its last life here has ended, and its actor is about to go.
        if self.runs.insert(run, Started { task: claim.task.id, epoch }).is_none() {
            self.decided.running += 1;
        }
        self.runtime.leases.began(self.runtime.lease());
        self.changed(claim.task.id);
        let (agents, handle) = (self.agents.clone(), self.handle.clone());
        let store = self.runtime.store.clone();
        self.tasks.spawn(move |_| async move {
            if let Err(error) = agents.start_run(claim.agent.id, run).await {
                tracing::error!(error = %sentence(&error), run.id = %run, "a run's actor did not start");
                if let Some(fence) = claim.fence() {
                    hand_back(&store, fence, &error).await;
                }
                handle.run_ended(run, epoch);
            }
        });
    }

    async fn wish(&mut self, task: TaskId, wish: Wish) -> Result<Task, StoreError> {
        let (tasks, acting) = (self.runtime.store.tasks(), Acting::now("user"));
        let after = match &wish {
            Wish::Cancel => tasks.request_cancel(&acting, task).await,
            Wish::Pause => tasks.pause(&acting, task).await,
            Wish::Resume { budget_usd, time_limit_s } => {
                tasks.resume(&acting, task, *budget_usd, *time_limit_s).await
            }
            Wish::Approve => tasks.approve(&acting, task).await,
            Wish::Retry => tasks.retry(&acting, task).await,
            Wish::Answer { text } => tasks.answer(&acting, task, text).await,
        }?;
        self.changed(task);
        if matches!(wish, Wish::Cancel | Wish::Pause) {
            self.renew().await?;
        }
        Ok(after)
    }

    fn changed(&self, task: TaskId) {
        // Nobody need be watching.
        let _ = self.runtime.changes.send(Change { task, now: None });
    }
}

/// Gives back the lease of a run whose actor did not start. What fails at its start wherever it is tried counts
/// like a lost lease, so that it is parked in the end.
async fn hand_back(store: &Store, fence: Fence, error: &DynamicError) {
    let (queue, acting) = (store.queue(), Acting::now("scheduler"));
    let done = match error {
        DynamicError::StartFailed { .. } => queue.abandon(&acting, fence).await,
        DynamicError::Unavailable { .. }
        | DynamicError::NotDynamic
        | DynamicError::BadId { .. }
        | DynamicError::Exists { .. }
        | DynamicError::Unknown { .. }
        | DynamicError::Full { .. } => queue.release(&acting, fence).await,
    };
    if let Err(error) = done {
        tracing::debug!(error = %sentence(&error), "its lease was not released; it will expire");
    }
}

/// The runs that a restarted scheduler finds still there, and whether the user wants nothing to be begun here.
async fn read_rows(
    runtime: &Runtime,
    agents: &AgentsHandle,
) -> Result<(HashMap<RunId, Started>, bool), StoreError> {
    let mut runs = HashMap::new();
    for handle in agents.runs() {
        let task = match runtime.store.runs().get(handle.run).await {
            Ok(run) => run.task_id,
            // Its task was deleted; the run is about to end.
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        if let Some(task) = task {
            // Whatever its epoch is, there was no other since.
            runs.insert(handle.run, Started { task, epoch: 0 });
        }
    }
    Ok((runs, is_held(runtime).await?))
}

/// Whether the user wants this node to begin nothing, as the row of its life says.
async fn is_held(runtime: &Runtime) -> Result<bool, StoreError> {
    if runtime.mode != Mode::Daemon {
        return Ok(false);
    }
    let node = runtime.store.nodes().get(runtime.node).await?;
    Ok(node.idle_because.as_deref() == Some("drained"))
}
