mod server;

use std::future::pending;

use journeyman_domain::model::{CallRequest, Stop, TokenUsage};
use serde_json::json;

use self::server::{Server, chunked, plain};
use super::*;
use crate::limits::Window;
use crate::provider::Key;
use crate::wire::tests::{request, settings, user};

const WORDS: &str = "data: {\"id\":\"c1\",\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\"hi\"},\
                     \"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n\
                     data: [DONE]\n\n";
const BEGIN: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":\
                     {\"input_tokens\":9,\"output_tokens\":1}}}\n\n";

fn provider(wire: Wire, server: &Server) -> Provider {
    Provider {
        key: Some(Key::new("sk-secret")),
        ..Provider::new("acme", wire, format!("http://{}/v1", server.address))
    }
}

async fn ask(provider: &Provider) -> Attempt {
    let settings = settings(provider.wire, "m");
    let body = wire::body(&settings, &request(vec![user("go")]), "k");
    Client::new().unwrap().call(provider, &settings, &body, &mut |_| {}, pending()).await
}

async fn failure_of(wire: Wire, reply: Vec<u8>) -> ModelFailure {
    let server = Server::start(vec![reply]).await;
    ask(&provider(wire, &server)).await.result.unwrap_err()
}

fn turn() -> ModelTurn {
    ModelTurn {
        id: "c1".into(),
        model: "m-1".into(),
        text: "hi".into(),
        calls: vec![],
        stop: Stop::End,
        usage: TokenUsage { uncached_input: 5, output: 1, ..TokenUsage::default() },
        usage_known: true,
        items: vec![json!({"role": "assistant", "content": "hi"})],
    }
}

#[tokio::test]
async fn an_answer_is_read_and_the_connection_used_again() {
    let headers = "content-type: text/event-stream\r\nx-ratelimit-remaining-requests: 7\r\n";
    let reply = chunked("200 OK", headers, &[WORDS]);
    let server = Server::start(vec![reply.clone(), reply]).await;
    let provider = provider(Wire::OpenAiChat, &server);
    let settings = settings(Wire::OpenAiChat, "m");
    let body = wire::body(&settings, &request(vec![user("go")]), "k");
    let client = Client::new().unwrap();
    for _ in 0..2 {
        let mut heard = Vec::new();
        let on = &mut |progress: Progress<'_>| heard.push(format!("{progress:?}"));
        let attempt = client.call(&provider, &settings, &body, on, pending()).await;
        assert!(attempt.first_chunk.is_some());
        let expected = Attempt {
            result: Ok(turn()),
            limits: RateLimits {
                requests: Some(Window { remaining: Some(7), ..Window::default() }),
                tokens: None,
            },
            first_chunk: attempt.first_chunk,
            sent_bytes: wire::canonical(&body).len(),
            received_bytes: WORDS.len(),
        };
        assert_eq!(attempt, expected);
        assert_eq!(heard, ["Started", "Text(\"hi\")"]);
    }
    assert_eq!(server.connections(), 1);
    let seen = server.requests();
    assert_eq!(seen.len(), 2);
    let (head, sent) = seen[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: Bearer sk-secret\r\n"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(sent.as_bytes(), wire::canonical(&body));
}

#[tokio::test]
async fn anthropic_is_known_by_its_own_headers() {
    let stream = "data: {\"type\":\"message_stop\"}\n\n";
    let server = Server::start(vec![chunked("200 OK", "", &[BEGIN, stream])]).await;
    let attempt = ask(&provider(Wire::AnthropicMessages, &server)).await;
    assert_eq!(attempt.result.unwrap().usage.total(), 10);
    let head = server.requests().remove(0);
    assert!(head.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("x-api-key: sk-secret\r\n"), "{head}");
    assert!(head.contains("anthropic-version: 2023-06-01\r\n"), "{head}");
    assert!(!head.contains("authorization"), "{head}");
}

#[tokio::test]
async fn both_timeouts_say_which_it_was() {
    let silent = Server::start(vec![]).await;
    let short = Duration::from_millis(50);
    let provider_of = |server: &Server| Provider {
        header_timeout: short,
        ..provider(Wire::AnthropicMessages, server)
    };
    let failure = ask(&provider_of(&silent)).await.result.unwrap_err();
    let message = "no answer from acme within 50 ms";
    assert_eq!(failure, ModelFailure::of(FailureKind::Timeout, message));

    let stalled = Server::start(vec![server::stalled(BEGIN)]).await;
    let provider = Provider { idle_timeout: short, ..provider(Wire::AnthropicMessages, &stalled) };
    let expected = ModelFailure {
        http_status: Some(200),
        usage: Some(TokenUsage { uncached_input: 9, output: 1, ..TokenUsage::default() }),
        ..ModelFailure::of(FailureKind::Timeout, "no further event from acme within 50 ms")
    };
    assert_eq!(ask(&provider).await.result.unwrap_err(), expected);
}

#[tokio::test]
async fn a_connection_that_breaks_keeps_the_usage() {
    let failure = failure_of(Wire::AnthropicMessages, server::broken(BEGIN)).await;
    assert_eq!((failure.kind, failure.http_status), (FailureKind::Network, Some(200)));
    assert_eq!(failure.usage.unwrap().total(), 10);
    assert!(failure.message.starts_with("the connection to acme broke: "), "{}", failure.message);
}

#[tokio::test]
async fn a_provider_that_is_not_there_cannot_be_reached() {
    let server = Server::start(vec![]).await;
    let mut gone = provider(Wire::OpenAiChat, &server);
    server.stop().await;
    let failure = ask(&gone).await.result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Network);
    assert!(failure.message.starts_with("acme cannot be reached at 127.0.0.1:"), "{failure:?}");
    gone.base_url = "not an address".into();
    let failure = ask(&gone).await.result.unwrap_err();
    let message = "the address of acme is no URL of a server";
    assert_eq!(failure, ModelFailure::of(FailureKind::Invalid, message));
}

