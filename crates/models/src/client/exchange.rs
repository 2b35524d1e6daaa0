//! One request and its answer: headers, refusals, streams and whole answers.
//!
//! Owns: the timeouts and the bounds on what is read. Must never keep what it reads beyond them.

use std::fmt::Write as _;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use journeyman_domain::model::{FailureKind, ModelFailure, ModelTurn, Wire};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use crate::answer::{Asked, Flow, Progress, Reader, Report, reader, spent};
use crate::failure::{self, Complaint};
use crate::limits::{RateLimits, retry_after_ms};
use crate::provider::Provider;
use crate::sse::{MOST_BYTES as MOST_EVENT_BYTES, Parser};

/// Bytes of a refusal that are read.
const MOST_ERROR_BYTES: usize = 64 * 1024;
/// Bytes of a whole answer that is no stream.
const MOST_WHOLE_BYTES: usize = MOST_EVENT_BYTES * 2;
/// Bytes of a stream, whatever is in it; a deliberate or broken server could send pings for ever.
const MOST_STREAM_BYTES: usize = 512 * 1024 * 1024;
/// How long the end of a stream is waited for after its last event, so that its connection can be
/// used again.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(100);
/// The version of Anthropic's API that this crate speaks.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// One request and its answer.
pub(super) struct Exchange<'a> {
    provider: &'a Provider,
    asked: Asked,
    sent_at: Instant,
    /// What the headers said of rate limits.
    pub(super) limits: RateLimits,
    /// From sending to the first byte of the body.
    pub(super) first_chunk: Option<Duration>,
    /// Bytes of the body so far.
    pub(super) received_bytes: usize,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(provider: &'a Provider, asked: Asked) -> Self {
        Self {
            provider,
            asked,
            sent_at: Instant::now(),
            limits: RateLimits::default(),
            first_chunk: None,
            received_bytes: 0,
        }
    }

    /// Sends and reads.
    pub(super) async fn run(
        &mut self,
        http: &reqwest::Client,
        bytes: Vec<u8>,
        on: &mut Report<'_>,
        stop: impl Future<Output = ModelFailure>,
    ) -> Result<ModelTurn, ModelFailure> {
        let request = http.post(self.provider.url()).headers(self.headers()?).body(bytes);
        self.sent_at = Instant::now();
        let wait = self.provider.header_timeout;
        let mut stop = pin!(stop);
        let sent = tokio::select! {
            biased;
            sent = timeout(wait, request.send()) => sent,
            failure = &mut stop => return Err(failure),
        };
        let mut response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.unreachable(&error)),
            Err(_) => return Err(self.timed_out("no answer", wait, None)),
        };
        let now = SystemTime::now();
        let headers = response.headers().clone();
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        self.limits = RateLimits::of(&header, now);
        if response.status().as_u16() != 200 {
            return Err(tokio::select! {
                biased;
                failure = self.refusal(&mut response, now) => failure,
                failure = stop => failure,
            });
        }
        on(Progress::Started);
        let mut reader = reader(self.provider.wire, self.asked.clone());
        let read = tokio::select! {
            biased;
            read = self.in_time(&mut response, reader.as_mut(), on) => read,
            failure = stop => Err(failure),
        };
        read.and_then(|()| reader.turn()).map_err(|mut failure| {
            failure.http_status = Some(200);
            failure.usage =
                failure.usage.or_else(|| spent(reader.as_ref(), &self.asked, failure.kind));
            failure
        })
    }

    /// Reads the answer within the time that a whole one may take.
    async fn in_time(
        &mut self,
        response: &mut reqwest::Response,
        reader: &mut dyn Reader,
        on: &mut Report<'_>,
    ) -> Result<(), ModelFailure> {
        let wait = self.provider.answer_timeout;
        match timeout_at(self.sent_at + wait, self.read(response, reader, on)).await {
            Ok(read) => read,
            Err(_) => Err(self.timed_out("no complete answer", wait, Some(200))),
        }
    }

    fn headers(&self) -> Result<HeaderMap, ModelFailure> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let anthropic = self.provider.wire == Wire::AnthropicMessages;
        if anthropic {
            headers.insert("anthropic-version", HeaderValue::from_static(ANTHROPIC_VERSION));
        }
        if let Some(key) = &self.provider.key {
            let bearer = if anthropic { "" } else { "Bearer " };
            let text = format!("{bearer}{}", key.expose());
            let mut value = HeaderValue::from_str(&text).map_err(|_| {
                let name = &self.provider.name;
                let message = format!("the key of {name} has characters that no header can carry");
                ModelFailure::of(FailureKind::Auth, message)
            })?;
            value.set_sensitive(true);
            let name = if anthropic { HeaderName::from_static("x-api-key") } else { AUTHORIZATION };
            headers.insert(name, value);
        }
        Ok(headers)
    }

    /// Reads the answer: a stream of events, or JSON where the server knows no streams.
    async fn read(
        &mut self,
        response: &mut reqwest::Response,
        reader: &mut dyn Reader,
        on: &mut Report<'_>,
    ) -> Result<(), ModelFailure> {
        let name = self.provider.name.clone();
        let mut start = Vec::new();
        let first = loop {
            let Some(chunk) = self.chunk(response, Instant::now()).await? else {
                return Err(failure::protocol(&name, "gave an empty answer"));
            };
            start.extend_from_slice(&chunk);
            if let Some(first) = start.iter().find(|byte| !byte.is_ascii_whitespace()) {
                break *first;
            }
            self.within(start.len(), MOST_ERROR_BYTES)?;
        };
        match first {
            b'{' | b'[' => self.whole(response, reader, start, on).await,
            b'<' => Err(failure::protocol(&name, "answered with an HTML page, not with events")),
            _ => self.events(response, reader, start, on).await,
        }
    }

    async fn events(
        &mut self,
        response: &mut reqwest::Response,
        reader: &mut dyn Reader,
        start: Vec<u8>,
        on: &mut Report<'_>,
    ) -> Result<(), ModelFailure> {
        let name = self.provider.name.clone();
        let mut parser = Parser::default();
        let mut any = false;
        let mut bytes = Bytes::from(start);
        // A comment keeps a connection open and says nothing.
        let mut heard_at = Instant::now();
        loop {
            let events = parser.feed(&bytes).map_err(|_| {
                let what = format!("sent an event of more than {MOST_EVENT_BYTES} bytes");
                failure::protocol(&name, &what)
            })?;
            for event in events {
                any = true;
                heard_at = Instant::now();
                if reader.event(&event, on)? == Flow::Done {
                    drain(response).await;
                    return Ok(());
                }
            }
            self.within(self.received_bytes, MOST_STREAM_BYTES)?;
            if !any {
                // Until the first event, a proxy that lets the request wait may say so by comments.
                heard_at = Instant::now();
            }
            let Some(chunk) = self.chunk(response, heard_at).await? else { break };
            bytes = chunk;
        }
        match parser.finish() {
            // Half an event says nothing, so an error in it is none: the stream was cut off.
            Some(event) => drop(reader.event(&event, on)),
            None if any => {}
            None => {
                return Err(failure::protocol(&name, "answered with neither events nor JSON"));
            }
        }
        Ok(())
    }

    async fn whole(
        &mut self,
        response: &mut reqwest::Response,
        reader: &mut dyn Reader,
        mut bytes: Vec<u8>,
        on: &mut Report<'_>,
    ) -> Result<(), ModelFailure> {
        while let Some(chunk) = self.chunk(response, Instant::now()).await? {
            self.within(bytes.len() + chunk.len(), MOST_WHOLE_BYTES)?;
            bytes.extend_from_slice(&chunk);
        }
        let answer: Value = serde_json::from_slice(&bytes).map_err(|_| {
            failure::protocol(&self.provider.name, "answered with JSON that is broken")
        })?;
        reader.whole(&answer, on)
    }

    /// The next bytes of the body; `None` at its end. The last ones that said something came then.
    async fn chunk(
        &mut self,
        response: &mut reqwest::Response,
        heard_at: Instant,
    ) -> Result<Option<Bytes>, ModelFailure> {
        let wait = self.provider.idle_timeout;
        match timeout_at(heard_at + wait, response.chunk()).await {
            Ok(Ok(chunk)) => {
                if let Some(chunk) = &chunk {
                    self.first_chunk.get_or_insert_with(|| self.sent_at.elapsed());
                    self.received_bytes += chunk.len();
                }
                Ok(chunk)
            }
            Ok(Err(error)) => {
                let name = &self.provider.name;
                let message = format!("the connection to {name} broke: {}", causes(&error));
                Err(ModelFailure::of(FailureKind::Network, message))
            }
            Err(_) => Err(self.timed_out("no further event", wait, Some(200))),
        }
    }

    fn within(&self, bytes: usize, most: usize) -> Result<(), ModelFailure> {
        if bytes <= most {
            return Ok(());
        }
        let what = format!("gave an answer of more than {most} bytes");
        Err(failure::protocol(&self.provider.name, &what))
    }

    /// A status other than 200: what the body and the headers say of it.
    async fn refusal(&mut self, response: &mut reqwest::Response, now: SystemTime) -> ModelFailure {
        let mut body = Vec::new();
        let began_at = Instant::now();
        // A body that breaks off or drips is cut there; the status stands.
        while body.len() < MOST_ERROR_BYTES
            && let Ok(Some(chunk)) = self.chunk(response, began_at).await
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(MOST_ERROR_BYTES);
        let status = response.status();
        let complaint = Complaint::of_body(&String::from_utf8_lossy(&body));
        let reason = status.canonical_reason();
        let mut failure =
            failure::of_status(&self.provider.name, status.as_u16(), reason, &complaint);
        let headers = response.headers();
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let full_again = match failure.kind {
            FailureKind::RateLimit => self.limits.exhausted_ms(),
            FailureKind::Auth
            | FailureKind::Quota
            | FailureKind::Overloaded
            | FailureKind::Transient
            | FailureKind::Network
            | FailureKind::Timeout
            | FailureKind::ContextOverflow
            | FailureKind::Invalid
            | FailureKind::NotFound
            | FailureKind::ContentPolicy
            | FailureKind::Protocol
            | FailureKind::Cancelled => None,
        };
        failure.retry_after_ms =
            retry_after_ms(&header, now).or(failure.retry_after_ms).or(full_again);
        failure.should_retry = match header("x-should-retry") {
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) | None => None,
        };
        if let Some(to) = header("location") {
            // Writing to a string cannot fail.
            let _ = write!(
                failure.message,
                " (it points to {})",
                to.chars().take(200).collect::<String>()
            );
        }
        failure
    }

    fn unreachable(&self, error: &reqwest::Error) -> ModelFailure {
        let Provider { name, base_url, .. } = self.provider;
        if error.is_builder() {
            let message = format!("the address of {name} is no URL of a server");
            return ModelFailure::of(FailureKind::Invalid, message);
        }
        let place = host(base_url);
        let message = format!("{name} cannot be reached at {place}: {}", causes(error));
        ModelFailure::of(FailureKind::Network, message)
    }

    fn timed_out(&self, what: &str, wait: Duration, http_status: Option<u16>) -> ModelFailure {
        let name = &self.provider.name;
        let message = format!("{what} from {name} within {}", seconds(wait));
        ModelFailure { http_status, ..ModelFailure::of(FailureKind::Timeout, message) }
    }
}

fn seconds(wait: Duration) -> String {
    if wait.subsec_millis() == 0 {
        format!("{} s", wait.as_secs())
    } else {
        format!("{} ms", wait.as_millis())
    }
}

/// Host and port of an address. The rest may hold a password.
fn host(base_url: &str) -> String {
    let Ok(url) = reqwest::Url::parse(base_url.trim()) else { return "its address".to_owned() };
    let host = url.host_str().unwrap_or("its address");
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The innermost cause, which says most: `Connection refused`, not `error sending request`.
fn causes(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if error.is_timeout() { "it takes no connection in time".to_owned() } else { cause.to_string() }
}

/// Reads on to the end of the body, if it is near, so that the connection can be used again.
async fn drain(response: &mut reqwest::Response) {
    let end = async { while let Ok(Some(_)) = response.chunk().await {} };
    // Whether the end was reached does not matter: the answer is whole.
    timeout(DRAIN_TIMEOUT, end).await.ok();
}
