//! The way out: providers of traces and metrics over OTLP.
//!
//! Owns: the providers and their bounded end. Must never: export
//! without being asked to, or fail the program because a collector is away or badly named.

mod cleaning;
mod otlp;

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue, metrics::MeterProvider as _};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol as WireProtocol, SpanExporter,
    WithExportConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Runtime;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt as _, Targets, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use cleaning::{CleaningExporter, ExportState};
pub use otlp::{Otlp, Protocol, Target};

const SCOPE: &str = "journeyman";
/// Libraries whose spans would describe the export itself, or last as long as an actor.
const SILENT_TARGETS: &[&str] = &[
    "h2",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "ractor",
    "reqwest",
    "rustls",
    "tonic",
    "tower",
];

/// The providers of one process. Without a target for traces there are still trace ids, for log
/// lines, the audit and child processes; nothing is sent.
#[derive(Debug)]
pub struct Providers {
    tracer: SdkTracerProvider,
    meter: Option<SdkMeterProvider>,
    runtime: Option<GrpcRuntime>,
    state: Arc<ExportState>,
}

/// gRPC needs a runtime that outlives the program's own.
#[derive(Debug)]
struct GrpcRuntime(Option<Runtime>);

impl Drop for GrpcRuntime {
    fn drop(&mut self) {
        // An ordinary drop would block, and panic inside of another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Providers {
    /// Builds what `otlp` asks for; what cannot be built is left out and told in the list.
    pub fn build(otlp: &Otlp, resource: &Resource) -> (Self, Vec<String>) {
        // The exporter over HTTP takes the process's cryptography; one is enough.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut problems = otlp.problems.clone();
        let grpc = [&otlp.traces, &otlp.metrics]
            .into_iter()
            .flatten()
            .any(|target| target.protocol == Protocol::Grpc);
        let runtime = grpc.then(grpc_runtime).transpose().unwrap_or_else(|error| {
            problems.push(format!("gRPC export cannot start: {error}"));
            None
        });
        let entered = runtime.as_ref().map(Runtime::enter);
        let usable = |target: &&Target| target.protocol != Protocol::Grpc || runtime.is_some();

        let state = Arc::new(ExportState::default());
        let mut tracer = SdkTracerProvider::builder().with_resource(resource.clone());
        if let Some(target) = otlp.traces.as_ref().filter(usable) {
            match span_exporter(target) {
                Ok(exporter) => {
                    let exporter =
                        CleaningExporter::new(exporter, &target.endpoint, Arc::clone(&state));
                    tracer = tracer.with_batch_exporter(exporter);
                }
                Err(error) => problems.push(format!("no traces are sent: {error}")),
            }
        }
        let mut meter = None;
        if let Some(target) = otlp.metrics.as_ref().filter(usable) {
            match metric_exporter(target) {
                Ok(exporter) => {
                    let builder = SdkMeterProvider::builder().with_resource(resource.clone());
                    meter = Some(builder.with_periodic_exporter(exporter).build());
                }
                Err(error) => problems.push(format!("no metrics are sent: {error}")),
            }
        }
        drop(entered);
        let runtime = runtime.map(|runtime| GrpcRuntime(Some(runtime)));
        (Self { tracer: tracer.build(), meter, runtime, state }, problems)
    }

    /// Trace ids, and nothing that is sent.
    pub fn without_export() -> Self {
        Self::build(&Otlp::default(), &Resource::builder_empty().build()).0
    }

    /// The layer that turns spans of level INFO and above into traces. Events stay log lines.
    pub fn layer<S>(&self) -> impl Layer<S> + 'static + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let scope = InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION"));
        let targets = SILENT_TARGETS.iter().map(|target| (*target, LevelFilter::OFF));
        let targets = Targets::new().with_default(LevelFilter::INFO).with_targets(targets);
        tracing_opentelemetry::layer()
            .with_tracer(self.tracer.tracer_with_scope(scope.build()))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(targets.and(filter_fn(is_span)))
    }