#[tokio::test]
async fn a_refusal_has_its_kind_its_wait_and_no_key() {
    let headers = "retry-after-ms: 1500\r\nretry-after: 9\r\nx-should-retry: false\r\n\
                   anthropic-ratelimit-tokens-remaining: 0\r\n";
    let body = r#"{"error":{"type":"rate_limit_error","message":"key sk-secret is too busy"}}"#;
    let server = Server::start(vec![plain("429 Too Many Requests", headers, body)]).await;
    let attempt = ask(&provider(Wire::AnthropicMessages, &server)).await;
    let message = "acme answered 429 Too Many Requests: key [key] is too busy";
    let expected = ModelFailure {
        http_status: Some(429),
        should_retry: Some(false),
        retry_after_ms: Some(1_500),
        ..ModelFailure::of(FailureKind::RateLimit, message)
    };
    assert_eq!(attempt.result, Err(expected));
    assert_eq!(attempt.limits.tokens, Some(Window { remaining: Some(0), ..Window::default() }));

    let headers = "x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 6s\r\n";
    let failure = failure_of(Wire::OpenAiChat, plain("429 Too Many Requests", headers, "")).await;
    assert_eq!((failure.retry_after_ms, failure.should_retry), (Some(6_000), None));

    let long = "x".repeat(1_000_000);
    let failure = failure_of(Wire::OpenAiChat, plain("500 Oh", "", &long)).await;
    let expected = format!("acme answered 500 Internal Server Error: {}…", "x".repeat(500));
    assert_eq!((failure.kind, failure.message), (FailureKind::Transient, expected));
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let elsewhere = Server::start(vec![plain("200 OK", "", "")]).await;
    let headers = format!("location: http://{}/v1\r\n", elsewhere.address);
    let failure = failure_of(Wire::OpenAiChat, plain("308 Permanent Redirect", &headers, "")).await;
    let message = format!(
        "acme answered 308 Permanent Redirect (it points to http://{}/v1)",
        elsewhere.address
    );
    assert_eq!((failure.kind, failure.message), (FailureKind::NotFound, message));
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn an_answer_need_not_be_a_stream() {
    let body = r#"{"id":"c1","model":"m-1","choices":[{"message":{"role":"assistant","content":"hi"},
                "finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#;
    let server = Server::start(vec![plain("200 OK", "", body)]).await;
    assert_eq!(ask(&provider(Wire::OpenAiChat, &server)).await.result, Ok(turn()));
    // The blank line at the end is missing.
    let server = Server::start(vec![plain("200 OK", "", WORDS.trim_end())]).await;
    assert_eq!(ask(&provider(Wire::OpenAiChat, &server)).await.result, Ok(turn()));
    let stream = format!("{BEGIN}data: {{\"type\":\"message_stop\"}}");
    let server = Server::start(vec![plain("200 OK", "", &stream)]).await;
    let attempt = ask(&provider(Wire::AnthropicMessages, &server)).await;
    assert_eq!(attempt.result.map(|turn| turn.stop), Ok(Stop::End));
}

#[tokio::test]
async fn nonsense_is_no_answer() {
    for (body, expected) in [
        ("", "acme gave an empty answer"),
        ("\n <html>Log in</html>", "acme answered with an HTML page, not with events"),
        ("{\"half\": ", "acme answered with JSON that is broken"),
        ("hello there", "acme answered with neither events nor JSON"),
        ("data: {}}\n\n", "acme sent an event that is no JSON"),
        ("{}", "acme gave an answer without a choice"),
    ] {
        let failure = failure_of(Wire::OpenAiChat, plain("200 OK", "", body)).await;
        let expected = ModelFailure {
            http_status: Some(200),
            ..ModelFailure::of(FailureKind::Protocol, expected)
        };
        assert_eq!(failure, expected, "{body}");
    }
    let cut = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\ndata: {\"choi";
    let failure = failure_of(Wire::OpenAiChat, plain("200 OK", "", cut)).await;
    let message = "the stream of acme ended before the answer was complete";
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Network, message));
}

