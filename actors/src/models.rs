//! The models that agents can use: who serves them, what they cost, and what a word like
//! `provider/model` means. Looks things up; asks nobody.

use std::collections::BTreeMap;

use journeyman_domain::model::{ModelSettings, ToolMode};
use journeyman_models::pricing::Prices;
use journeyman_models::{Client, Provider};

/// Tokens that a context window has where nobody says.
const CONTEXT_WINDOW: u64 = 32_768;
/// Tokens that an answer may have where nobody says.
const MAX_OUTPUT_TOKENS: u32 = 16_384;
/// The model that the shipped agents were once given: the user's default stands for it.
const PLACEHOLDER: &str = "claude-3-5-sonnet";

/// One provider as the user has set it.
#[derive(Clone, Debug)]
pub struct Served {
    /// Where it is, with its key and its time limits; or why it cannot be used.
    pub provider: Result<Provider, String>,
    /// Tries after the first one.
    pub retries: u32,
    /// Calls at once.
    pub max_concurrent: u32,
    /// How its models call tools.
    pub tool_mode: ToolMode,
    /// Tokens of the context window, where the user said so.
    pub context_window: Option<u64>,
    /// Tokens of an answer, where the user said so.
    pub max_output_tokens: Option<u32>,
    /// Sampling temperature, where the user said so.
    pub temperature: Option<f64>,
    /// The wire format.
    pub wire: journeyman_domain::model::Wire,
    /// Whether the user has set it up: an entry, or the key of one that is built in.
    pub is_set_up: bool,
}

/// Everything that can be asked.
#[derive(Clone, Debug)]
pub struct Models {
    /// Sends calls.
    pub client: Client,
    /// By name.
    pub providers: BTreeMap<String, Served>,
    /// `provider/model`, or nothing.
    pub default: String,
    /// What tokens cost.
    pub prices: Prices,
    /// What a day's calls may cost, in billionths of a US dollar.
    pub daily_nanousd: Option<u64>,
}

impl Models {
    /// The word for the model of a run: the task's, else the agent's own, else the default.
    pub fn word<'a>(&'a self, task: Option<&'a str>, agent: Option<&'a str>) -> Option<&'a str> {
        let own = agent.filter(|word| !word.is_empty() && *word != PLACEHOLDER);
        let default = Some(self.default.as_str()).filter(|word| !word.is_empty());
        task.or(own).or(default)
    }

    /// Whether the provider of a resolved model can be asked: a sentence where it cannot.
    pub fn usable(&self, settings: &ModelSettings) -> Result<(), String> {
        match self.providers.get(&settings.provider).map(|served| &served.provider) {
            Some(Err(reason)) => {
                Err(format!("the provider '{}' cannot be used: {reason}", settings.provider))
            }
            Some(Ok(_)) | None => Ok(()),
        }
    }

    fn unknown(&self, word: &str, provider: &str) -> String {
        let names = self.names();
        format!("no provider '{provider}' is set up for the model '{word}'; known are {names}")
    }

    /// What a word means; a sentence where it means nothing. Whether its provider can be asked is
    /// another matter ([`Models::usable`]): a run waits for that.
    pub fn resolve(&self, word: &str) -> Result<ModelSettings, String> {
        let (provider, model) = self.split(word)?;
        let Some(served) = self.providers.get(provider) else {
            return Err(self.unknown(word, provider));
        };
        let known = self.prices.find(provider, model);
        let context_window = served
            .context_window
            .or_else(|| known.as_ref().map(|known| known.context_window))
            .unwrap_or(CONTEXT_WINDOW);
        let max_output_tokens = served
            .max_output_tokens
            .or_else(|| known.as_ref().map(|known| known.max_output_tokens))
            .unwrap_or(MAX_OUTPUT_TOKENS);
        // A quarter of the window at the most, so that there is room for what is asked.
        let quarter = u32::try_from(context_window / 4).unwrap_or(u32::MAX).max(1);
        Ok(ModelSettings {
            provider: provider.to_owned(),
            wire: served.wire,
            model: model.to_owned(),
            tool_mode: served.tool_mode,
            context_window,
            max_output_tokens: max_output_tokens.min(quarter),
            temperature: served.temperature,
            price: known.map(|known| known.price),
        })
    }

    /// Provider and model of a word. A model's own name may have a `/`.
    fn split<'a>(&'a self, word: &'a str) -> Result<(&'a str, &'a str), String> {
        if let Some((provider, model)) = word.split_once('/')
            && self.providers.contains_key(provider)
        {
            return Ok((provider, model));
        }
        let usual = [
            ("claude", "anthropic"),
            ("gpt-", "openai"),
            ("o1", "openai"),
            ("o3", "openai"),
            ("o4", "openai"),
            ("codex", "openai"),
        ];
        let usual = usual.iter().find(|(start, _)| word.starts_with(start));
        let set_up = || self.providers.iter().filter(|(_, served)| served.is_set_up);
        let named = usual.filter(|(_, name)| set_up().any(|(other, _)| other == name));
        if let Some((_, provider)) = named {
            return Ok((provider, word));
        }
        if let Some((provider, _)) = self.default.split_once('/')
            && self.default != word
        {
            return Ok((provider, word));
        }
        let mut set_up = set_up();
        match (set_up.next(), set_up.next(), usual) {
            (Some((provider, _)), None, _) => Ok((provider, word)),
            (_, _, Some((_, provider))) => Ok((provider, word)),
            _ => Err(format!(
                "it is not clear who serves the model '{word}'; write it as provider/model, with \
                 one of {}",
                self.names()
            )),
        }
    }

    fn names(&self) -> String {
        self.providers.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}
