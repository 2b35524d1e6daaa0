//! A real receiver of OpenTelemetry on loopback, for traces and metrics.
//!
//! Owns: what arrived. Must never: share code with the exporter beyond the protocol's generated
//! types, since it is the other side of the wire.

mod grpc;
mod http;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::{Span, span, status};

pub use tree::tree;

/// A span as it was received. Ids are hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedSpan {
    /// The span's name.
    pub name: String,
    /// `internal`, `server`, `client`, `producer`, `consumer` or `unspecified`.
    pub kind: &'static str,
    /// The trace.
    pub trace_id: String,
    /// The span.
    pub span_id: String,
    /// The parent's span id, if the span is not the root of its trace.
    pub parent: Option<String>,
    /// Trace and span id of each link.
    pub links: Vec<(String, String)>,
    /// Attributes, their values as text.
    pub attributes: BTreeMap<String, String>,
    /// Attributes of the sending process.
    pub resource: BTreeMap<String, String>,
    /// Names of the span's events.
    pub events: Vec<String>,
    /// How it ended.
    pub status: ReceivedStatus,
    /// Start in nanoseconds since 1970.
    pub start_ns: u64,
}

/// How a span ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceivedStatus {
    /// Nothing was said.
    Unset,
    /// It said that it succeeded.
    Ok,
    /// It failed, with this description.
    Error(String),
}

/// The running receiver; it ends when it is dropped.
#[derive(Debug)]
pub struct OtlpReceiver {
    address: SocketAddr,
    received: Arc<Received>,
    _server: Server,
}

#[derive(Debug)]
enum Server {
    Http { _server: http::HttpServer },
    Grpc { _server: grpc::GrpcServer },
}

#[derive(Debug, Default)]
struct Received {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    spans: Vec<ReceivedSpan>,
    metrics: BTreeSet<String>,
    counts: BTreeMap<Series, i64>,
}

/// A counter's name and the attributes of one of its series.
type Series = (String, BTreeMap<String, String>);

impl OtlpReceiver {
    /// Receives OTLP over HTTP with protobuf bodies.
    pub fn start() -> std::io::Result<Self> {
        let received = Arc::new(Received::default());
        let server = http::HttpServer::start(Arc::clone(&received))?;
        let address = server.address();
        Ok(Self { address, received, _server: Server::Http { _server: server } })
    }

    /// Receives OTLP over gRPC.
    pub fn start_grpc() -> std::io::Result<Self> {
        let received = Arc::new(Received::default());
        let server = grpc::GrpcServer::start(&received)?;
        let address = server.address();
        Ok(Self { address, received, _server: Server::Grpc { _server: server } })
    }

    /// The value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far, by their start.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        let mut spans = self.received.lock().spans.clone();
        spans.sort_by_key(|span| span.start_ns);
        spans
    }

    /// The names of all metrics so far.
    pub fn metrics(&self) -> BTreeSet<String> {
        self.received.lock().metrics.clone()
    }

    /// The value, as it was told last, of a counter's only series with these attributes among its own.
    pub fn count(&self, name: &str, wanted: &[(&str, &str)]) -> Option<i64> {
        let state = self.received.lock();
        let is_it = |(of, attributes): &Series| {
            let has =
                |(key, value): &(&str, &str)| attributes.get(*key).is_some_and(|it| it == value);
            of == name && wanted.iter().all(has)
        };
        let mut found = state.counts.iter().filter(|(series, _)| is_it(series));
        let first = found.next().map(|(_, count)| *count);
        first.filter(|_| found.next().is_none())
    }

    /// Waits until the spans so far satisfy `enough`; `None` when they do not within `limit`.
    pub fn wait_for(
        &self,
        limit: Duration,
        enough: impl Fn(&[ReceivedSpan]) -> bool,
    ) -> Option<Vec<ReceivedSpan>> {
        let end = Instant::now() + limit;
        let mut state = self.received.lock();
        while !enough(&state.spans) {
            let left = end.checked_duration_since(Instant::now())?;
            let waited = self.received.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        Some(self.spans())
    }
}

impl Received {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_traces(&self, request: ExportTraceServiceRequest) {
        let mut state = self.lock();
        for of_resource in request.resource_spans {
            let resource = attributes(of_resource.resource.unwrap_or_default().attributes);
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            state.spans.extend(spans.map(|span| received_span(span, resource.clone())));
        }
        self.changed.notify_all();
    }

    fn add_metrics(&self, request: ExportMetricsServiceRequest) {
        let scopes = request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics);
        let mut state = self.lock();
        for metric in scopes.flat_map(|scope| scope.metrics) {
            if let Some(metric::Data::Sum(sum)) = metric.data {
                for point in sum.data_points {
                    if let Some(number_data_point::Value::AsInt(count)) = point.value {
                        let series = (metric.name.clone(), attributes(point.attributes));
                        state.counts.insert(series, count);
                    }
                }
            }
            state.metrics.insert(metric.name);
        }
        drop(state);
        self.changed.notify_all();
    }
}

fn received_span(span: Span, resource: BTreeMap<String, String>) -> ReceivedSpan {
    let status = span.status.clone().unwrap_or_default();
    ReceivedSpan {
        kind: match span.kind() {
            span::SpanKind::Unspecified => "unspecified",
            span::SpanKind::Internal => "internal",
            span::SpanKind::Server => "server",
            span::SpanKind::Client => "client",
            span::SpanKind::Producer => "producer",
            span::SpanKind::Consumer => "consumer",
        },
        status: match status.code() {
            status::StatusCode::Unset => ReceivedStatus::Unset,
            status::StatusCode::Ok => ReceivedStatus::Ok,
            status::StatusCode::Error => ReceivedStatus::Error(status.message),
        },
        name: span.name,
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent: (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id)),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        attributes: attributes(span.attributes),
        resource,
        events: span.events.into_iter().map(|event| event.name).collect(),
        start_ns: span.start_time_unix_nano,
    }
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |pair: KeyValue| (pair.key, value_text(pair.value.unwrap_or_default()));
    list.into_iter().map(text).collect()
}

fn value_text(value: AnyValue) -> String {
    match value.value {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::BoolValue(value)) => value.to_string(),
        Some(any_value::Value::IntValue(value)) => value.to_string(),
        Some(any_value::Value::DoubleValue(value)) => value.to_string(),
        Some(any_value::Value::ArrayValue(list)) => {
            let texts: Vec<_> = list.values.into_iter().map(value_text).collect();
            format!("[{}]", texts.join(", "))
        }
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
