//! Settings `[scheduler]`: leases, polling and attempts.

use serde::{Deserialize, Serialize};

use journeyman_domain::schedule;

use super::System;

/// Leases, polling and attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scheduler {
    /// Seconds that a lease is good for, at most half an hour.
    pub lease_s: u32,
    /// Milliseconds between looks at the queue that nobody asked for.
    pub poll_ms: u64,
    /// Attempts at a task before it fails for good.
    pub max_attempts: u32,
    /// Reclaims without a new step before a task is parked.
    pub max_reclaims: u32,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self { lease_s: 15, poll_ms: 2000, max_attempts: 3, max_reclaims: 3 }
    }
}

impl Scheduler {
    /// As the scheduler's decisions take them.
    pub fn decisions(&self, system: &System) -> schedule::Settings {
        schedule::Settings {
            max_concurrent: system.max_concurrent_tasks,
            maintenance: system.maintenance_mode,
            lease_ms: u64::from(self.lease_s.clamp(1, 1_800)) * 1000,
            poll_ms: self.poll_ms.max(50),
            max_attempts: self.max_attempts.max(1),
            max_reclaims: self.max_reclaims.max(1),
        }
    }
}
