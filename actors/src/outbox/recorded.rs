//! How an attempt ended, as a row.

use std::time::Duration;

use journeyman_domain::failure::sentence;
use journeyman_store::{Acting, EffectFence, NewEffect, StoreError, is_transient};
use tokio_util::sync::CancellationToken;

use crate::context::Runtime;
use crate::support::recordable;

/// The pause before a row is written again that the database did not take.
const PAUSE: Duration = Duration::from_millis(500);

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// It is there.
    Done {
        /// What names it there.
        remote_id: String,
        /// What was decided with it.
        follow_up: Option<Box<NewEffect>>,
    },
    /// It is given up.
    Failed {
        /// One sentence.
        reason: String,
    },
    /// Another attempt follows.
    Retry {
        /// One sentence.
        reason: String,
        /// After this pause.
        after: Duration,
    },
    /// The sender is stopped: anybody may go on at once.
    Released,
}

impl End {
    /// The word for it.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Failed { .. } => "failed",
            Self::Retry { .. } => "retry",
            Self::Released => "released",
        }
    }

    /// Says in the log what came of it.
    fn say(&self, fence: EffectFence) {
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

/// Writes it, behind the fence, as often as it takes. Where it is not written, the lease expires, and the next
/// sender finds by its look what is there.
pub(super) async fn record(
    runtime: &Runtime,
    fence: EffectFence,
    end: End,
    stop: &CancellationToken,
) -> &'static str {
    end.say(fence);
    loop {
        match written(runtime, fence, &end).await {
            Ok(()) => return end.as_str(),
            Err(error) if is_transient(&error) && !stop.is_cancelled() => {
                tracing::debug!(error = %sentence(&error), "the end of an attempt is written later");
                tokio::time::sleep(PAUSE).await;
            }
            Err(StoreError::Fenced) => return refused(runtime, fence, &end).await,
            Err(error) => {
                tracing::warn!(effect.id = %fence.id, error = %sentence(&error), "the end of an attempt was not recorded");
                return "unrecorded";
            }
        }
    }
}

/// What came of an end that the fence did not let pass: an earlier write of it may have arrived, and its answer not.
async fn refused(runtime: &Runtime, fence: EffectFence, end: &End) -> &'static str {
    match runtime.store.outbox().get(fence.id).await {
        Ok(Some(row)) if row.is_ended_by(fence) => end.as_str(),
        Ok(Some(_)) => {
            tracing::warn!(effect.id = %fence.id, "another sender has the effect; nothing is recorded");
            "fenced"
        }
        Ok(None) => {
            tracing::warn!(effect.id = %fence.id, "the effect is gone, with its task; nothing is recorded");
            "unrecorded"
        }
        Err(error) => {
            tracing::warn!(effect.id = %fence.id, error = %sentence(&error), "whether the end of an attempt was recorded is not known");
            "unrecorded"
        }
    }
}

async fn written(runtime: &Runtime, fence: EffectFence, end: &End) -> Result<(), StoreError> {
    let (outbox, acting) = (runtime.store.outbox(), Acting::now("outbox"));
    match end {
        End::Done { remote_id, follow_up } => {
            outbox.done(&acting, fence, &brief(remote_id), follow_up.as_deref()).await
        }
        End::Failed { reason } => outbox.failed(&acting, fence, &brief(reason)).await,
        End::Retry { reason, after } => {
            outbox.retry(&acting, fence, Some(&brief(reason)), *after).await
        }
        End::Released => outbox.retry(&acting, fence, None, Duration::ZERO).await,
    }
}

/// What a remote said, cut to what a row of the outbox needs of it.
fn brief(text: &str) -> String {
    recordable(&journeyman_telemetry::redact::clean(text))
}
