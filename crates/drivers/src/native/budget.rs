//! What a run may still use, and how much of it an answer may take.
//!
//! It owns what was used, tries that failed included. It must never let a request out that could use
//! more than a limit leaves.

use journeyman_domain::limits::{LimitHit, Limits, Usage};
use journeyman_domain::model::{ModelSettings, ModelTurn, dollars};

/// Tokens that an answer must be able to have, or it is not asked for.
const LEAST_OUTPUT: u32 = 256;

/// Why there is no room for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// A limit of the run.
    Limit(LimitHit),
    /// The context window.
    Window,
}

/// See the module.
pub(super) struct Budget {
    limits: Limits,
    used: Usage,
    told: Vec<Measure>,
    /// What the next request alone may cost at the most (billionths of a US dollar), and its tokens.
    expected: (u64, u64),
    /// Tokens of the last request, as the provider counted them and as they were estimated.
    counted: Option<(u64, u64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Measure {
    Cost,
    Tokens,
    Steps,
    WallTime,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, used: Usage::default(), told: Vec::new(), expected: (0, 0), counted: None }
    }

    /// Milliseconds that one call may take.
    pub(super) const fn call_timeout_ms(&self) -> u64 {
        self.limits.call_timeout_ms
    }

    /// Takes in what calls of the model cost, answered or not.
    pub(super) const fn billed(&mut self, cost_nanousd: u64, tokens: u64) {
        self.used.cost_nanousd = self.used.cost_nanousd.saturating_add(cost_nanousd);
        self.used.tokens = self.used.tokens.saturating_add(tokens);
    }

    /// Takes in an answer to a request of so many estimated tokens.
    pub(super) fn answered(&mut self, estimate: u64, turn: &ModelTurn, elapsed_ms: u64) {
        self.used.wall_time_ms = elapsed_ms;
        if turn.usage_known && turn.usage.input() > 0 && estimate > 0 {
            self.counted = Some((turn.usage.input(), estimate));
        }
    }

    /// Takes in a call that ended.
    pub(super) const fn called(&mut self) {
        self.used.steps = self.used.steps.saturating_add(1);
    }

    /// Takes in the limits of a run that goes on; whether they are others than before.
    pub(super) fn resumed(&mut self, limits: Limits) -> bool {
        let is_other = limits != self.limits;
        self.limits = limits;
        let told = std::mem::take(&mut self.told);
        self.told = told.into_iter().filter(|measure| self.is_short(*measure)).collect();
        is_other
    }

    /// An estimate in the light of what the provider counted last, but never more than four times
    /// of it or less than a quarter.
    pub(super) fn corrected(&self, estimate: u64) -> u64 {
        let Some((actual, estimated)) = self.counted else {
            return estimate;
        };
        let corrected = u128::from(estimate) * u128::from(actual) / u128::from(estimated);
        let corrected = u64::try_from(corrected).unwrap_or(u64::MAX);
        corrected.clamp(estimate / 4, estimate.saturating_mul(4))
    }

    /// Tokens that the answer to a request of so many tokens may have.
    pub(super) fn room(&self, model: &ModelSettings, input: u64) -> Result<u32, Short> {
        let least = u64::from(LEAST_OUTPUT.min(model.max_output_tokens));
        let window = model.context_window.saturating_sub(input);
        if window < least {
            return Err(Short::Window);
        }
        let tokens = self.limits.tokens.saturating_sub(self.used.tokens).saturating_sub(input);
        if tokens < least {
            return Err(Short::Limit(LimitHit::Tokens { limit: self.limits.tokens }));
        }
        let mut room = u64::from(model.max_output_tokens).min(window).min(tokens);
        let money = self.limits.cost_nanousd.zip(self.limits.left_nanousd(&self.used));
        if let (Some((limit_nanousd, left)), Some(price)) = (money, &model.price) {
            // Whether a cache will know the request is not known before.
            let dearest = price.input_nanousd.max(price.cache_write_nanousd);
            let left = left.saturating_sub(input.saturating_mul(dearest));
            let affordable = left.checked_div(price.output_nanousd).unwrap_or(u64::MAX);
            let is_free = dearest == 0 && price.output_nanousd == 0;
            if !is_free && (left == 0 || affordable < least) {
                return Err(Short::Limit(LimitHit::Cost { limit_nanousd }));
            }
            room = room.min(affordable);
        }
        Ok(u32::try_from(room).unwrap_or(u32::MAX))
    }

    /// Takes in how many tokens the next request has: it counts as used before it is sent, since the
    /// limit will hold it back before the rest is spent.
    pub(super) fn expect(&mut self, model: &ModelSettings, input: u64) {
        let price = model.price.as_ref();
        let dearest = price.map_or(0, |price| price.input_nanousd.max(price.cache_write_nanousd));
        self.expected = (input.saturating_mul(dearest), input);
    }

    /// What the model is told where a limit is nearly reached; once for each.
    pub(super) fn news(&mut self) -> Option<String> {
        let all = [Measure::Cost, Measure::Tokens, Measure::Steps, Measure::WallTime];
        let short: Vec<Measure> = all
            .into_iter()
            .filter(|measure| !self.told.contains(measure) && self.is_short(*measure))
            .collect();
        if short.is_empty() {
            return None;
        }
        let left: Vec<String> = short.iter().map(|measure| self.left(*measure)).collect();
        self.told.extend(short);
        Some(format!(
            "[runtime] More than 80 % of a limit of this run is used up, the next request \
             included; what is left: {}. Do what matters most now, leave the workspace in a working state, and end with a summary.",
            left.join(", ")
        ))
    }

