//! The lives of actors as metrics and traces: each change is counted as it happens, and is in a trace. A restart is a
//! span that leads back to the message whose handling failed, or to the exit; what belongs to no message and no restart
//! is a moment of its own.
//!
//! Owns the spans of restarts that are under way. It is called by the supervisors themselves, so that nothing is
//! missing while the database is away or the auditor is down.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use journeyman_supervision::{Change, ChildPath, Exit};
use journeyman_telemetry::context::{Relation, TraceContext, attach};
use journeyman_telemetry::metrics::metrics;
use journeyman_telemetry::panic;
use tracing::Span;

/// What is known of the children that are down.
#[derive(Debug, Default)]
pub struct Lives(Mutex<HashMap<ChildPath, Down>>);

/// A child that ended and may come back.
#[derive(Debug)]
struct Down {
    exit: &'static str,
    /// The message, the restart or the moment at which it failed.
    failed: Option<TraceContext>,
    /// The restart that is under way.
    restart: Option<Span>,
}

impl Lives {
    /// Takes a change in; where it belongs in the traces, as a `traceparent`.
    pub fn observe(&self, path: &ChildPath, generation: u64, change: &Change) -> Option<String> {
        let actor = actor_of(path);
        metrics().supervised(actor, word(change));
        let moment = || moment(actor, path, generation, change);
        let mut lives = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let context = match change {
            Change::Exited { exit } => {
                let failed = panicked(path).or_else(moment);
                lives.insert(path.clone(), Down { exit: ending(exit), failed, restart: None });
                failed
            }
            Change::StartFailed { .. } => {
                let tried = lives.remove(path).and_then(|down| down.restart);
                let tried = tried.and_then(|span| TraceContext::of(&span));
                let failed = panicked(path).or(tried).or_else(moment);
                lives.insert(path.clone(), Down { exit: "failed", failed, restart: None });
                failed
            }
            Change::Restarting { after, cause } => {
                let failed = lives.get(cause).and_then(|down| down.failed);
                let exit = lives.get(path).map_or("failed", |down| down.exit);
                metrics().actor_restarted(actor, exit);
                let delay_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                let span = tracing::info_span!(
                    parent: None,
                    "restart",
                    otel.name = format!("restart {actor}"),
                    actor,
                    actor.path = %path,
                    actor.generation = generation,
                    exit,
                    restart.cause = %cause,
                    restart.delay_ms = delay_ms,
                );
                attach(&span, failed, Relation::Link);
                let context = TraceContext::of(&span);
                let down = lives.entry(path.clone());
                down.or_insert(Down { exit, failed, restart: None }).restart = Some(span);
                context
            }
            Change::Started | Change::Stopped => {
                let down = lives.remove(path);
                let restart = down.and_then(|down| down.restart);
                restart.and_then(|span| TraceContext::of(&span)).or_else(moment)
            }
            Change::GaveUp { reason } => {
                lives.get(&reason.child).and_then(|down| down.failed).or_else(moment)
            }
            Change::Unhealthy { .. } => moment(),
            Change::Omitted { .. } => None,
        };
        context.map(|context| context.to_string())
    }
}

/// A change as a span of its own, which begins and ends with it.
fn moment(
    actor: &'static str,
    path: &ChildPath,
    generation: u64,
    change: &Change,
) -> Option<TraceContext> {
    let change = word(change);
    let span = tracing::info_span!(
        parent: None,
        "life",
        otel.name = format!("{change} {actor}"),
        actor,
        actor.path = %path,
        actor.generation = generation,
        change,
    );
    TraceContext::of(&span)
}

/// The trace of the last panic of whoever lives at a path.
fn panicked(path: &ChildPath) -> Option<TraceContext> {
    panic::take_last(path.as_str()).and_then(|record| record.trace)
}

/// The name in the table of actors of whoever lives at a path; supervisors have one for all.
fn actor_of(path: &ChildPath) -> &'static str {
    let is_run = path.as_str().matches('/').count() == 3;
    let named = crate::ACTORS.iter().find(|actor| actor.name == path.id()).map(|actor| actor.name);
    named.unwrap_or(if is_run { "run" } else { "supervisor" })
}

/// The exit as a metric's label.
const fn ending(exit: &Exit) -> &'static str {
    match exit {
        Exit::Normal => "normal",
        Exit::Shutdown => "shutdown",
        Exit::Drained => "drained",
        Exit::Killed => "killed",
        Exit::Cancelled => "cancelled",
        Exit::Failed(_) => "failed",
    }
}

/// The change as a metric's label.
const fn word(change: &Change) -> &'static str {
    match change {
        Change::Started => "started",
        Change::StartFailed { .. } => "start_failed",
        Change::Unhealthy { .. } => "unhealthy",
        Change::Exited { .. } => "exited",
        Change::Restarting { .. } => "restarting",
        Change::GaveUp { .. } => "gave_up",
        Change::Stopped => "stopped",
        Change::Omitted { .. } => "omitted",
    }
}
