//! One attempt at an answer, over one HTTP client.
//!
//! Owns: the client and what an attempt tells. Must never retry, follow a redirect (the key would
//! go along) or let the key out. Dropping the future of [`Client::call`] closes the connection, too,
//! but nobody learns then what it has cost.

mod exchange;

use std::time::Duration;

use journeyman_domain::model::{
    FailureKind, ModelFailure, ModelSettings, ModelTurn, ToolMode, Wire,
};
use serde_json::Value;

use self::exchange::Exchange;
use crate::answer::{Asked, Progress};
use crate::limits::RateLimits;
use crate::provider::Provider;
use crate::wire;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls models. Cheap to share; connections are used again.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The turn, or why there is none.
    pub result: Result<ModelTurn, ModelFailure>,
    /// What the provider's headers say of its rate limits.
    pub limits: RateLimits,
    /// From sending to the first byte of the answer's body.
    pub first_chunk: Option<Duration>,
    /// Bytes of the request's body.
    pub sent_bytes: usize,
    /// Bytes of the answer's body that were read.
    pub received_bytes: usize,
}

impl Attempt {
    /// An attempt of which nothing came but this.
    pub fn failed(failure: ModelFailure) -> Self {
        Self {
            result: Err(failure),
            limits: RateLimits::default(),
            first_chunk: None,
            sent_bytes: 0,
            received_bytes: 0,
        }
    }
}

impl Client {
    /// A client. Fails where the system's certificates cannot be read.
    pub fn new() -> Result<Self, reqwest::Error> {
        // An error says that another part of the process installed a provider before.
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("journeyman/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http })
    }

    /// One attempt. `body` is what [`crate::body`] made of these settings. `on` hears how it goes.
    /// It breaks off with the failure that `stop` comes to, and says what was used until then.
    pub async fn call(
        &self,
        provider: &Provider,
        settings: &ModelSettings,
        body: &Value,
        on: &mut (dyn FnMut(Progress<'_>) + Send),
        stop: impl Future<Output = ModelFailure> + Send,
    ) -> Attempt {
        let bytes = wire::canonical(body);
        let asked = Asked {
            provider: provider.name.clone(),
            turn: wire::turns(body),
            request_bytes: bytes.len(),
            constrained: wire::is_constrained(body),
        };
        let mut exchange = Exchange::new(provider, asked);
        let sent_bytes = bytes.len();
        let result = match refused(provider, settings) {
            Some(failure) => Err(failure),
            None => exchange.run(&self.http, bytes, on, stop).await,
        };
        let result = result.map_err(|failure| redacted(provider, failure));
        let Exchange { limits, first_chunk, received_bytes, .. } = exchange;
        Attempt { result, limits, first_chunk, sent_bytes, received_bytes }
    }
}

/// What need not be sent, since it cannot work.
fn refused(provider: &Provider, settings: &ModelSettings) -> Option<ModelFailure> {
    let invalid = |message: String| Some(ModelFailure::of(FailureKind::Invalid, message));
    if provider.wire != settings.wire {
        let Provider { name, wire, .. } = provider;
        let was = settings.wire;
        return invalid(format!("{name} is spoken to by {wire}, but this request is for {was}"));
    }
    if settings.tool_mode == ToolMode::JsonSchema && settings.wire == Wire::AnthropicMessages {
        return invalid(
            "tool_mode json_schema needs the wire openai_chat or openai_responses".to_owned(),
        );
    }
    None
}

fn redacted(provider: &Provider, mut failure: ModelFailure) -> ModelFailure {
    if let Some(key) = &provider.key {
        failure.message = key.redact(&failure.message);
    }
    failure
}

#[cfg(test)]
mod tests;