    fn is_short(&self, measure: Measure) -> bool {
        let (used, limit) = self.both(measure);
        limit.is_some_and(|limit| u128::from(used) * 10 >= u128::from(limit) * 8)
    }

    fn both(&self, measure: Measure) -> (u64, Option<u64>) {
        match measure {
            Measure::Cost => {
                let spent = self.limits.earlier_nanousd.saturating_add(self.used.cost_nanousd);
                (spent.saturating_add(self.expected.0), self.limits.cost_nanousd)
            }
            Measure::Tokens => {
                (self.used.tokens.saturating_add(self.expected.1), Some(self.limits.tokens))
            }
            Measure::Steps => (self.used.steps.into(), Some(self.limits.steps.into())),
            Measure::WallTime => (self.used.wall_time_ms, Some(self.limits.wall_time_ms)),
        }
    }

    fn left(&self, measure: Measure) -> String {
        let (used, limit) = self.both(measure);
        let left = limit.unwrap_or_default().saturating_sub(used);
        match measure {
            Measure::Cost => format!("{:.4} US dollars", dollars(left)),
            Measure::Tokens => format!("{left} tokens"),
            Measure::Steps => format!("{left} tool calls"),
            Measure::WallTime => format!("{} s", left / 1_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use journeyman_domain::model::{Price, Stop, TokenUsage, ToolMode, Wire};

    use super::*;

    fn model(price: Option<Price>) -> ModelSettings {
        ModelSettings {
            provider: "p".into(),
            wire: Wire::OpenAiChat,
            model: "m".into(),
            tool_mode: ToolMode::Native,
            context_window: 10_000,
            max_output_tokens: 4_000,
            temperature: None,
            price,
        }
    }

    fn turn(input: u64, output: u64) -> ModelTurn {
        ModelTurn {
            id: String::new(),
            model: String::new(),
            text: String::new(),
            calls: vec![],
            stop: Stop::End,
            usage: TokenUsage { uncached_input: input, output, ..TokenUsage::default() },
            usage_known: true,
            items: vec![],
        }
    }

    #[test]
    fn an_answer_gets_what_window_tokens_and_money_leave() {
        let price = Price {
            input_nanousd: 10,
            cache_read_nanousd: 1,
            cache_write_nanousd: 12,
            output_nanousd: 100,
            version: "1".into(),
        };
        let limits = Limits { tokens: 8_000, cost_nanousd: Some(200_000), ..Limits::default() };
        let mut budget = Budget::new(limits);
        let dear = model(Some(price));
        assert_eq!(budget.room(&model(None), 1_000), Ok(4_000));
        assert_eq!(budget.room(&model(None), 5_000), Ok(3_000), "by tokens");
        assert_eq!(budget.room(&model(None), 9_900), Err(Short::Window));
        assert_eq!(budget.room(&dear, 1_000), Ok((200_000 - 12_000) / 100), "by money");
        budget.billed(150_000, 3_000);
        budget.answered(1_000, &turn(2_000, 1_000), 5);
        assert_eq!(budget.room(&dear, 1_000), Ok((50_000 - 12_000) / 100));
        let cost = LimitHit::Cost { limit_nanousd: 200_000 };
        assert_eq!(budget.room(&dear, 3_000), Err(Short::Limit(cost)));
        let tokens = LimitHit::Tokens { limit: 8_000 };
        assert_eq!(budget.room(&model(None), 4_900), Err(Short::Limit(tokens)));
        let limits =
            Limits { cost_nanousd: Some(300_000), earlier_nanousd: 100_000, ..Limits::default() };
        assert!(budget.resumed(limits));
        assert_eq!(budget.room(&dear, 1_000), Ok((50_000 - 12_000) / 100), "with earlier attempts");
        assert!(budget.news().unwrap().contains("what is left: 0.0001 US dollars."));
        assert!(budget.resumed(Limits::default()));
        assert_eq!(budget.room(&dear, 3_000), Ok(4_000));
    }

    #[test]
    fn an_estimate_learns_from_the_last_count_within_bounds() {
        let mut budget = Budget::new(Limits::default());
        assert_eq!(budget.corrected(1_000), 1_000);
        budget.answered(1_000, &turn(1_500, 0), 0);
        assert_eq!(budget.corrected(2_000), 3_000);
        budget.answered(1_000, &turn(1_000_000, 0), 0);
        assert_eq!(budget.corrected(2_000), 8_000);
        budget.answered(1_000, &ModelTurn { usage_known: false, ..turn(1, 0) }, 0);
        assert_eq!(budget.corrected(2_000), 8_000, "an estimate teaches nothing");
    }

    #[test]
    fn each_limit_is_told_once_at_80_percent_and_again_under_new_limits() {
        let limits = Limits { steps: 10, tokens: 1_000, ..Limits::default() };
        let mut budget = Budget::new(limits.clone());
        (0..7).for_each(|_| budget.called());
        assert_eq!(budget.news(), None);
        budget.called();
        assert!(budget.news().unwrap().contains("what is left: 2 tool calls."));
        assert_eq!(budget.news(), None);
        budget.billed(0, 801);
        budget.answered(1, &turn(700, 101), limits.wall_time_ms);
        assert!(budget.news().unwrap().contains("what is left: 199 tokens, 0 s."));
        assert!(!budget.resumed(limits.clone()));
        assert_eq!(budget.news(), None);
        budget.resumed(Limits { steps: 20, ..limits });
        (0..8).for_each(|_| budget.called());
        assert!(budget.news().unwrap().contains("what is left: 4 tool calls."));
    }
}
