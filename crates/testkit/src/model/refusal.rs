//! How each wire words its errors.
//!
//! Owns: status, headers and body of the refusals of OpenAI and Anthropic, as their APIs give them.
//! Must never: decide when to refuse.

use journeyman_domain::model::Wire;
use serde_json::{Value, json};

use super::misbehaviour::StreamError;

/// An error of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderError {
    /// 401: the key is wrong. OpenAI's answer repeats the key that it got.
    Unauthorized,
    /// 402: nothing is paid.
    PaymentRequired,
    /// 403: the key may not do this.
    Forbidden,
    /// 404: no such model.
    UnknownModel,
    /// 429 without a hint.
    RateLimit,
    /// 429 with `retry-after`.
    RateLimitSeconds(
        /// Whole seconds.
        u64,
    ),
    /// 429 with `retry-after-ms`.
    RateLimitMilliseconds(
        /// Milliseconds.
        u64,
    ),
    /// The quota or the money is used up: a 429 at OpenAI, a 400 at Anthropic.
    Quota,
    /// 400: the prompt does not fit.
    ContextOverflow,
    /// 413: too many bytes.
    TooLarge,
    /// 500.
    Internal,
    /// 503.
    Unavailable,
    /// 529.
    Overloaded,
}

/// An answer with an error status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Value,
}

impl ProviderError {
    /// Its answer on a wire, to a request with this model and key.
    pub(super) fn on(self, wire: Wire, model: &str, key: &str) -> Refusal {
        let (code, body) = match wire {
            Wire::OpenAiChat | Wire::OpenAiResponses => self.openai(wire, model, key),
            Wire::AnthropicMessages => {
                let (code, kind, message) = self.anthropic(model);
                (code, anthropic_error(kind, &message))
            }
        };
        let header = |name: &str, value: u64| (name.to_owned(), value.to_string());
        let headers = match self {
            Self::RateLimitSeconds(seconds) => vec![header("retry-after", seconds)],
            Self::RateLimitMilliseconds(ms) => vec![header("retry-after-ms", ms)],
            Self::Unauthorized
            | Self::PaymentRequired
            | Self::Forbidden
            | Self::UnknownModel
            | Self::RateLimit
            | Self::Quota
            | Self::ContextOverflow
            | Self::TooLarge
            | Self::Internal
            | Self::Unavailable
            | Self::Overloaded => Vec::new(),
        };
        Refusal { code, headers, body }
    }

    fn openai(self, wire: Wire, model: &str, key: &str) -> (u16, Value) {
        let invalid = "invalid_request_error";
        let (code, message, kind, word) = match self {
            Self::Unauthorized => (
                401,
                format!(
                    "Incorrect API key provided: {key}. You can find your API key at \
                     https://platform.openai.com/account/api-keys."
                ),
                invalid,
                "invalid_api_key",
            ),
            // Gateways answer it, OpenAI itself does not; the code is a number there.
            Self::PaymentRequired => {
                let message = "Insufficient credits. Add more credits to go on.";
                return (402, json!({ "error": { "message": message, "code": 402 } }));
            }
            Self::Forbidden => (
                403,
                "Country, region, or territory not supported".into(),
                "request_forbidden",
                "unsupported_country_region_territory",
            ),
            Self::UnknownModel => (
                404,
                format!("The model `{model}` does not exist or you do not have access to it."),
                invalid,
                "model_not_found",
            ),
            Self::RateLimit | Self::RateLimitSeconds(_) | Self::RateLimitMilliseconds(_) => (
                429,
                format!("Rate limit reached for {model} on tokens per min (TPM): Limit 30000."),
                "tokens",
                "rate_limit_exceeded",
            ),
            Self::Quota => (
                429,
                "You exceeded your current quota, please check your plan and billing details."
                    .into(),
                "insufficient_quota",
                "insufficient_quota",
            ),
            Self::ContextOverflow => (400, too_long(wire), invalid, "context_length_exceeded"),
            Self::TooLarge => (413, "Request body is too large.".into(), invalid, "too_large"),
            Self::Internal => (
                500,
                "The server had an error while processing your request. Sorry about that!".into(),
                "server_error",
                "server_error",
            ),
            Self::Unavailable | Self::Overloaded => (
                if self == Self::Overloaded { 529 } else { 503 },
                "The engine is currently overloaded, please try again later.".into(),
                "service_unavailable_error",
                "server_is_overloaded",
            ),
        };
        (code, openai_error(&message, kind, &Value::from(word)))
    }

