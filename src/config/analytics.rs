//! Settings `[analytics]`: how long figures are kept.

use serde::{Deserialize, Serialize};

/// How long figures are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Analytics {
    /// Days that audit and metrics are kept.
    pub retention_days: u32,
    /// Hours over which metrics are summed up.
    pub aggregation_interval_hours: u32,
}

impl Default for Analytics {
    fn default() -> Self {
        Self { retention_days: 365, aggregation_interval_hours: 24 }
    }
}
