//! Settings `[run]`: what one run may use.

use serde::{Deserialize, Serialize};

use journeyman_domain::limits::Limits;
use journeyman_domain::model::nanousd;

/// What one run may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Run {
    /// Tool calls.
    pub steps: u32,
    /// Seconds of wall time over all its lives.
    pub wall_time_s: u64,
    /// Bytes that all its calls may print together.
    pub output_bytes: u64,
    /// Rounds of acting and verifying.
    pub rounds: u32,
    /// Seconds that one call may take.
    pub call_timeout_s: u64,
    /// Seconds that one check may take.
    pub check_timeout_s: u64,
    /// US dollars that the model may cost; 0: no limit.
    pub budget_usd: f64,
    /// Tokens that the model may read and write.
    pub tokens: u64,
    /// Whether work that nothing can check is completed unverified.
    pub allow_unverified: bool,
}

impl Default for Run {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            steps: limits.steps,
            wall_time_s: limits.wall_time_ms / 1000,
            output_bytes: limits.output_bytes,
            rounds: limits.rounds,
            call_timeout_s: limits.call_timeout_ms / 1000,
            check_timeout_s: limits.check_timeout_ms / 1000,
            budget_usd: 0.0,
            tokens: limits.tokens,
            allow_unverified: false,
        }
    }
}

impl Run {
    /// As a run's decisions take them.
    pub fn limits(&self) -> Limits {
        Limits {
            steps: self.steps,
            wall_time_ms: self.wall_time_s.saturating_mul(1000),
            output_bytes: self.output_bytes,
            rounds: self.rounds,
            call_timeout_ms: self.call_timeout_s.saturating_mul(1000),
            check_timeout_ms: self.check_timeout_s.saturating_mul(1000),
            cost_nanousd: (self.budget_usd > 0.0).then(|| nanousd(self.budget_usd)),
            earlier_nanousd: 0,
            tokens: self.tokens,
        }
    }
}
