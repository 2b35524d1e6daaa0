//! The gateway's shell: sends tries out as tracked tasks, writes their rows, answers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use futures_util::FutureExt as _;
use journeyman_domain::failure::sentence;
use journeyman_domain::gateway::{self, Asked, Bill, CallId, Effect, Input};
use journeyman_domain::model::{FailureKind, ModelFailure, dollars};
use journeyman_models::Attempt;
use journeyman_store::{ModelCall, Store, StoreError};
use journeyman_supervision::{Child, ChildContext};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio_util::sync::CancellationToken;

use super::attempt::try_once;
use super::handle::GatewayHandle;
use super::messages::{Answered, Call, GatewayMessage, GatewaySnapshot, GivenUp};
use super::row::{self, record_unwanted};
use crate::context::Runtime;
use crate::leases::Leases;
use crate::support::{Envelope, Reply, Spawned, TrackedTasks, answer, probed, read_at_start};

/// How long a call waits in the gateway before its run is put aside instead.
const PATIENCE_MS: u64 = 60_000;
/// How long the tasks of the gateway have to end.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// The gateway to the models.
#[derive(Debug)]
pub struct GatewayActor;

/// What it holds; what must outlive it is in rows.
pub struct State {
    runtime: Runtime,
    generation: u64,
    decided: gateway::State,
    settings: gateway::Settings,
    pending: HashMap<CallId, Pending>,
    next: CallId,
    handle: GatewayHandle,
    tasks: TrackedTasks,
    /// When it is woken next (milliseconds since 1970), and what takes that back.
    timer: Option<(u64, CancellationToken)>,
}

/// A call that has no answer yet.
struct Pending {
    call: Arc<Call>,
    reply: Reply<Answered, GivenUp>,
    /// The row of the failed try that is not written yet.
    failed: Option<ModelCall>,
    billed: Bill,
}

impl GatewayActor {
    /// Starts the gateway at its place in the tree; it answers health probes.
    pub async fn start(runtime: Runtime, child: ChildContext) -> Spawned<Child> {
        let at = child.clone();
        let (actor, _) =
            Self::spawn_linked(None, Self, (runtime, child), at.supervisor.clone()).await?;
        Ok(probed(actor, &at, |reply| GatewayMessage::Snapshot { reply }))
    }
}

