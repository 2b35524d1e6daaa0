//! Settings `[model]` and `[providers.NAME]`: which model agents use, and who serves it.

use journeyman_domain::model::{ToolMode, Wire};
use serde::{Deserialize, Serialize};

/// Which model agents use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// `provider/model`; empty: agents work without a model unless a task or an agent names one.
    pub default: String,
    /// US dollars that all calls of a day (UTC) may cost; 0: no limit.
    pub daily_budget_usd: f64,
}

/// Who serves models. What is not given comes from the provider of that name that is built in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provider {
    /// How it is spoken to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire: Option<Wire>,
    /// Where it is, as its own documentation writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Where its key is: `env:NAME`, `file:PATH` or `command:CMD`; empty: it needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Seconds until an answer must begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_timeout_s: Option<u64>,
    /// Seconds that an answer may be silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_s: Option<u64>,
    /// Seconds that a whole answer may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_timeout_s: Option<u64>,
    /// Tries after the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Calls at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// How its models call tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_mode: Option<ToolMode>,
    /// Tokens that request and answer may have together, for models that are not in the price table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// Tokens that an answer may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    /// Sampling temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
}

impl Provider {
    /// The provider of this name that needs no setting but its key, by the usual variables.
    pub fn built_in(name: &str, variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let key = |name: &str| Some(format!("env:{name}"));
        match name {
            "openai" => {
                let own = set("OPENAI_BASE_URL");
                // What stands in for it speaks the older format more often than the newer one.
                let wire = if own.is_some() { Wire::OpenAiChat } else { Wire::OpenAiResponses };
                Some(Self {
                    wire: Some(wire),
                    base_url: own.or_else(|| Some("https://api.openai.com/v1".into())),
                    key: key("OPENAI_API_KEY"),
                    ..Self::default()
                })
            }
            "anthropic" => Some(Self {
                wire: Some(Wire::AnthropicMessages),
                base_url: set("ANTHROPIC_BASE_URL")
                    .or_else(|| Some("https://api.anthropic.com".into())),
                key: key("ANTHROPIC_API_KEY"),
                ..Self::default()
            }),
            "ollama" => Some(Self {
                wire: Some(Wire::OpenAiChat),
                base_url: Some(ollama(set("OLLAMA_HOST").as_deref())),
                key: Some(String::new()),
                max_concurrent: Some(1),
                ..Self::default()
            }),
            _ => None,
        }
    }

    /// What the user gave, and for the rest what is built in.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            wire: self.wire.or(below.wire),
            base_url: self.base_url.or(below.base_url),
            key: self.key.or(below.key),
            header_timeout_s: self.header_timeout_s.or(below.header_timeout_s),
            idle_timeout_s: self.idle_timeout_s.or(below.idle_timeout_s),
            answer_timeout_s: self.answer_timeout_s.or(below.answer_timeout_s),
            retries: self.retries.or(below.retries),
            max_concurrent: self.max_concurrent.or(below.max_concurrent),
            tool_mode: self.tool_mode.or(below.tool_mode),
            context_window: self.context_window.or(below.context_window),
            max_output_tokens: self.max_output_tokens.or(below.max_output_tokens),
            temperature: self.temperature.or(below.temperature),
        }
    }
}

/// `OLLAMA_HOST` is a host, a host and a port, or an address.
fn ollama(host: Option<&str>) -> String {
    let host = host.unwrap_or("127.0.0.1:11434").trim_end_matches('/');
    // It is also what the server listens on.
    let host = host.replace("0.0.0.0", "127.0.0.1");
    let (scheme, rest) = host.split_once("://").unwrap_or(("http", &host));
    let port = if rest.contains(':') { "" } else { ":11434" };
    format!("{scheme}://{rest}{port}/v1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_variables_are_enough_and_a_users_word_stands_above_them() {
        let none = |_: &str| None;
        let ollama = Provider::built_in("ollama", |_| Some("gpu".into())).unwrap();
        assert_eq!(ollama.base_url.as_deref(), Some("http://gpu:11434/v1"));
        let plain = Provider::built_in("ollama", none).unwrap();
        assert_eq!(plain.base_url.as_deref(), Some("http://127.0.0.1:11434/v1"));
        let openai = Provider::built_in("openai", none).unwrap();
        assert_eq!(openai.wire, Some(Wire::OpenAiResponses));
        let own = Provider { retries: Some(5), ..Provider::default() }.over(openai);
        assert_eq!((own.retries, own.key.as_deref()), (Some(5), Some("env:OPENAI_API_KEY")));
        let other = Provider::built_in("openai", |_| Some("http://gateway/v1".into())).unwrap();
        assert_eq!(other.wire, Some(Wire::OpenAiChat));
        assert_eq!(Provider::built_in("acme", none), None);
    }
}
