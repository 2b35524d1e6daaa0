//! The outbox's shell: looks when something may be due, claims it, sends it as tracked tasks.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use journeyman_domain::failure::sentence;
use journeyman_domain::ids::{EffectId, TaskId};
use journeyman_domain::outbox::EffectKind;
use journeyman_store::{Acting, EffectClaim, Outgoing, StoreError};
use journeyman_supervision::{Child, ChildContext};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::messages::{OutboxHandle, OutboxMessage, OutboxSnapshot};
use super::send;
use crate::context::{Mode, Runtime};
use crate::support::{Envelope, Spawned, TrackedTasks, answer, probed, recordable};

/// Attempts at once.
const MOST_AT_ONCE: usize = 8;
/// Between two looks that nobody asked for: what another process decided, and nobody hinted at.
const POLL: Duration = Duration::from_secs(15);
/// The pause after a look that the database did not answer.
const AFTER_ERROR: Duration = Duration::from_secs(2);
/// The pause after a look that found something due and claimed nothing: another node is at it.
const FLOOR: Duration = Duration::from_millis(200);
/// How long attempts have to break off.
const STOP_LIMIT: Duration = Duration::from_secs(4);

/// The outbox.
#[derive(Debug)]
pub struct OutboxActor;

/// What it holds; what must outlive it is in rows.
pub struct State {
    runtime: Runtime,
    generation: u64,
    handle: OutboxHandle,
    sending: HashSet<EffectId>,
    counts: OutboxSnapshot,
    tasks: TrackedTasks,
    /// Takes the next look's time back.
    timer: CancellationToken,
    /// Why the last look failed, which is said once.
    told: Option<String>,
}

impl OutboxActor {
    /// Starts the outbox at its place in the tree; it answers health probes.
    pub async fn start(runtime: Runtime, child: ChildContext) -> Spawned<Child> {
        let at = child.clone();
        let (actor, _) =
            Self::spawn_linked(None, Self, (runtime, child), at.supervisor.clone()).await?;
        Ok(probed(actor, &at, |reply| OutboxMessage::Snapshot { reply }))
    }
}

impl Actor for OutboxActor {
    type Msg = Envelope<OutboxMessage>;
    type State = State;
    type Arguments = (Runtime, ChildContext);

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        (runtime, child): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let mut state = State {
            generation: child.generation,
            handle: OutboxHandle::new(child.directory, "outbox"),
            sending: HashSet::new(),
            counts: OutboxSnapshot::default(),
            tasks: TrackedTasks::default(),
            timer: CancellationToken::new(),
            told: None,
            runtime,
        };
        if state.runtime.mode != Mode::Observer {
            state.look_in(Duration::ZERO);
        }
        Ok(state)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Envelope<OutboxMessage>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let generation = state.generation;
        envelope
            .open(generation, |_, message| async {
                match message {
                    OutboxMessage::Tick | OutboxMessage::Hint => state.look().await,
                    OutboxMessage::AttemptEnded { effect, outcome } => {
                        state.sending.remove(&effect);
                        match outcome {
                            "done" => state.counts.done += 1,
                            "failed" => state.counts.failed += 1,
                            _ => {}
                        }
                        // What follows it may be due.
                        state.look().await;
                    }
                    OutboxMessage::Resend { task, reply } => {
                        let host = &state.runtime.settings.host;
                        let outbox = state.runtime.store.outbox();
                        answer(reply, outbox.resend(&Acting::now("user"), task, host).await);
                        state.look().await;
                    }
                    OutboxMessage::Snapshot { reply } => {
                        let sending = state.sending.len();
                        let snapshot = OutboxSnapshot { sending, ..state.counts.clone() };
                        answer::<_, Infallible>(reply, Ok(snapshot));
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
        state.tasks.stop(STOP_LIMIT).await;
        Ok(())
    }
}

impl State {
    /// Sends what is due, and sets the time of the next look.
    async fn look(&mut self) {
        if self.runtime.mode == Mode::Observer {
            return;
        }
        let next = match self.claim().await {
            Ok(next) => {
                self.told = None;
                next.map_or(POLL, |next| next.min(POLL))
            }
            Err(error) => {
                let error = Some(sentence(&error));
                if self.told != error {
                    tracing::warn!(error, "the outbox looks again later");
                }
                self.told = error;
                AFTER_ERROR
            }
        };
        self.look_in(next);
    }

    /// How long until the next effect is due, where that is known.
    async fn claim(&mut self) -> Result<Option<Duration>, StoreError> {
        let free = MOST_AT_ONCE.saturating_sub(self.sending.len());
        if free == 0 {
            // The end of an attempt looks again.
            return Ok(None);
        }
        let store = self.runtime.store.clone();
        let settings = self.runtime.settings.clone();
        let claim = EffectClaim {
            node_id: self.runtime.node,
            host: &settings.host,
            only_task: self.only_task(),
            except: settings.forge.client.is_err().then_some(EffectKind::PullRequest),
            limit: u32::try_from(free).unwrap_or(1),
            lease: self.runtime.lease(),
        };
        if let Err(reason) = &settings.forge.client {
            // Where no node has a token the user still sees what it waits for.
            let reason = format!("it waits for a node with a token; on {} {reason}", settings.host);
            store.outbox().explain(&Acting::now("outbox"), &claim, &recordable(&reason)).await?;
        }
        let next = store.outbox().next(&claim).await?;
        if next != Some(Duration::ZERO) {
            return Ok(next);
        }
        let asked = Instant::now();
        let claimed = store.outbox().claim(&Acting::now("outbox"), &claim).await?;
        let (is_nothing, is_more) = (claimed.is_empty(), claimed.len() == free);
        for effect in claimed {
            self.send(effect, asked);
        }
        if is_more {
            return Ok(None);
        }
        let next = store.outbox().next(&claim).await?;
        Ok(if is_nothing { next.map(|next| next.max(FLOOR)) } else { next })
    }

    const fn only_task(&self) -> Option<TaskId> {
        match self.runtime.mode {
            Mode::Foreground(task) => Some(task),
            Mode::Daemon | Mode::Observer => None,
        }
    }

    fn send(&mut self, effect: Outgoing, claimed: Instant) {
        let id = effect.id;
        self.sending.insert(id);
        let (runtime, handle) = (self.runtime.clone(), self.handle.clone());
        self.tasks.spawn(move |stop| async move {
            // A panic must not keep its place: the lease expires, and somebody looks again.
            let sent = tokio::spawn(send::send(runtime, effect, claimed, stop.clone())).await;
            let outcome = sent.unwrap_or_else(|error| {
                tracing::error!(error = %sentence(&error), effect.id = %id, "an attempt panicked");
                "panicked"
            });
            handle.fact(&stop, || OutboxMessage::AttemptEnded { effect: id, outcome }).await;
        });
    }

    /// There is one timer: a later look sets its own.
    fn look_in(&mut self, wait: Duration) {
        self.timer.cancel();
        self.timer = CancellationToken::new();
        let (off, handle) = (self.timer.clone(), self.handle.clone());
        self.tasks.spawn(move |stop| async move {
            tokio::select! {
                () = tokio::time::sleep(wait) => {
                    handle.fact(&stop, || OutboxMessage::Tick).await;
                }
                () = off.cancelled() => {}
                () = stop.cancelled() => {}
            }
        });
    }
}