    /// A subscriber of this layer alone, for a part of a process, such as a test.
    pub fn subscriber(&self) -> impl Subscriber + Send + Sync + 'static + use<> {
        tracing_subscriber::registry().with(self.layer())
    }

    /// The meter, where metrics are exported.
    pub fn meter(&self) -> Option<opentelemetry::metrics::Meter> {
        self.meter.as_ref().map(|provider| provider.meter(SCOPE))
    }

    /// Sends what waits and ends, within `limit`; then gives up silently. Blocks the thread.
    /// Returns whether it was in time and the collector took the last spans.
    pub fn shutdown(self, limit: Duration) -> bool {
        let Self { tracer, meter, runtime, state } = self;
        state.ending.store(true, Ordering::Relaxed);
        let (done, finished) = mpsc::sync_channel(1);
        // The providers have no time limit of their own that holds against every dead collector.
        let thread = std::thread::Builder::new().name("telemetry-end".into()).spawn(move || {
            let traces = tracer.shutdown_with_timeout(limit).is_ok()
                && !state.failing.load(Ordering::Relaxed);
            let metrics = meter.is_none_or(|meter| meter.shutdown().is_ok());
            // The receiver is gone when the limit has passed.
            let _ = done.send(traces && metrics);
        });
        let complete = thread.is_ok() && finished.recv_timeout(limit).unwrap_or(false);
        drop(runtime);
        complete
    }
}

/// What the process is, for every span and metric. `OTEL_SERVICE_NAME` and
/// `OTEL_RESOURCE_ATTRIBUTES` win over the given values.
pub fn resource(service_version: &str, attributes: &[(String, String)]) -> Resource {
    use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
    let given = attributes.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    let mut builder = Resource::builder_empty()
        .with_service_name("journeyman")
        .with_attribute(KeyValue::new("service.version", service_version.to_owned()))
        .with_attributes(given)
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()));
    if let Some(name) = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty()) {
        builder = builder.with_service_name(name);
    }
    builder.build()
}

fn is_span(metadata: &tracing::Metadata<'_>) -> bool {
    metadata.is_span()
}

fn grpc_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("telemetry-grpc")
        .enable_all()
        .build()
}

fn span_exporter(target: &Target) -> Result<SpanExporter, ExporterBuildError> {
    let endpoint = target.endpoint.as_str();
    let builder = SpanExporter::builder();
    match target.protocol {
        Protocol::Grpc => builder.with_tonic().with_endpoint(endpoint).build(),
        Protocol::HttpProtobuf => builder
            .with_http()
            .with_protocol(WireProtocol::HttpBinary)
            .with_endpoint(endpoint)
            .build(),
    }
}

fn metric_exporter(target: &Target) -> Result<MetricExporter, ExporterBuildError> {
    let endpoint = target.endpoint.as_str();
    let builder = MetricExporter::builder();
    match target.protocol {
        Protocol::Grpc => builder.with_tonic().with_endpoint(endpoint).build(),
        Protocol::HttpProtobuf => builder
            .with_http()
            .with_protocol(WireProtocol::HttpBinary)
            .with_endpoint(endpoint)
            .build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badly_named_collector_is_told_and_does_not_stop_the_rest() {
        let target =
            |endpoint: &str, protocol| Some(Target { endpoint: endpoint.into(), protocol });
        let otlp = Otlp {
            traces: target("http://[not an address", Protocol::HttpProtobuf),
            metrics: target("http://127.0.0.1:1", Protocol::Grpc),
            problems: vec!["from before".into()],
        };
        let (providers, problems) = Providers::build(&otlp, &Resource::builder_empty().build());
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[1].starts_with("no traces are sent: "), "{problems:?}");
        assert!(providers.meter().is_some());
        providers.shutdown(Duration::from_millis(10));
    }
}