#[tokio::test]
async fn many_mebibytes_of_arguments_arrive_and_more_are_refused() {
    let server = Server::start(vec![large_call(5), large_call(17)]).await;
    let provider = provider(Wire::OpenAiChat, &server);
    let turn = ask(&provider).await.result.unwrap();
    let arguments = format!("{{\"text\":\"{}\"}}", "x".repeat(5 << 20));
    let expected = CallRequest { call_id: "a".into(), name: "write".into(), arguments };
    assert!(turn.calls == [expected]);
    let failure = ask(&provider).await.result.unwrap_err();
    let message = "acme gave an answer of more than 16777216 bytes";
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Protocol, message));
}

/// A call with a text of so many MiB, in pieces of one MiB.
fn large_call(mebibytes: usize) -> Vec<u8> {
    let event = |arguments: &str, finish: Value| {
        let function = json!({"name": "write", "arguments": arguments});
        let call = json!({"index": 0, "id": "a", "function": function});
        let choice = json!({"delta": {"tool_calls": [call]}, "finish_reason": finish});
        format!("data: {}\n\n", json!({"choices": [choice]}))
    };
    let mut stream = event("{\"text\":\"", Value::Null);
    for _ in 0..mebibytes {
        stream += &event(&"x".repeat(1 << 20), Value::Null);
    }
    stream += &event("\"}", json!("tool_calls"));
    plain("200 OK", "", &stream)
}