    fn anthropic(self, model: &str) -> (u16, &'static str, String) {
        let (code, kind, message) = match self {
            Self::Unauthorized => (401, "authentication_error", "invalid x-api-key"),
            Self::PaymentRequired => {
                (402, "billing_error", "There is an issue with your billing or payment.")
            }
            Self::Forbidden => (
                403,
                "permission_error",
                "Your API key does not have permission to use the specified resource.",
            ),
            Self::UnknownModel => return (404, "not_found_error", format!("model: {model}")),
            Self::RateLimit | Self::RateLimitSeconds(_) | Self::RateLimitMilliseconds(_) => (
                429,
                "rate_limit_error",
                "This request would exceed the rate limit for your organization of 30,000 input \
                 tokens per minute.",
            ),
            Self::Quota => (
                400,
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & \
                 Billing to upgrade or purchase credits.",
            ),
            Self::ContextOverflow => {
                (400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum")
            }
            Self::TooLarge => (413, "request_too_large", "Request exceeds the maximum size"),
            Self::Internal => (500, "api_error", "Internal server error"),
            Self::Unavailable => (503, "api_error", "Service unavailable"),
            Self::Overloaded => (529, "overloaded_error", "Overloaded"),
        };
        (code, kind, message.to_owned())
    }
}

fn too_long(wire: Wire) -> String {
    match wire {
        Wire::OpenAiResponses => {
            "Your input exceeds the context window of this model. Please adjust your input and try \
             again."
        }
        Wire::OpenAiChat | Wire::AnthropicMessages => {
            "This model's maximum context length is 128000 tokens. However, your messages resulted \
             in 140000 tokens. Please reduce the length of the messages."
        }
    }
    .to_owned()
}

/// The answer to a request that the wire does not take: status 400.
pub(super) fn invalid(wire: Wire, message: &str) -> Refusal {
    let body = match wire {
        Wire::OpenAiChat | Wire::OpenAiResponses => {
            openai_error(message, "invalid_request_error", &Value::Null)
        }
        Wire::AnthropicMessages => anthropic_error("invalid_request_error", message),
    };
    Refusal { code: 400, headers: Vec::new(), body }
}

fn openai_error(message: &str, kind: &str, code: &Value) -> Value {
    json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
}

fn anthropic_error(kind: &str, message: &str) -> Value {
    json!({
        "type": "error",
        "error": { "type": kind, "message": message },
        "request_id": "req_scripted",
    })
}

/// Code (or type) and words of an error inside a stream.
pub(super) fn in_stream(wire: Wire, error: StreamError) -> (&'static str, &'static str) {
    match (wire, error) {
        (Wire::AnthropicMessages, StreamError::Server) => ("api_error", "Internal server error"),
        (Wire::AnthropicMessages, StreamError::Overloaded) => ("overloaded_error", "Overloaded"),
        (Wire::AnthropicMessages, StreamError::RateLimit) => {
            ("rate_limit_error", "Number of request tokens has exceeded your rate limit.")
        }
        (Wire::OpenAiChat | Wire::OpenAiResponses, StreamError::Server) => {
            ("server_error", "An error occurred while processing your request.")
        }
        (Wire::OpenAiChat | Wire::OpenAiResponses, StreamError::Overloaded) => {
            ("server_is_overloaded", "Our servers are currently overloaded.")
        }
        (Wire::OpenAiChat | Wire::OpenAiResponses, StreamError::RateLimit) => {
            ("rate_limit_exceeded", "Rate limit reached. Please try again in 1.3s.")
        }
    }
}
