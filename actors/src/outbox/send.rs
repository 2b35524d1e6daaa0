//! One attempt at one effect, from its claim to its record, for as long as its lease holds.

use std::time::Duration;

use journeyman_domain::failure::sentence;
use journeyman_domain::outbox::{Attempt, Effect, Found, Input, Next};
use journeyman_faults::{Mechanism, around, is_out, points};
use journeyman_store::{EffectFence, Outgoing, Store, StoreError};
use journeyman_telemetry::{Relation, TraceContext, names};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::recorded::{End, record};
use super::remote::Sending;
use crate::context::{Change, Runtime};

/// The pause before a lease is renewed again that was not renewed before an act.
const PAUSE: Duration = Duration::from_millis(200);

/// Sends it once; the word is how that ended. Its lease counts from before its claim.
pub(super) async fn send(
    runtime: Runtime,
    effect: Outgoing,
    claimed: Instant,
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
    let outcome = attempt(&runtime, &effect, claimed, &stop).instrument(span.clone()).await;
    span.record(names::ATTR_EFFECT_OUTCOME, outcome);
    journeyman_telemetry::metrics().effect_sent(&effect.kind, outcome, began.elapsed());
    if let Some(task) = effect.task_id {
        // Nobody need be watching.
        let _ = runtime.changes.send(Change { task, now: None });
    }
    outcome
}

async fn attempt(
    runtime: &Runtime,
    effect: &Outgoing,
    claimed: Instant,
    stop: &CancellationToken,
) -> &'static str {
    let Some(fence) = effect.fence() else { return "fenced" };
    let mut sending = match serde_json::from_value::<Effect>(effect.payload.clone()) {
        Ok(payload) => Sending::new(runtime, effect, payload),
        Err(error) => {
            let reason = format!("this version does not know how to send it: {error}");
            return record(runtime, fence, End::Failed { reason }, stop).await;
        }
    };
    let lease = Lease { store: &runtime.store, fence, length: runtime.lease() };
    // Its loss is looked at first, so that who was asleep does nothing more.
    let end = tokio::select! {
        biased;
        () = stop.cancelled() => Some(End::Released),
        () = lease.lost(claimed) => None,
        end = go(effect, &lease, &mut sending) => end,
    };
    let Some(end) = end else {
        tracing::warn!(effect.id = %fence.id, "the lease of an effect is lost; it is left to whoever claims it");
        return "fenced";
    };
    record(runtime, fence, end, stop).await
}

/// Does what is decided, step by step; `None` where the lease is lost.
async fn go(effect: &Outgoing, lease: &Lease<'_>, sending: &mut Sending) -> Option<End> {
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
                let act =
                    async { if lease.holds().await { Some(sending.act().await) } else { None } };
                attempt.next(Input::Acted(around(points::OUTBOX_ACT, act).await?))
            }
            Next::Done { remote_id } => {
                let follow_up = sending.follow_up().map(Box::new);
                return Some(End::Done { remote_id, follow_up });
            }
            Next::Retry { in_ms, reason } => {
                let after = Duration::from_millis(in_ms);
                return Some(End::Retry { reason, after });
            }
            Next::Failed { reason } => return Some(End::Failed { reason }),
        };
    }
}

/// The right to send an effect.
struct Lease<'a> {
    store: &'a Store,
    fence: EffectFence,
    /// How long it is good for, from each renewal.
    length: Duration,
}

impl Lease<'_> {
    /// Whether it is still ours: asked directly before an act, since its sender may have been asleep. Where the
    /// database says nothing it is asked again, until [`Self::lost`] ends that.
    async fn holds(&self) -> bool {
        loop {
            match self.store.outbox().renew(self.fence, self.length).await {
                Ok(()) => return true,
                Err(StoreError::Fenced) => return false,
                Err(error) => tracing::debug!(error = %sentence(&error), "a lease was not renewed"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Renews it from time to time; comes back when it is not ours any more, or may not be, also where the database
    /// says nothing: nothing may be sent from then on.
    async fn lost(&self, claimed: Instant) {
        let (mut renewed, mut asked) = (claimed, claimed);
        loop {
            let over = renewed + self.length;
            tokio::time::sleep_until(over.min(asked + self.length / 3)).await;
            asked = Instant::now();
            if asked >= over {
                return;
            }
            let outbox = self.store.outbox();
            let renewal = outbox.renew(self.fence, self.length);
            match tokio::time::timeout_at(over, renewal).await {
                Ok(Ok(())) => renewed = asked,
                Ok(Err(StoreError::Fenced)) | Err(_) => return,
                Ok(Err(error)) => {
                    tracing::debug!(error = %sentence(&error), "a lease was not renewed");
                }
            }
        }
    }
}
