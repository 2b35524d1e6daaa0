//! What models cost and how much they take.
//!
//! Owns: the table `config/pricing.toml`, a user's lines over it, and how a model's name finds its
//! line. Must never guess: a model without a line has no known cost, and a line holds for dated
//! names of its model only, since `gpt-5-pro` costs many times what `gpt-5` does.

use std::collections::BTreeMap;

use journeyman_domain::model::Price;
use serde::Deserialize;

/// The table that Journeyman is built with.
const SHIPPED: &str = include_str!("../../../config/pricing.toml");

/// The version of a user's table that names none.
const OWN_VERSION: &str = "own";

/// Dollars a million tokens that no model costs; above it, a unit was mistaken.
const DEAREST: f64 = 1_000_000.0;

/// A table of prices that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PricingError {
    /// It is not TOML of this form.
    #[error("the table of prices cannot be read: {0}")]
    Form(#[from] toml::de::Error),
    /// A price is no amount of money.
    #[error("'{key}' of {provider}/{model} must be dollars for a million tokens, not {amount}")]
    Amount {
        /// The line's provider.
        provider: String,
        /// The line's model.
        model: String,
        /// The key.
        key: &'static str,
        /// What stands there.
        amount: f64,
    },
}

/// What a model costs and takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// What its tokens cost.
    pub price: Price,
    /// Tokens that request and answer may have together at that price.
    pub context_window: u64,
    /// Tokens that one answer may have.
    pub max_output_tokens: u32,
}

/// A table of models, found by provider and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    models: BTreeMap<(String, String), Model>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    model: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    provider: String,
    model: String,
    input: f64,
    cache_read: Option<f64>,
    cache_write: Option<f64>,
    output: f64,
    context_window: u64,
    max_output_tokens: u32,
}

impl Prices {
    /// Reads a table.
    pub fn parse(text: &str) -> Result<Self, PricingError> {
        let table: Table = toml::from_str(text)?;
        let version = table.version.unwrap_or_else(|| OWN_VERSION.to_owned());
        let mut models = BTreeMap::new();
        for line in table.model {
            let model = line.model(&version)?;
            models.insert((line.provider, line.model), model);
        }
        Ok(Self { models })
    }

    /// The table that Journeyman is built with.
    pub fn shipped() -> Result<Self, PricingError> {
        Self::parse(SHIPPED)
    }

    /// This table with a user's own lines laid over it.
    #[must_use]
    pub fn with(mut self, own: Self) -> Self {
        self.models.extend(own.models);
        self
    }

    /// The line of a model: the exact name first, then the longest name of which it is a dated
    /// variant. A name may be written `provider/model`, as gateways do; a line for the gateway
    /// itself stands above one of that provider.
    pub fn find(&self, provider: &str, model: &str) -> Option<Model> {
        self.line(provider, model).or_else(|| {
            let (provider, model) = model.split_once('/')?;
            self.line(provider, model)
        })
    }

    fn line(&self, provider: &str, model: &str) -> Option<Model> {
        if let Some(found) = self.models.get(&(provider.to_owned(), model.to_owned())) {
            return Some(found.clone());
        }
        self.models
            .iter()
            .filter(|((of, name), _)| of == provider && is_dated(model, name))
            .max_by_key(|((_, name), _)| name.len())
            .map(|(_, found)| found.clone())
    }
}

/// Whether `model` is `name` with a date, `-latest` or the like behind it.
fn is_dated(model: &str, name: &str) -> bool {
    let Some(rest) = model.strip_prefix(name).and_then(|rest| rest.strip_prefix(['-', '@', ':']))
    else {
        return false;
    };
    let digits = rest.chars().filter(char::is_ascii_digit).count();
    // Four digits at least: `-0613` is a date, `-5` a newer model.
    let date = digits >= 4 && rest.chars().all(|c| c.is_ascii_digit() || c == '-');
    rest == "latest" || date
}

impl Line {
    fn model(&self, version: &str) -> Result<Model, PricingError> {
        Ok(Model {
            price: Price {
                input_nanousd: self.nanousd("input", self.input)?,
                cache_read_nanousd: self
                    .nanousd("cache_read", self.cache_read.unwrap_or(self.input))?,
                cache_write_nanousd: self
                    .nanousd("cache_write", self.cache_write.unwrap_or(self.input))?,
                output_nanousd: self.nanousd("output", self.output)?,
                version: version.to_owned(),
            },
            context_window: self.context_window,
            max_output_tokens: self.max_output_tokens,
        })
    }

    /// Billionths of a dollar a token from dollars a million tokens.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and a billion"
    )]
    fn nanousd(&self, key: &'static str, amount: f64) -> Result<u64, PricingError> {
        if (0.0..=DEAREST).contains(&amount) {
            return Ok((amount * 1000.0).round() as u64);
        }
        Err(PricingError::Amount {
            provider: self.provider.clone(),
            model: self.model.clone(),
            key,
            amount,
        })
    }
}

#[cfg(test)]
mod tests;