#[tokio::test]
async fn what_cannot_work_is_not_sent() {
    let server = Server::start(vec![]).await;
    let provider = provider(Wire::AnthropicMessages, &server);
    let client = Client::new().unwrap();
    let constrained =
        ModelSettings { tool_mode: ToolMode::JsonSchema, ..settings(Wire::AnthropicMessages, "m") };
    let other = settings(Wire::OpenAiChat, "m");
    let bad = Provider { key: Some(Key::new("sk-a\nb")), ..provider.clone() };
    let native = settings(Wire::AnthropicMessages, "m");
    for (provider, settings, kind, message) in [
        (
            &provider,
            &constrained,
            FailureKind::Invalid,
            "tool_mode json_schema needs the wire openai_chat or openai_responses",
        ),
        (
            &provider,
            &other,
            FailureKind::Invalid,
            "acme is spoken to by anthropic_messages, but this request is for openai_chat",
        ),
        (
            &bad,
            &native,
            FailureKind::Auth,
            "the key of acme has characters that no header can carry",
        ),
    ] {
        let attempt = client.call(provider, settings, &json!({}), &mut |_| {}, pending()).await;
        assert_eq!(attempt.result, Err(ModelFailure::of(kind, message)));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn dropping_the_call_closes_the_connection() {
    let server = Server::start(vec![server::stalled(BEGIN)]).await;
    let provider = provider(Wire::AnthropicMessages, &server);
    let settings = settings(Wire::AnthropicMessages, "m");
    let client = Client::new().unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let body = json!({});
    let mut on = |_: Progress<'_>| tell.send(()).unwrap();
    let mut call = Box::pin(client.call(&provider, &settings, &body, &mut on, pending()));
    tokio::select! {
        _ = &mut call => panic!("it stalls"),
        started = told.recv() => assert_eq!(started, Some(())),
    }
    drop(call);
    server.closed().await;
}

#[tokio::test]
async fn a_call_that_is_stopped_says_what_it_used() {
    let server = Server::start(vec![server::stalled(
        "data: {\"choices\":[{\"delta\":{\"content\":\"twelve bytes\"}}]}\n\n",
    )])
    .await;
    let provider = provider(Wire::OpenAiChat, &server);
    let settings = settings(Wire::OpenAiChat, "m");
    let client = Client::new().unwrap();
    let body = json!({"messages": ["x".repeat(392)]});
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let mut on = |progress: Progress<'_>| {
        if matches!(progress, Progress::Text(_)) {
            tell.send(()).unwrap();
        }
    };
    let stop = async {
        told.recv().await;
        ModelFailure::of(FailureKind::Cancelled, "nobody waits for it")
    };
    let failure = client.call(&provider, &settings, &body, &mut on, stop).await.result.unwrap_err();
    assert_eq!((failure.kind, failure.http_status), (FailureKind::Cancelled, Some(200)));
    let sent = wire::canonical(&body).len() as u64;
    let expected = TokenUsage {
        uncached_input: sent.div_ceil(4),
        output: "twelve bytes".len() as u64 / 4,
        ..TokenUsage::default()
    };
    assert_eq!(failure.usage, Some(expected));
    server.closed().await;
}

#[tokio::test]
async fn comments_do_not_keep_a_silent_answer_alive() {
    let words = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    let server = Server::start(vec![server::endless(words, ": ping\n\n")]).await;
    let idle_timeout = Duration::from_millis(200);
    let provider = Provider { idle_timeout, ..provider(Wire::OpenAiChat, &server) };
    let failure = ask(&provider).await.result.unwrap_err();
    assert_eq!(failure.message, "no further event from acme within 200 ms");
    let server = Server::start(vec![server::endless(words, words)]).await;
    let answer_timeout = Duration::from_millis(300);
    let provider = Provider { answer_timeout, ..provider };
    let provider =
        Provider { base_url: self::provider(Wire::OpenAiChat, &server).base_url, ..provider };
    let failure = ask(&provider).await.result.unwrap_err();
    assert_eq!(failure.message, "no complete answer from acme within 300 ms");
    assert!(failure.usage.is_some_and(|usage| usage.output > 0), "{failure:?}");
}
