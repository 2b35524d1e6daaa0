//! How the scripted server goes wrong.
//!
//! Owns: the list of misbehaviours. Must never: know how a wire words them; `refusal.rs` does.

use serde_json::Value;

use super::refusal::ProviderError;

/// The body of an answer with an error status.
#[derive(Clone, Debug, PartialEq)]
pub enum ErrorBody {
    /// JSON.
    Json(Value),
    /// Plain text.
    Text(String),
}

/// What goes wrong inside a stream that began with status 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// The provider failed.
    Server,
    /// The provider has too much to do.
    Overloaded,
    /// Too many tokens a minute; the words ask to try again in 1.3 seconds.
    RateLimit,
}

/// What the server does instead of answering rightly. `after_events` counts whole events of the
/// stream; the closing ones (stop reason, usage, end) are never among them.
#[derive(Clone, Debug, PartialEq)]
pub enum Misbehaviour {
    /// An error of the provider, in the words of the wire.
    Refuse(ProviderError),
    /// Any other answer with an error status.
    Status {
        /// HTTP status.
        code: u16,
        /// What it says.
        body: ErrorBody,
        /// Further headers.
        headers: Vec<(String, String)>,
    },
    /// The connection ends within the stream.
    CutStream {
        /// Events before it.
        after_events: usize,
    },
    /// The answer ends in good order, but without the end that the wire has.
    EndStream {
        /// Events before it.
        after_events: usize,
    },
    /// Nothing more comes, until the server is stopped or the caller hangs up.
    HangStream {
        /// Events before it.
        after_events: usize,
    },
    /// Nothing more comes but comments that keep the connection open.
    OnlyComments {
        /// Events before it.
        after_events: usize,
    },
    /// Not even headers come.
    HangHeaders,
    /// An error inside the stream.
    ErrorAfter200 {
        /// Events before it.
        after_events: usize,
        /// Which one.
        error: StreamError,
    },
    /// A stream of events that are no JSON.
    Nonsense,
    /// A page of HTML with status 200, as a captive portal has it.
    Html200,
    /// A complete answer without any content.
    EmptyAnswer,
    /// The real reply, byte by byte.
    SplitUtf8,
    /// A call of the first tool with arguments of this many bytes.
    HugeArguments(
        /// Bytes.
        usize,
    ),
    /// The connection is reset before an answer.
    Reset,
}

impl Misbehaviour {
    /// An answer with this status and JSON.
    pub fn status(code: u16, body: Value) -> Self {
        Self::Status { code, body: ErrorBody::Json(body), headers: Vec::new() }
    }

    /// An answer with this status and text.
    pub fn status_text(code: u16, body: impl Into<String>) -> Self {
        Self::Status { code, body: ErrorBody::Text(body.into()), headers: Vec::new() }
    }

    /// With a further header, where it is an answer with a status.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Self::Status { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.into()));
        }
        self
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::Refuse(ProviderError::Unauthorized)
    }

    /// 429 without a hint of when.
    pub fn rate_limit() -> Self {
        Self::Refuse(ProviderError::RateLimit)
    }

    /// 429 with `retry-after` in whole seconds.
    pub fn rate_limit_s(seconds: u64) -> Self {
        Self::Refuse(ProviderError::RateLimitSeconds(seconds))
    }

    /// 429 with `retry-after-ms`.
    pub fn rate_limit_ms(milliseconds: u64) -> Self {
        Self::Refuse(ProviderError::RateLimitMilliseconds(milliseconds))
    }

    /// The refusal because the money or the quota is used up.
    pub fn quota() -> Self {
        Self::Refuse(ProviderError::Quota)
    }

    /// The refusal because the prompt is too long.
    pub fn context_overflow() -> Self {
        Self::Refuse(ProviderError::ContextOverflow)
    }

    /// 500.
    pub fn internal() -> Self {
        Self::Refuse(ProviderError::Internal)
    }

    /// 529.
    pub fn overloaded() -> Self {
        Self::Refuse(ProviderError::Overloaded)
    }

    /// An error inside the stream, after its first event.
    pub fn error_after_200() -> Self {
        Self::ErrorAfter200 { after_events: 1, error: StreamError::Overloaded }
    }
}
