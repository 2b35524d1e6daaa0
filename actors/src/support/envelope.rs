//! The envelope of every message: where it comes from, what it belongs to, its trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use journeyman_domain::ids::TaskId;
use journeyman_telemetry::context::{Relation, TraceContext, attach};
use journeyman_telemetry::metrics::metrics;
use journeyman_telemetry::panic;
use tracing::Span;
use uuid::Uuid;

/// What the user sees a message belong to.
pub type Correlation = Option<TaskId>;

/// A message type of an actor.
pub trait Message: Send + 'static {
    /// The actor's name in the table of actors.
    const ACTOR: &'static str;

    /// The variant's name, for spans, metrics and logs; never its content.
    fn kind(&self) -> &'static str;
}

/// Everything about a message but its content.
#[derive(Clone, Debug)]
pub struct Meta {
    /// UUIDv7.
    pub id: Uuid,
    /// What the user sees it belong to; copied on, never invented below the edge.
    pub correlation: Correlation,
    /// The message whose handling sent this one.
    pub causation: Option<Uuid>,
    /// Who sent it: an actor's name, or the edge it came in by.
    pub sender: &'static str,
    /// Where in the tree it goes to.
    pub path: Arc<str>,
    /// The sender's span, as data.
    pub trace: Option<TraceContext>,
    /// Child where the sender waits, link where it does not.
    pub relation: Relation,
    /// When it was sent.
    pub sent_at: Instant,
}

/// A message on its way.
#[derive(Debug)]
pub struct Envelope<M> {
    meta: Meta,
    body: M,
    /// Counts the message as waiting for as long as it does, also when its mailbox is dropped.
    waiting: Waiting,
}

/// One message in the count of a mailbox's depth.
#[derive(Debug)]
pub(super) struct Waiting {
    actor: &'static str,
    depth: Arc<AtomicUsize>,
}

impl Waiting {
    /// Counts one more, and says how many wait with it.
    pub(super) fn enter(actor: &'static str, depth: Arc<AtomicUsize>) -> (Self, usize) {
        let now = depth.fetch_add(1, Ordering::Relaxed) + 1;
        metrics().mailbox_depth(actor, now as u64);
        (Self { actor, depth }, now)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let before = self.depth.fetch_sub(1, Ordering::Relaxed);
        metrics().mailbox_depth(self.actor, before.saturating_sub(1) as u64);
    }
}

tokio::task_local! {
    /// The message that is being handled: the cause of those that its handling sends.
    static HANDLED: (Uuid, Correlation);
}

impl<M: Message> Envelope<M> {
    /// Seals a message; what caused it is known from the task that sends it.
    pub(super) fn seal(
        sender: &'static str,
        path: &Arc<str>,
        relation: Relation,
        waiting: Waiting,
        body: M,
    ) -> Self {
        let cause = HANDLED.try_with(|cause| *cause).ok();
        Self {
            meta: Meta {
                id: Uuid::now_v7(),
                correlation: cause.and_then(|(_, correlation)| correlation),
                causation: cause.map(|(id, _)| id),
                sender,
                path: Arc::clone(path),
                trace: TraceContext::current(),
                relation,
                sent_at: Instant::now(),
            },
            body,
            waiting,
        }
    }

    /// Sets what the user sees the message belong to.
    pub(super) fn about(mut self, correlation: Correlation) -> Self {
        self.meta.correlation = correlation.or(self.meta.correlation);
        self
    }

    /// Handles the message: within a span of its own that is related as the envelope says, and as
    /// the cause of whatever the handling sends.
    pub async fn open<F, R>(self, generation: u64, handle: impl FnOnce(Meta, M) -> F) -> R
    where
        F: Future<Output = R>,
    {
        let Self { meta, body, waiting } = self;
        drop(waiting);
        let (actor, kind, queued) = (M::ACTOR, body.kind(), meta.sent_at.elapsed());
        let span = tracing::info_span!(
            parent: None,
            "actor message",
            otel.name = format!("{actor} {kind}"),
            otel.kind = "consumer",
            actor,
            actor.path = %meta.path,
            actor.generation = generation,
            message.kind = kind,
            message.id = %meta.id,
            message.queue_us = u64::try_from(queued.as_micros()).unwrap_or(u64::MAX),
            task.id = meta.correlation.map(tracing::field::display),
        );
        attach(&span, meta.trace, meta.relation);
        let cause = (meta.id, meta.correlation);
        let path = Arc::clone(&meta.path);
        let began = Instant::now();
        let answer = {
            use tracing::Instrument as _;
            let handled = handle(meta, body).instrument(Span::clone(&span));
            // Under its path, so that its supervisor finds what it panicked over.
            panic::named(path, HANDLED.scope(cause, handled)).await
        };
        let took = began.elapsed();
        metrics().message_handled(actor, kind, queued, took);
        if took > BUDGET {
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            span.in_scope(|| tracing::debug!(took_ms, "a handler was slow"));
        }
        answer
    }
}

/// What a handler may take before it is worth a line.
const BUDGET: std::time::Duration = std::time::Duration::from_millis(50);
