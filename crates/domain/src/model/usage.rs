//! Tokens and what they cost.

use serde::{Deserialize, Serialize};

/// The tokens of one call or of many, in classes that are priced apart. A prompt's tokens are the
/// sum of the first three; reasoning is a part of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Input that no cache knew.
    pub uncached_input: u64,
    /// Input read from a cache.
    pub cache_read: u64,
    /// Input written to a cache.
    pub cache_write: u64,
    /// Output, reasoning included.
    pub output: u64,
    /// Output that was reasoning.
    pub reasoning: u64,
}

impl TokenUsage {
    /// Input and output together.
    pub const fn total(&self) -> u64 {
        self.input().saturating_add(self.output)
    }

    /// The prompt's tokens.
    pub const fn input(&self) -> u64 {
        self.uncached_input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }

    /// Both together.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            uncached_input: self.uncached_input.saturating_add(other.uncached_input),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }
}

/// What a model's tokens cost, in billionths of a US dollar a token (3 dollars a million tokens are
/// 3000), so that sums are exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Uncached input.
    pub input_nanousd: u64,
    /// Input read from a cache.
    pub cache_read_nanousd: u64,
    /// Input written to a cache.
    pub cache_write_nanousd: u64,
    /// Output and reasoning.
    pub output_nanousd: u64,
    /// The version of the table that says so.
    pub version: String,
}

impl Price {
    /// Billionths of a US dollar for these tokens.
    pub const fn cost_nanousd(&self, usage: &TokenUsage) -> u64 {
        (usage.uncached_input.saturating_mul(self.input_nanousd))
            .saturating_add(usage.cache_read.saturating_mul(self.cache_read_nanousd))
            .saturating_add(usage.cache_write.saturating_mul(self.cache_write_nanousd))
            .saturating_add(usage.output.saturating_mul(self.output_nanousd))
    }
}

/// Billionths of a US dollar as dollars, for rows and for people.
#[expect(clippy::cast_precision_loss, reason = "a bill below 9 million dollars is exact")]
pub fn dollars(nanousd: u64) -> f64 {
    nanousd as f64 / 1e9
}

/// US dollars as billionths of one. Nothing below a billionth, nothing negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float beyond the range becomes its nearest end"
)]
pub fn nanousd(dollars: f64) -> u64 {
    (dollars * 1e9).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_price() {
        let price = Price {
            input_nanousd: 3_000,
            cache_read_nanousd: 300,
            cache_write_nanousd: 3_750,
            output_nanousd: 15_000,
            version: "1".into(),
        };
        let usage = TokenUsage {
            uncached_input: 1_000,
            cache_read: 10_000,
            cache_write: 100,
            output: 200,
            reasoning: 50,
        };
        assert_eq!(price.cost_nanousd(&usage), 3_000_000 + 3_000_000 + 375_000 + 3_000_000);
        assert_eq!((usage.input(), usage.total()), (11_100, 11_300));
        assert_eq!(usage.plus(&usage).total(), 22_600);
        assert_eq!((nanousd(1.5), nanousd(-1.0)), (1_500_000_000, 0));
        assert!((dollars(1_500_000_000) - 1.5).abs() < f64::EPSILON);
    }
}
