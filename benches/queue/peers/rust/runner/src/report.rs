//! The one line on standard output, whatever comes first: the result or the time limit.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::handler;

static PRINTED: AtomicBool = AtomicBool::new(false);
static PHASE: Mutex<Option<(&'static str, Instant)>> = Mutex::new(None);

/// Names what goes on now, for the line of a run that reaches its limit.
pub fn phase(name: &'static str) {
    if let Ok(mut phase) = PHASE.lock() {
        *phase = Some((name, Instant::now()));
    }
}

/// Prints the line, unless one is out.
pub fn print(line: &Value) {
    if !PRINTED.swap(true, Ordering::SeqCst) {
        println!("{line}");
    }
}

/// Ends the process at the limit with what is known by then. A thread of its own, since a peer that hangs may hold
/// every thread of the runtime.
pub fn limit(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        let (name, seconds) = match PHASE.lock().ok().and_then(|phase| *phase) {
            Some((name, since)) => (name, since.elapsed().as_secs_f64()),
            None => ("start", limit.as_secs_f64()),
        };
        print(
            &json!({ "timeout": true, "phase": name, "phase_seconds": seconds, "handlers_ran": handler::ran() }),
        );
        std::process::exit(0)
    });
}
