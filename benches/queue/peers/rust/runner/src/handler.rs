//! What the handlers have done: how many ran, and when the last one started.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
static LAST_NS: AtomicU64 = AtomicU64::new(0);
static RAN: AtomicUsize = AtomicUsize::new(0);
static AWAITED: AtomicUsize = AtomicUsize::new(usize::MAX);
static REACHED: Notify = Notify::const_new();

/// The first line of every no-op handler.
pub fn handler_ran() {
    LAST_NS.store(ORIGIN.elapsed().as_nanos() as u64, Ordering::Relaxed);
    // The store above is seen by whoever sees this count.
    let ran = RAN.fetch_add(1, Ordering::AcqRel) + 1;
    if ran >= AWAITED.load(Ordering::Acquire) {
        REACHED.notify_one();
    }
}

/// How many handlers have run in this process.
pub fn ran() -> usize {
    RAN.load(Ordering::Acquire)
}

/// When the last handler started.
pub fn last() -> Instant {
    *ORIGIN + Duration::from_nanos(LAST_NS.load(Ordering::Acquire))
}

/// Fixes the origin of the handlers' clock, before anything is timed.
pub fn prepare() {
    LazyLock::force(&ORIGIN);
}

/// Waits until so many handlers have run.
pub async fn reached(count: usize) {
    AWAITED.store(count, Ordering::Release);
    while ran() < count {
        // A handler between the store and this wait leaves its permit; the pause only covers a count read too early.
        let _ = tokio::time::timeout(Duration::from_millis(100), REACHED.notified()).await;
    }
    AWAITED.store(usize::MAX, Ordering::Release);
}
