//! Limits of a run, looked at before every step.

use serde::{Deserialize, Serialize};

/// What one run may use. Every limit stops the run cleanly: what was done stays in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Tool calls.
    pub steps: u32,
    /// Milliseconds of wall time over all lives of the run.
    pub wall_time_ms: u64,
    /// Bytes of output that all calls together may print.
    pub output_bytes: u64,
    /// Rounds of acting and verifying.
    pub rounds: u32,
    /// Milliseconds that one call may take when it does not say.
    pub call_timeout_ms: u64,
    /// Milliseconds that one check may take when it does not say.
    pub check_timeout_ms: u64,
    /// What the model may cost, in billionths of a US dollar; `None` is no limit.
    #[serde(default)]
    pub cost_nanousd: Option<u64>,
    /// What earlier attempts at the task cost, which counts against `cost_nanousd` too.
    #[serde(default)]
    pub earlier_nanousd: u64,
    /// Tokens that the model may read and write; it holds where no price is known, too.
    #[serde(default = "default_tokens")]
    pub tokens: u64,
}

/// Tokens of a run whose limits do not say.
const fn default_tokens() -> u64 {
    20_000_000
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 200,
            wall_time_ms: 2 * 60 * 60 * 1000,
            output_bytes: 1 << 30,
            rounds: 3,
            call_timeout_ms: 10 * 60 * 1000,
            check_timeout_ms: 30 * 60 * 1000,
            cost_nanousd: None,
            earlier_nanousd: 0,
            tokens: default_tokens(),
        }
    }
}

/// What a run has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tool calls with an intent in the journal.
    pub steps: u32,
    /// Milliseconds of wall time, earlier lives included.
    pub wall_time_ms: u64,
    /// Bytes printed.
    pub output_bytes: u64,
    /// What the model cost, in billionths of a US dollar, as far as prices are known.
    #[serde(default)]
    pub cost_nanousd: u64,
    /// Tokens that the model read and wrote.
    #[serde(default)]
    pub tokens: u64,
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reached", rename_all = "snake_case")]
pub enum LimitHit {
    /// Too many calls.
    Steps {
        /// The limit.
        limit: u32,
    },
    /// Out of time.
    WallTime {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// Too much output.
    Output {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The money is used up.
    Cost {
        /// The limit, in billionths of a US dollar.
        limit_nanousd: u64,
    },
    /// The tokens are used up.
    Tokens {
        /// The limit.
        limit: u64,
    },
}

impl std::fmt::Display for LimitHit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Steps { limit } => write!(f, "the limit of {limit} steps is reached"),
            Self::WallTime { limit_ms } => {
                write!(f, "the time limit of {} s is reached", limit_ms / 1000)
            }
            Self::Output { limit_bytes } => {
                write!(f, "the limit of {limit_bytes} bytes of output is reached")
            }
            Self::Cost { limit_nanousd } => {
                let limit = crate::model::dollars(*limit_nanousd);
                write!(f, "the budget of {limit} US dollars is used up")
            }
            Self::Tokens { limit } => write!(f, "the limit of {limit} tokens is reached"),
        }
    }
}

impl Limits {
    /// The first limit that leaves no room for another step.
    pub const fn hit_by(&self, usage: &Usage) -> Option<LimitHit> {
        if usage.wall_time_ms >= self.wall_time_ms {
            Some(LimitHit::WallTime { limit_ms: self.wall_time_ms })
        } else if usage.steps >= self.steps {
            Some(LimitHit::Steps { limit: self.steps })
        } else if usage.output_bytes >= self.output_bytes {
            Some(LimitHit::Output { limit_bytes: self.output_bytes })
        } else if usage.tokens >= self.tokens {
            Some(LimitHit::Tokens { limit: self.tokens })
        } else {
            match (self.cost_nanousd, self.left_nanousd(usage)) {
                (Some(limit_nanousd), Some(0)) => Some(LimitHit::Cost { limit_nanousd }),
                _ => None,
            }
        }
    }

    /// What the model may still cost, in billionths of a US dollar; `None` is no limit.
    pub const fn left_nanousd(&self, usage: &Usage) -> Option<u64> {
        let spent = self.earlier_nanousd.saturating_add(usage.cost_nanousd);
        match self.cost_nanousd {
            Some(limit) => Some(limit.saturating_sub(spent)),
            None => None,
        }
    }

    /// With as much again of what is counted and was used up, by the user's word. Money and time need
    /// a figure of the user's own.
    #[must_use]
    pub fn with_another_portion(self, hit: LimitHit, portion: &Self) -> Self {
        match hit {
            LimitHit::Steps { limit } => {
                Self { steps: self.steps.max(limit.saturating_add(portion.steps)), ..self }
            }
            LimitHit::Output { limit_bytes } => {
                let output_bytes = limit_bytes.saturating_add(portion.output_bytes);
                Self { output_bytes: self.output_bytes.max(output_bytes), ..self }
            }
            LimitHit::Tokens { limit } => {
                Self { tokens: self.tokens.max(limit.saturating_add(portion.tokens)), ..self }
            }
            LimitHit::WallTime { .. } | LimitHit::Cost { .. } => self,
        }
    }

    /// Whether the limit that was hit leaves room again.
    pub const fn relieves(&self, hit: LimitHit) -> bool {
        match hit {
            LimitHit::Steps { limit } => self.steps > limit,
            LimitHit::WallTime { limit_ms } => self.wall_time_ms > limit_ms,
            LimitHit::Output { limit_bytes } => self.output_bytes > limit_bytes,
            LimitHit::Cost { limit_nanousd } => match self.cost_nanousd {
                Some(limit) => limit > limit_nanousd,
                None => true,
            },
            LimitHit::Tokens { limit } => self.tokens > limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_counts_what_earlier_attempts_cost() {
        let limits = Limits { cost_nanousd: Some(100), earlier_nanousd: 60, ..Limits::default() };
        let used = |cost_nanousd| Usage { cost_nanousd, ..Usage::default() };
        assert_eq!((limits.left_nanousd(&used(39)), limits.hit_by(&used(39))), (Some(1), None));
        assert_eq!(limits.hit_by(&used(40)), Some(LimitHit::Cost { limit_nanousd: 100 }));
        let limits = Limits { cost_nanousd: None, ..limits };
        assert_eq!((limits.left_nanousd(&used(40)), limits.hit_by(&used(40))), (None, None));
    }
}
