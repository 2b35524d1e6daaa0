//! How an attempt ended, as a row.

use std::time::Duration;

use journeyman_store::{Acting, EffectFence, NewEffect, StoreError, is_transient};
use tokio_util::sync::CancellationToken;

use crate::context::Runtime;

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
                tracing::debug!(error = %error, "the end of an attempt is written later");
                tokio::time::sleep(PAUSE).await;
            }
            Err(StoreError::Fenced) => {
                tracing::warn!(effect.id = %fence.id, "another sender has the effect; nothing is recorded");
                return "fenced";
            }
            Err(error) => {
                tracing::warn!(error = %error, "the end of an attempt was not recorded");
                return "fenced";
            }
        }
    }
}

async fn written(runtime: &Runtime, fence: EffectFence, end: &End) -> Result<(), StoreError> {
    let (outbox, acting) = (runtime.store.outbox(), Acting::now("outbox"));
    match end {
        End::Done { remote_id, follow_up } => {
            outbox.done(&acting, fence, &recordable(remote_id), follow_up.as_deref()).await
        }
        End::Failed { reason } => outbox.failed(&acting, fence, &recordable(reason)).await,
        End::Retry { reason, after } => {
            outbox.retry(&acting, fence, Some(&recordable(reason)), *after).await
        }
        End::Released => outbox.retry(&acting, fence, None, Duration::ZERO).await,
    }
}

/// Without secrets, and without the one character that PostgreSQL's texts cannot hold.
fn recordable(text: &str) -> String {
    journeyman_telemetry::redact::clean(text).replace('\0', "\u{fffd}")
}
