//! The trace context as data: 25 bytes that a message, a row or a child process carries.
//!
//! Owns: the W3C text form. Must never: hold a `tracing::Span`, which would keep the sender's span
//! open for as long as the message waits.

use std::fmt;
use std::str::FromStr;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tracing_opentelemetry::{OpenTelemetrySpanExt as _, SetParentError};

/// Where in which trace something was caused. Its text is the W3C `traceparent`
/// (<https://www.w3.org/TR/trace-context/#traceparent-header>), also in serde.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace; not all zero.
    pub trace_id: [u8; 16],
    /// The span inside the trace; not all zero.
    pub span_id: [u8; 8],
    /// Whether the trace is recorded by its sender.
    pub sampled: bool,
}

/// How a span relates to the context that caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The sender waits for it: same trace, below the sender's span.
    Child,
    /// It may outlive its sender: a trace of its own, with a link back.
    Link,
}

/// Why a text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not `version-trace-span-flags` of the fixed lengths, in lower-case hexadecimal digits.
    #[error("a traceparent has the form 00-<32 hex digits>-<16 hex digits>-<2 hex digits>")]
    Form,
    /// The version `ff`, which the standard forbids.
    #[error("version ff of traceparent is forbidden")]
    Version,
    /// The trace id or the span id is all zero.
    #[error("a traceparent must not have an id of zeros only")]
    ZeroId,
}

impl TraceContext {
    /// The context of the active span, if there is one.
    pub fn current() -> Option<Self> {
        opentelemetry::Context::map_current(|context| Self::of_otel(context.span().span_context()))
    }

    /// The context of a span that need not be entered; `None` where nothing traces it.
    ///
    /// It fixes the span's parent: [`attach`] comes first.
    pub fn of(span: &tracing::Span) -> Option<Self> {
        Self::of_otel(span.context().span().span_context())
    }

    /// A new trace that nobody has a span of yet: for rows whose work starts later.
    pub fn fresh() -> Self {
        let ids = RandomIdGenerator::default();
        Self {
            trace_id: ids.new_trace_id().to_bytes(),
            span_id: ids.new_span_id().to_bytes(),
            sampled: true,
        }
    }

    /// The trace id, 32 hexadecimal digits.
    pub fn trace_id_hex(&self) -> String {
        TraceId::from_bytes(self.trace_id).to_string()
    }

    /// The span id, 16 hexadecimal digits.
    pub fn span_id_hex(&self) -> String {
        SpanId::from_bytes(self.span_id).to_string()
    }

    fn of_otel(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| Self {
            trace_id: context.trace_id().to_bytes(),
            span_id: context.span_id().to_bytes(),
            sampled: context.is_sampled(),
        })
    }

    fn to_otel(self) -> SpanContext {
        let flags = TraceFlags::default().with_sampled(self.sampled);
        let trace_id = TraceId::from_bytes(self.trace_id);
        let span_id = SpanId::from_bytes(self.span_id);
        SpanContext::new(trace_id, span_id, flags, true, TraceState::default())
    }
}

/// Gives a span that was not yet entered its relation to `cause`.
///
/// The ambient parent is replaced in any case: without a cause, and with [`Relation::Link`], the
/// span starts a trace of its own. Returns whether the relation holds; it does not where the span
/// is disabled, nothing traces, or the span was entered before.
pub fn attach(span: &tracing::Span, cause: Option<TraceContext>, relation: Relation) -> bool {
    let root = opentelemetry::Context::new();
    let (parent, link) = match (cause, relation) {
        (None, _) => (root, None),
        (Some(cause), Relation::Child) => (root.with_remote_span_context(cause.to_otel()), None),
        (Some(cause), Relation::Link) => (root, Some(cause.to_otel())),
    };
    if let Some(link) = link {
        span.add_link(link);
    }
    match span.set_parent(parent) {
        Ok(()) => true,
        Err(SetParentError::AlreadyStarted) => {
            tracing::warn!("a span was entered before it got its parent");
            false
        }
        Err(SetParentError::LayerNotFound | SetParentError::SpanDisabled) => false,
    }
}

impl FromStr for TraceContext {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut parts = text.splitn(5, '-');
        let [version] = hex(parts.next())?;
        let trace_id = hex(parts.next())?;
        let span_id = hex(parts.next())?;
        let [flags] = hex(parts.next())?;
        match (version, parts.next()) {
            (0xff, _) => return Err(ParseError::Version),
            // A later version may add fields; the first one has none.
            (0, Some(_)) => return Err(ParseError::Form),
            _ => {}
        }
        if trace_id == [0; 16] || span_id == [0; 8] {
            return Err(ParseError::ZeroId);
        }
        let sampled = flags & 1 == 1;
        Ok(Self { trace_id, span_id, sampled })
    }
}

fn hex<const N: usize>(part: Option<&str>) -> Result<[u8; N], ParseError> {
    let digits = part.map(str::as_bytes).filter(|digits| digits.len() == 2 * N);
    let digits = digits.ok_or(ParseError::Form)?;
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return Err(ParseError::Form),
            };
            *byte = (*byte << 4) | value;
        }
    }
    Ok(bytes)
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (self.trace_id_hex(), self.span_id_hex());
        write!(f, "00-{trace}-{span}-{:02x}", u8::from(self.sampled))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_text_form_survives_a_round_trip() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!(context.to_string(), EXAMPLE);
        assert!(context.sampled);
        let json = serde_json::to_string(&context).unwrap();
        assert_eq!(json, format!("{EXAMPLE:?}"));
        assert_eq!(serde_json::from_str::<TraceContext>(&json).unwrap(), context);
        let fresh = TraceContext::fresh();
        assert_eq!(fresh.to_string().parse(), Ok(fresh));
        assert_ne!(fresh, TraceContext::fresh());
    }

    #[test]
    fn a_later_version_may_carry_more_and_other_flags_are_ignored() {
        let later = EXAMPLE.replacen("00-", "cc-", 1) + "-what-ever";
        assert_eq!(later.parse::<TraceContext>().unwrap().to_string(), EXAMPLE);
        let flags = EXAMPLE.replace("b7-01", "b7-02").parse::<TraceContext>().unwrap();
        assert!(!flags.sampled);
    }

    #[test]
    fn bad_texts_are_refused() {
        let upper = EXAMPLE.to_uppercase();
        let long = format!("{EXAMPLE}-00");
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let forbidden = EXAMPLE.replacen("00-", "ff-", 1);
        for (text, error) in [
            ("", ParseError::Form),
            ("00", ParseError::Form),
            (&EXAMPLE[..54], ParseError::Form),
            (upper.as_str(), ParseError::Form),
            (long.as_str(), ParseError::Form),
            ("00-4bf92f3577b34da6a3ce929d0e0e47é-00f067aa0ba902b7-01", ParseError::Form),
            (zero_trace.as_str(), ParseError::ZeroId),
            (zero_span.as_str(), ParseError::ZeroId),
            (forbidden.as_str(), ParseError::Version),
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(error), "{text}");
        }
    }
}
