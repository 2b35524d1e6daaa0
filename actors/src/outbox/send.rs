//! One attempt at one effect, from its claim to its record, for as long as its lease holds.

use std::time::{Duration, Instant};

use journeyman_domain::outbox::{Attempt, Effect, Found, Input, Next};
use journeyman_faults::{Mechanism, around, is_out, points};
use journeyman_store::{EffectFence, Outgoing, Store, StoreError};
use journeyman_telemetry::{Relation, TraceContext, names};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::recorded::{End, record};
use super::remote::Sending;
use crate::context::{Change, Runtime};

/// How long a lease is good for: as long as those of executions.
pub(super) fn lease(runtime: &Runtime) -> Duration {
    Duration::from_millis(runtime.schedule.borrow().lease_ms)
}

/// Sends it once; the word is how that ended.
pub(super) async fn send(
    runtime: Runtime,
    effect: Outgoing,
    stop: CancellationToken,
) -> &'static str {
    let span = tracing::info_span!(
        parent: None,
        "send",
        otel.name = format!("send {}", effect.kind),
        otel.kind = "client",
        { names::ATTR_EFFECT_KIND } = effect.kind,
        { names::ATTR_EFFECT_ATTEMPT } = effect.attempts,
        { names::ATTR_EFFECT_OUTCOME } = tracing::field::Empty,
        task.id = effect.task_id.map(tracing::field::display),
    );
    let cause: Option<TraceContext> =
        effect.traceparent.as_deref().and_then(|text| text.parse().ok());
    journeyman_telemetry::attach(&span, cause, Relation::Link);
    let began = Instant::now();
    let outcome = attempt(&runtime, &effect, &stop).instrument(span.clone()).await;
    span.record(names::ATTR_EFFECT_OUTCOME, outcome);
    journeyman_telemetry::metrics().effect_sent(&effect.kind, outcome, began.elapsed());
    if let Some(task) = effect.task_id {
        // Nobody need be watching.
        let _ = runtime.changes.send(Change { task, now: None });
    }
    outcome
}

async fn attempt(runtime: &Runtime, effect: &Outgoing, stop: &CancellationToken) -> &'static str {
    let Some(fence) = effect.fence() else { return "fenced" };
    let mut sending = match serde_json::from_value::<Effect>(effect.payload.clone()) {
        Ok(payload) => Sending::new(runtime, effect, payload),
        Err(error) => {
            let reason = format!("this version does not know how to send it: {error}");
            return record(runtime, fence, End::Failed { reason }, stop).await;
        }
    };
    let end = tokio::select! {
        biased;
        () = stop.cancelled() => End::Released,
        () = lost(&runtime.store, fence, lease(runtime)) => {
            tracing::warn!(effect.id = %fence.id, "the lease of an effect is lost; another sender has it");
            return "fenced";
        }
        end = go(effect, &mut sending) => end,
    };
    record(runtime, fence, end, stop).await
}

/// Does what is decided, step by step.
async fn go(effect: &Outgoing, sending: &mut Sending) -> End {
    let number = u32::try_from(effect.attempts).unwrap_or(1);
    // Spreads those that failed together; the id is random enough.
    let spread = effect.id.as_uuid().as_bytes()[15] ^ u8::try_from(number & 0xff).unwrap_or(0);
    let (mut attempt, mut next) = Attempt::begin(number, f64::from(spread) / 255.0);
    loop {
        next = match next {
            Next::Look if is_out(Mechanism::Reconciliation) => {
                attempt.next(Input::Looked(Ok(Found::Nothing)))
            }
            Next::Look => {
                let looked = around(points::OUTBOX_LOOK, sending.look()).await;
                attempt.next(Input::Looked(looked))
            }
            Next::Act => {
                let acted = around(points::OUTBOX_ACT, sending.act()).await;
                attempt.next(Input::Acted(acted))
            }
            Next::Done { remote_id } => {
                let follow_up = sending.follow_up().map(Box::new);
                return End::Done { remote_id, follow_up };
            }
            Next::Retry { in_ms, reason } => {
                let after = Duration::from_millis(in_ms);
                return End::Retry { reason, after };
            }
            Next::Failed { reason } => return End::Failed { reason },
        };
    }
}

/// Comes back when the lease is not ours any more, or may not be: nothing may be sent from then on.
async fn lost(store: &Store, fence: EffectFence, lease: Duration) {
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(lease / 3).await;
        let asked = Instant::now();
        match store.outbox().renew(fence, lease).await {
            Ok(()) => renewed = asked,
            Err(StoreError::Fenced) => return,
            Err(error) => tracing::debug!(error = %error, "a lease was not renewed"),
        }
        if renewed.elapsed() >= lease {
            return;
        }
    }
}

impl End {
    /// The word for it.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Failed { .. } => "failed",
            Self::Retry { .. } => "retry",
            Self::Released => "released",
        }
    }

    /// Says in the log what came of it.
    pub(super) fn say(&self, fence: EffectFence) {
        match self {
            Self::Done { .. } | Self::Released => {}
            Self::Retry { reason, .. } => {
                tracing::info!(effect.id = %fence.id, reason, "an effect is tried again later");
            }
            Self::Failed { reason } => {
                tracing::warn!(effect.id = %fence.id, reason, "an effect is given up");
            }
        }
    }
}