impl Actor for GatewayActor {
    type Msg = Envelope<GatewayMessage>;
    type State = State;
    type Arguments = (Runtime, ChildContext);

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        (runtime, child): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let now = Utc::now();
        let calls = || async { runtime.store.calls().spent_since(row::midnight(now)).await };
        let spent = read_at_start(runtime.mode, calls).await?;
        Ok(State {
            decided: gateway::State::new(row::ms(now), spent),
            settings: gateway::Settings {
                patience_ms: PATIENCE_MS,
                daily_nanousd: runtime.models.daily_nanousd,
            },
            pending: HashMap::new(),
            // What an earlier instance's tasks still say is about none of ours.
            next: child.generation << 32,
            handle: GatewayHandle::new(child.directory, "gateway"),
            generation: child.generation,
            tasks: TrackedTasks::default(),
            timer: None,
            runtime,
        })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Envelope<GatewayMessage>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let generation = state.generation;
        envelope
            .open(generation, |_, message| async {
                match message {
                    GatewayMessage::Ask { call, reply } => state.asked(*call, reply),
                    GatewayMessage::TryEnded { call, attempt, row } => {
                        state.try_ended(call, attempt.map(|attempt| *attempt), *row);
                    }
                    GatewayMessage::TryRecorded { call, is_held: true } => {
                        state.input(Input::Recorded { call });
                    }
                    GatewayMessage::TryRecorded { call, is_held: false } => {
                        // Nobody may go on with a run that is another's. It is billed already.
                        state.pending.remove(&call);
                        state.input(Input::Withdrawn { call, cost_nanousd: 0 });
                    }
                    GatewayMessage::TimeUp => {
                        state.timer = None;
                        state.input(Input::TimeUp);
                    }
                    GatewayMessage::Snapshot { reply } => {
                        answer::<_, Infallible>(reply, Ok(state.snapshot()));
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
    fn asked(&mut self, call: Call, reply: Reply<Answered, GivenUp>) {
        let served = self.runtime.models.providers.get(&call.settings.provider);
        let Some(served) = served.filter(|served| served.provider.is_ok()) else {
            let reason = match served.map(|served| &served.provider) {
                Some(Err(reason)) => reason.clone(),
                Some(Ok(_)) | None => "it is not set up any more".to_owned(),
            };
            let message =
                format!("the provider '{}' cannot be used: {reason}", call.settings.provider);
            let failure = ModelFailure::of(FailureKind::Auth, message);
            let failed = Bill::default();
            return answer(reply, Err(GivenUp { failure, until_ms: None, failed }));
        };
        self.next += 1;
        let id = self.next;
        let is_failure = |row: &&ModelCall| row.failure_kind.as_deref() != Some(row::CANCELLED);
        let billed = call.earlier.iter().map(row::bill).fold(Bill::default(), Bill::plus);
        let asked = Asked {
            provider: call.settings.provider.clone(),
            max_concurrent: served.max_concurrent,
            retries: served.retries,
            failures: call.earlier.iter().filter(is_failure).count().try_into().unwrap_or(u32::MAX),
            not_before_ms: call
                .earlier
                .iter()
                .filter_map(|row| row.next_attempt_at)
                .max()
                .map(row::ms),
            reserve: row::reserve(&call),
            billed,
            room: call.room,
            given_up: call.given_up,
            spent: call.spent,
        };
        let pending = Pending { call: Arc::new(call), reply, failed: None, billed };
        self.pending.insert(id, pending);
        self.input(Input::Asked { call: id, asked });
    }

    fn try_ended(&mut self, id: CallId, attempt: Option<Attempt>, row: ModelCall) {
        let bill = row::bill(&row);
        let pending = self.pending.remove(&id);
        let wanted = pending.filter(|pending| !pending.call.stop.is_cancelled());
        let (Some(attempt), Some(mut pending)) = (attempt, wanted) else {
            let store = self.runtime.store.clone();
            self.tasks.spawn(move |_| async move { record_unwanted(&store, row).await });
            return self.input(Input::Withdrawn { call: id, cost_nanousd: bill.nanousd });
        };
        let closed_for = attempt.limits.exhausted_ms();
        match attempt.result {
            Ok(turn) => {
                answer(pending.reply, Ok(Answered { turn, row, failed: pending.billed }));
                self.input(Input::Answered { call: id, cost_nanousd: bill.nanousd, closed_for });
            }
            Err(failure) => {
                tracing::info!(kind = %failure.kind, reason = failure.message, "a model call failed");
                pending.billed = pending.billed.plus(bill);
                // Spreads those that failed together; the run's id is random enough.
                let bytes = *pending.call.run.as_uuid().as_bytes();
                let spread = bytes[15] ^ u8::try_from(row.attempt & 0xff).unwrap_or_default();
                pending.failed = Some(row);
                self.pending.insert(id, pending);
                let jitter_unit = f64::from(spread) / 255.0;
                self.input(Input::Failed { call: id, failure, bill, closed_for, jitter_unit });
            }
        }
    }

    fn input(&mut self, input: Input) {
        let gone: Vec<CallId> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.call.stop.is_cancelled())
            .map(|(id, _)| *id)
            .collect();
        let mut inputs = vec![input];
        inputs.extend(gone.into_iter().map(|call| {
            self.pending.remove(&call);
            // A try that is out says itself what it cost.
            Input::Withdrawn { call, cost_nanousd: 0 }
        }));
        for input in inputs {
            let now_ms = row::ms(Utc::now());
            for effect in gateway::step(&mut self.decided, &self.settings, now_ms, input) {
                self.effect(effect, now_ms);
            }
        }
    }

    fn effect(&mut self, effect: Effect, now_ms: u64) {
        match effect {
            Effect::Try { call, attempt } => self.send_out(call, attempt),
            Effect::Record { call, next_ms } => self.record(call, next_ms),
            Effect::GiveUp { call, failure, until_ms } => self.give_up(call, failure, until_ms),
            Effect::WakeAt(at_ms) => self.wake_at(at_ms, now_ms),
        }
    }

    /// There is one timer: what a later one would say is asked for again when an earlier one has.
    fn wake_at(&mut self, at_ms: u64, now_ms: u64) {
        if self.timer.as_ref().is_some_and(|(other_ms, _)| *other_ms <= at_ms) {
            return;
        }
        let off = CancellationToken::new();
        if let Some((_, later)) = self.timer.replace((at_ms, off.clone())) {
            later.cancel();
        }
        let handle = self.handle.clone();
        let wait = Duration::from_millis(at_ms.saturating_sub(now_ms).max(1));
        self.tasks.spawn(move |stop| async move {
            tokio::select! {
                () = tokio::time::sleep(wait) => {
                    handle.fact(&stop, || GatewayMessage::TimeUp).await;
                }
                () = off.cancelled() => {}
                () = stop.cancelled() => {}
            }
        });
    }

    fn send_out(&self, id: CallId, attempt: u32) {
        let Some(pending) = self.pending.get(&id) else { return };
        let (call, handle) = (Arc::clone(&pending.call), self.handle.clone());
        let (models, store) = (Arc::clone(&self.runtime.models), self.runtime.store.clone());
        let leases = self.runtime.leases.clone();
        self.tasks.spawn(move |stop| async move {
            let first = row::begun(&call, attempt);
            let began = Instant::now();
            let is_ours = is_ours(&leases, &store, &call);
            let tried = AssertUnwindSafe(try_once(&models, &call, is_ours, stopped(&stop, &call)));
            let answered = tried.catch_unwind().await.unwrap_or_else(|_| {
                let message = "an answer could not be read, which is a fault of ours";
                Some(Attempt::failed(ModelFailure::of(FailureKind::Protocol, message)))
            });
            let row = match &answered {
                Some(answered) => row::ended(first, &call.settings, answered, began.elapsed()),
                None => first,
            };
            if stop.is_cancelled() {
                // The gateway itself stops, and takes no facts any more.
                return record_unwanted(&store, row).await;
            }
            let (attempt, row) = (answered.map(Box::new), Box::new(row));
            handle
                .fact(&stop, || {
                    let (attempt, row) = (attempt.clone(), row.clone());
                    GatewayMessage::TryEnded { call: id, attempt, row }
                })
                .await;
        });
    }

    fn record(&mut self, id: CallId, next_ms: u64) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        let Some(row) = pending.failed.take() else { return };
        let row = ModelCall { next_attempt_at: row::time(next_ms), ..row };
        let (store, handle) = (self.runtime.store.clone(), self.handle.clone());
        let call = Arc::clone(&pending.call);
        self.tasks.spawn(move |stop| async move {
            let written = tokio::select! {
                written = patiently(&store, &call, &row) => written,
                () = stop.cancelled() => return record_unwanted(&store, row).await,
            };
            if !written {
                record_unwanted(&store, row).await;
            }
            let recorded = || GatewayMessage::TryRecorded { call: id, is_held: written };
            handle.fact(&stop, recorded).await;
        });
    }

    fn give_up(&mut self, id: CallId, failure: ModelFailure, until_ms: Option<u64>) {
        let Some(pending) = self.pending.remove(&id) else { return };
        let reply = pending.reply;
        let given_up = GivenUp { failure, until_ms, failed: pending.billed };
        let Some(row) = pending.failed else { return answer(reply, Err(given_up)) };
        let row = ModelCall { next_attempt_at: until_ms.and_then(row::time), ..row };
        let store = self.runtime.store.clone();
        self.tasks.spawn(move |stop| async move {
            let written = tokio::select! {
                written = patiently(&store, &pending.call, &row) => written,
                () = stop.cancelled() => false,
            };
            if !written {
                record_unwanted(&store, row).await;
            }
            answer(reply, Err(given_up));
        });
    }

    fn snapshot(&self) -> GatewaySnapshot {
        let (waiting, in_flight) = self.decided.counts();
        let closed = self.decided.closed(row::ms(Utc::now()));
        GatewaySnapshot {
            waiting,
            in_flight,
            closed: closed.map(|(name, until)| (name.to_owned(), until)).collect(),
            spent_today_usd: dollars(self.decided.spent_nanousd()),
        }
    }
}

/// The failure with which a try breaks off: nobody wants it any more, or its run's time is over.
async fn stopped(stop: &CancellationToken, call: &Call) -> ModelFailure {
    let left_ms = call.room.until_ms.saturating_sub(row::ms(Utc::now()));
    tokio::select! {
        () = stop.cancelled() => {}
        () = call.stop.cancelled() => {}
        () = tokio::time::sleep(Duration::from_millis(left_ms)) => {
            let message = "the run's time was over before the answer was complete";
            return ModelFailure::of(FailureKind::Timeout, message);
        }
    }
    ModelFailure::of(FailureKind::Cancelled, "nobody waits for the answer any more")
}

/// Whether the run is this node's still: who was asleep or cut off since its lease was renewed asks before anything is
/// paid for. While the database says nothing, nothing is.
async fn is_ours(leases: &Leases, store: &Store, call: &Call) -> bool {
    if leases.are_good() {
        return true;
    }
    loop {
        match store.queue().holds(call.fence).await {
            Ok(is_ours) => return is_ours,
            Err(error) => {
                tracing::debug!(error = %sentence(&error), "whose a run is, is asked again");
            }
        }
        let pause = tokio::time::sleep(Duration::from_millis(500));
        if call.stop.run_until_cancelled(pause).await.is_none() {
            return false;
        }
    }
}

/// Writes the row of a failed try; whether the run is still ours. Waits while the database is away.
async fn patiently(store: &Store, call: &Call, row: &ModelCall) -> bool {
    loop {
        match store.calls().record(call.fence, row).await {
            Ok(()) => return true,
            Err(StoreError::Fenced) => return false,
            Err(error) if journeyman_store::is_transient(&error) && !call.stop.is_cancelled() => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => {
                tracing::warn!(error = %sentence(&error), "a failed model call was not recorded");
                return true;
            }
        }
    }
}
