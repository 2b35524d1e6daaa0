//! Spans and metrics arrive at a collector, over both wires, with the right relations.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod process;

use std::time::{Duration, Instant};

use journeyman_telemetry::export::{Otlp, Providers, resource};
use journeyman_telemetry::metrics::Metrics;
use journeyman_telemetry::{Relation, TraceContext, attach, redact};
use journeyman_testkit::otlp::{OtlpReceiver, ReceivedSpan, tree};
use tracing::info_span;

const LIMIT: Duration = Duration::from_secs(10);

/// What arrives, over either wire.
const TREE: &str = "\
execute_task task.id=[id] verified=true
  execute_tool bash prompt=***
  deliver remote=https://me:***@host/x [error: pushed with ***]
  scheduler Claim (consumer) message.queue_us=[n]
    inside
around
auditor Note (consumer) message.queue_us=[n] -> execute_task
  inside
tick
";

fn otlp(endpoint: &str, protocol: &str) -> Otlp {
    Otlp::from_variables(|name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.to_owned()),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(protocol.to_owned()),
        _ => None,
    })
}

/// Sends what is traced to `receiver`.
pub(crate) fn providers(receiver: &OtlpReceiver) -> Providers {
    let (providers, problems) =
        Providers::build(&otlp(&receiver.endpoint(), "http/protobuf"), &resource("0", &[]));
    assert!(problems.is_empty(), "{problems:?}");
    providers
}

/// One execution that asks one actor and tells another, sent by `protocol` to `receiver`.
fn send_an_execution(receiver: &OtlpReceiver, protocol: &str) -> TraceContext {
    redact::register("super-secret-value");
    let attributes = [("service.instance.id".to_owned(), "node-1".to_owned())];
    let otlp = otlp(&receiver.endpoint(), protocol);
    let (providers, problems) = Providers::build(&otlp, &resource("1.2.3", &attributes));
    assert!(problems.is_empty(), "{problems:?}");
    let subscriber = providers.subscriber();
    let cause = tracing::subscriber::with_default(subscriber, || {
        let root = info_span!("execute_task", task.id = "0199", verified = tracing::field::Empty);
        let cause = root.in_scope(|| {
            let cause = TraceContext::current().unwrap();
            let tool = info_span!("tool", otel.name = "execute_tool bash", prompt = "write a poem");
            tool.in_scope(|| {
                tracing::info!("an event stays a log line");
                let _library =
                    info_span!(target: "hyper::client", "a span of the library").entered();
                let _debug = tracing::debug_span!("too fine").entered();
            });
            let deliver = info_span!(
                "deliver",
                remote = "https://me:hunter22@host/x",
                otel.status_code = "ERROR",
                otel.status_description = "pushed with super-secret-value",
            );
            drop(deliver);
            cause
        });
        root.record("verified", true);
        drop(root);
        // Elsewhere, later: what counts is the relation, not the span around.
        let around = info_span!("around");
        around.in_scope(|| {
            for (name, relation) in
                [("scheduler Claim", Relation::Child), ("auditor Note", Relation::Link)]
            {
                let span = info_span!(
                    "message",
                    otel.name = name,
                    otel.kind = "consumer",
                    message.queue_us = 17
                );
                assert!(attach(&span, Some(cause), relation));
                span.in_scope(|| drop(info_span!("inside")));
            }
            let tick = info_span!("tick");
            assert!(attach(&tick, None, Relation::Child));
            let entered = tick.enter();
            assert!(!attach(&tick, Some(cause), Relation::Child), "it has begun");
            drop(entered);
        });
        cause
    });
    let metrics = Metrics::new(&providers.meter().unwrap());
    metrics.message_handled(
        "scheduler",
        "Claim",
        Duration::from_micros(5),
        Duration::from_millis(2),
    );
    metrics.mailbox_depth("scheduler", 3);
    metrics.actor_restarted("scheduler", "panicked");
    assert!(providers.shutdown(LIMIT), "the collector accepted everything");
    cause
}

fn by_name<'a>(spans: &'a [ReceivedSpan], name: &str) -> &'a ReceivedSpan {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name}"))
}

fn check(receiver: &OtlpReceiver, cause: TraceContext) {
    let spans = receiver.wait_for(LIMIT, |spans| spans.len() >= 9).unwrap();
    assert_eq!(tree(&spans), TREE);
    let root = by_name(&spans, "execute_task");
    assert_eq!((&root.trace_id, &root.span_id), (&cause.trace_id_hex(), &cause.span_id_hex()));
    assert_eq!(root.resource["service.name"], "journeyman");
    assert_eq!(root.resource["service.version"], "1.2.3");
    assert_eq!(root.resource["service.instance.id"], "node-1");
    assert!(spans.iter().all(|span| span.events.is_empty()), "{spans:?}");
    let (ask, tell) = (by_name(&spans, "scheduler Claim"), by_name(&spans, "auditor Note"));
    assert_eq!(ask.trace_id, root.trace_id);
    assert_ne!(tell.trace_id, root.trace_id);
    assert_ne!(tell.trace_id, by_name(&spans, "around").trace_id);
    assert_eq!(tell.links, [(root.trace_id.clone(), root.span_id.clone())]);
    let metrics: Vec<_> = receiver.metrics().into_iter().collect();
    let expected = [
        "actor_handle_seconds",
        "actor_mailbox_depth",
        "actor_queue_seconds",
        "actor_restarts_total",
    ];
    assert_eq!(metrics, expected);
}

#[test]
fn an_execution_arrives_over_http() {
    let receiver = OtlpReceiver::start().unwrap();
    let cause = send_an_execution(&receiver, "http/protobuf");
    check(&receiver, cause);
}

#[test]
fn an_execution_arrives_over_grpc() {
    let receiver = OtlpReceiver::start_grpc().unwrap();
    let cause = send_an_execution(&receiver, "grpc");
    check(&receiver, cause);
}

#[test]
fn the_end_is_bounded_when_the_collector_accepts_and_never_answers() {
    // A listener that nobody accepts from: connections stand, answers never come.
    let mute = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = format!("http://{}", mute.local_addr().unwrap());
    for protocol in ["http/protobuf", "grpc"] {
        let (providers, _) = Providers::build(&otlp(&endpoint, protocol), &resource("0", &[]));
        let subscriber = providers.subscriber();
        tracing::subscriber::with_default(subscriber, || drop(info_span!("lost")));
        Metrics::new(&providers.meter().unwrap()).mailbox_depth("scheduler", 1);
        let start = Instant::now();
        assert!(!providers.shutdown(Duration::from_millis(300)), "nothing was accepted");
        assert!(start.elapsed() < LIMIT, "{protocol}: {:?}", start.elapsed());
    }
}
