//! How long this node's leases are good for by its own clock.
//!
//! Owns: when they were renewed last, and whether another node could take anything over. The clock is the kernel's
//! boot time, which nobody puts back, and which goes on while the process stands still or the machine sleeps. Must
//! never: say that a lease holds, which the database alone can; only that it must.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

/// What is known of this node's leases. Cheap to clone; all clones know the same.
#[derive(Clone, Debug, Default)]
pub struct Leases(watch::Sender<Known>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Since boot; none before the first lease.
    good_until: Option<Duration>,
    is_alone: bool,
}

impl Leases {
    /// They were written by a statement that began at `began`. `is_alone` says that no other node could take anything
    /// over from this one.
    pub fn renewed(&self, began: Duration, lease: Duration, is_alone: bool) {
        self.0.send_replace(Known { good_until: Some(safe_until(began, lease)), is_alone });
    }

    /// Work begins under a lease of its own. How long those of before are good for, the next renewal says, and who else
    /// is there.
    pub fn began(&self, lease: Duration) {
        let until = safe_until(since_boot(), lease);
        self.0.send_if_modified(|known| {
            let is_first = known.good_until.is_none_or(|good| good < since_boot());
            if is_first {
                known.good_until = Some(until);
            }
            is_first
        });
    }

    /// Whether they are good still, without a look at the database.
    pub fn are_good(&self) -> bool {
        self.0.borrow().good_until.is_some_and(|until| since_boot() < until)
    }

    /// Calls `ending` when they are about to end while another node is there, once for each renewal that did not come.
    pub async fn watch(&self, mut ending: impl FnMut()) {
        // One for all rounds: a renewal that comes between two of them is not missed.
        let mut known = self.0.subscribe();
        let mut is_told = false;
        loop {
            let now = *known.borrow_and_update();
            let ends = async {
                match now.good_until {
                    Some(until) if !now.is_alone && !is_told => {
                        tokio::time::sleep(until.saturating_sub(since_boot())).await;
                    }
                    Some(_) | None => std::future::pending().await,
                }
            };
            is_told = tokio::select! {
                () = ends => {
                    ending();
                    true
                }
                // It lives as long as this does.
                _ = known.changed() => false,
            };
        }
    }
}

/// The time since the machine started.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds)
        + Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or_default())
}

/// Until when work may go on under a lease: what is stopped then is gone before the lease is.
fn safe_until(began: Duration, lease: Duration) -> Duration {
    began + lease * 4 / 5
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    #[test]
    fn a_lease_is_good_until_shortly_before_its_end() {
        let leases = Leases::default();
        assert!(!leases.are_good());
        leases.began(LEASE);
        assert!(leases.are_good());
        let ago = |seconds| since_boot().saturating_sub(Duration::from_secs(seconds));
        leases.renewed(ago(9), LEASE, false);
        assert!(!leases.are_good());
        leases.renewed(ago(7), LEASE, false);
        assert!(leases.are_good());
    }

    #[tokio::test]
    async fn they_end_where_somebody_else_is_there() {
        let leases = Leases::default();
        let over = since_boot().saturating_sub(LEASE);
        leases.renewed(over, LEASE, true);
        let soon = Duration::from_millis(50);
        let mut times = 0;
        let watched = tokio::time::timeout(soon, leases.watch(|| times += 1)).await;
        assert!(watched.is_err() && times == 0);
        leases.renewed(over, LEASE, false);
        let watched = tokio::time::timeout(soon, leases.watch(|| times += 1)).await;
        assert!(watched.is_err() && times == 1);
    }
}
