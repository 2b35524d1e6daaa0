//! What is told of a sent effect: a span of its own that leads back to what decided it, and a figure.

use journeyman_testkit::otlp::OtlpReceiver;

use super::scene::{Scene, TOKEN};
use crate::recovery::scene::{CHECK, QUICK};
use crate::support::Ran;

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_is_a_span_that_leads_back_to_its_delivery() {
    let scene = Scene::new().await;
    scene.forge.fail_next(journeyman_testkit::forge::Fault::DropAfterWork);
    let receiver = OtlpReceiver::start().unwrap();
    let path = scene.repository.to_str().unwrap();
    let mut command = scene.home.command(&[
        "run",
        "--repo",
        path,
        "--deliver",
        "pr",
        "--command",
        QUICK,
        "--check",
        CHECK,
        "Write two",
    ]);
    scene.set_up(&mut command);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint());
    let ran = Ran::from(command.output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    let spans = receiver.spans();
    let sent: Vec<_> = spans.iter().filter(|span| span.name.starts_with("send ")).collect();
    let told: Vec<_> = sent
        .iter()
        .map(|span| {
            let of = |name: &str| span.attributes[name].as_str();
            (span.name.as_str(), span.kind, of("effect.attempt"), of("effect.outcome"))
        })
        .collect();
    assert_eq!(
        told,
        [
            ("send push", "client", "1", "done"),
            ("send pull_request", "client", "1", "retry"),
            ("send pull_request", "client", "2", "done"),
        ]
    );
    let deliver = spans.iter().find(|span| span.name == "deliver").unwrap();
    let place = |span: &journeyman_testkit::otlp::ReceivedSpan| {
        (span.trace_id.clone(), span.span_id.clone())
    };
    assert_eq!(sent[0].links, [place(deliver)]);
    assert_eq!((&sent[1].links, &sent[2].links), (&vec![place(sent[0])], &vec![place(sent[0])]));
    assert!(receiver.metrics().contains("effect_seconds"));
    assert!(!format!("{spans:?}").contains(TOKEN));
}
