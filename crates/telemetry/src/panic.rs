//! Panics as one structured event, and the last one of each actor for its supervisor.
//!
//! Owns: the process's panic hook. Must never: panic itself, which would abort the process.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, Once, PoisonError};

use crate::{TraceContext, redact};

/// The most panics that wait to be picked up; the oldest is dropped.
const KEPT: usize = 64;
const TARGET: &str = "journeyman::panic";

/// A panic, with its message free of secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicRecord {
    /// The name given by [`named`], else the thread's.
    pub name: String,
    /// What the panic said.
    pub message: String,
    /// `file:line:column`, where the compiler kept it.
    pub location: Option<String>,
    /// The span in which it happened.
    pub trace: Option<TraceContext>,
}

static RECORDS: Mutex<VecDeque<PanicRecord>> = Mutex::new(VecDeque::new());
static INSTALLED: Once = Once::new();

tokio::task_local! {
    static NAME: Arc<str>;
}

/// Runs `future` under a name by which [`take_last`] finds its panic.
pub async fn named<F: Future>(name: impl Into<Arc<str>>, future: F) -> F::Output {
    NAME.scope(name.into(), future).await
}

/// The last panic under this name, once.
pub fn take_last(name: &str) -> Option<PanicRecord> {
    let mut records = RECORDS.lock().unwrap_or_else(PoisonError::into_inner);
    let index = records.iter().rposition(|record| record.name == name)?;
    let last = records.remove(index);
    records.retain(|record| record.name != name);
    last
}

/// Replaces the panic hook: a panic becomes an error event, or goes to the hook before where
/// nothing listens to events. Further calls do nothing.
pub fn install() {
    INSTALLED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let record = record(info);
            if tracing::enabled!(target: TARGET, tracing::Level::ERROR) {
                report(&record);
            } else {
                before(info);
            }
            let mut records = RECORDS.lock().unwrap_or_else(PoisonError::into_inner);
            if records.len() == KEPT {
                records.pop_front();
            }
            records.push_back(record);
        }));
    });
}

fn record(info: &PanicHookInfo<'_>) -> PanicRecord {
    let name = NAME
        .try_with(ToString::to_string)
        .unwrap_or_else(|_| std::thread::current().name().unwrap_or("unnamed").to_owned());
    PanicRecord {
        name,
        message: redact::clean(info.payload_as_str().unwrap_or("(not a text)")).into_owned(),
        location: info.location().map(ToString::to_string),
        trace: TraceContext::current(),
    }
}

fn report(record: &PanicRecord) {
    // Only present where the user asked for it by RUST_BACKTRACE.
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured)
        .then(|| tracing::field::display(backtrace));
    tracing::error!(
        target: TARGET,
        { panic.name = record.name,
        panic.message = record.message,
        panic.location = record.location,
        panic.backtrace = backtrace },
        "a part of the program panicked"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_panic_of_a_named_task_is_kept_once_and_without_secrets() {
        install();
        redact::register("my-panic-secret");
        for round in 1..=2 {
            let task = named("agents/one", async move {
                tokio::task::yield_now().await;
                panic!("round {round} with my-panic-secret");
            });
            assert!(tokio::spawn(task).await.unwrap_err().is_panic());
        }
        let record = take_last("agents/one").unwrap();
        assert_eq!(record.message, "round 2 with ***");
        assert!(record.location.unwrap().contains("panic.rs:"));
        assert_eq!(take_last("agents/one"), None);
    }
}
