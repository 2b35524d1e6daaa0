//! A run's calls of its model as spans and metrics, by the conventions for generative AI.

use journeyman_domain::model::Wire;
use journeyman_testkit::otlp::OtlpReceiver;

use super::scene::{Scene, note};
use crate::support::Home;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_is_sent_where_it_is_asked_for() {
    let receiver = OtlpReceiver::start().unwrap();
    let names = note(&Home::new().await);
    let scene = Scene::new(Wire::OpenAiResponses, names.mended_at_once()).await;
    let broken = note(&scene.home);
    let path = broken.repository.to_str().unwrap();
    let ran = scene
        .home
        .command(&["run", "--json", "--repo", path, "Make it two"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint())
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let spans = receiver.spans();
    let chat = spans.iter().find(|span| span.name == "chat small-1").unwrap();
    assert!(chat.attributes["gen_ai.input.messages"].contains("Make it two"));
    assert!(chat.attributes["gen_ai.output.messages"].contains("\"edit\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_spans_below_the_agents_turn() {
    let receiver = OtlpReceiver::start().unwrap();
    let names = note(&Home::new().await);
    let scene = Scene::new(Wire::AnthropicMessages, names.mended_at_once()).await;
    let broken = note(&scene.home);
    let path = broken.repository.to_str().unwrap();
    let ran = scene
        .home
        .command(&["run", "--json", "--repo", path, "Make it two"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint())
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let spans = receiver.spans();
    let chats: Vec<_> = spans.iter().filter(|span| span.name == "chat small-1").collect();
    assert_eq!(chats.len(), 2);
    let agent = spans.iter().find(|span| span.name.starts_with("invoke_agent")).unwrap();
    for chat in &chats {
        let attribute = |name: &str| chat.attributes[name].clone();
        assert_eq!(chat.trace_id, agent.trace_id);
        assert_eq!(attribute("gen_ai.operation.name"), "chat");
        assert_eq!(attribute("gen_ai.provider.name"), "scripted");
        assert!(attribute("gen_ai.usage.input_tokens").parse::<u64>().unwrap() > 100);
        assert!(attribute("gen_ai.usage.output_tokens").parse::<u64>().unwrap() > 0);
    }
    // What was said is in no span.
    let all = format!("{spans:?}");
    assert!(!all.contains("Make it two") && !all.contains("\"old\""), "content was sent");
}
