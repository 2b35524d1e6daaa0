//! Each misbehaviour, and that the real reply follows it.

use std::io::{BufReader, ErrorKind, Write};
use std::time::Duration;

use journeyman_domain::model::Wire;
use serde_json::{Value, json};

use super::client::{
    Answered, HEADERS, WIRES, ask, assembled, connect, opening, path, read, request, turn,
};
use crate::model::{Misbehaviour, ModelServer, ProviderError, Reply, Script, StreamError};

fn reply() -> Reply {
    Reply::text("Grüße").then_call("read", &json!({ "path": "a" })).delta_bytes(2)
}

/// The first answer of a server that misbehaves once; the second has to be the real one, and the
/// only one that is paid unless the first was `complete`.
fn once(wire: Wire, misbehaviour: Misbehaviour, complete: bool) -> std::io::Result<Answered> {
    let script = Script::turns([reply()]).misbehave_at(0, misbehaviour);
    let server = ModelServer::start(script).unwrap();
    let first = ask(&server, wire, &opening(wire));
    let conversation = server.requests()[0].conversation.clone();
    assert_eq!(server.answered(&conversation, 0), usize::from(complete));
    let real = assembled(wire, &ask(&server, wire, &opening(wire)).unwrap());
    assert!(real.to_string().contains("Grüße"), "{real}");
    assert_eq!(server.answered(&conversation, 0), 1 + usize::from(complete));
    assert_eq!(server.violations(), Vec::<String>::new());
    first
}

#[test]
fn refusals_in_the_words_of_each_wire() {
    let said = |wire, error| {
        let answered = once(wire, Misbehaviour::Refuse(error), false).unwrap();
        let body = answered.json();
        let word = match wire {
            Wire::OpenAiChat | Wire::OpenAiResponses => &body["error"]["code"],
            Wire::AnthropicMessages => &body["error"]["type"],
        };
        assert!(body["error"]["message"].is_string(), "{body}");
        json!([answered.status, word])
    };
    let errors = [
        ProviderError::Unauthorized,
        ProviderError::PaymentRequired,
        ProviderError::Forbidden,
        ProviderError::UnknownModel,
        ProviderError::RateLimit,
        ProviderError::Quota,
        ProviderError::ContextOverflow,
        ProviderError::TooLarge,
        ProviderError::Internal,
        ProviderError::Unavailable,
        ProviderError::Overloaded,
    ];
    let all = |wire| Value::from(errors.map(|error| said(wire, error)).to_vec());
    let openai = json!([
        [401, "invalid_api_key"],
        [402, 402],
        [403, "unsupported_country_region_territory"],
        [404, "model_not_found"],
        [429, "rate_limit_exceeded"],
        [429, "insufficient_quota"],
        [400, "context_length_exceeded"],
        [413, "too_large"],
        [500, "server_error"],
        [503, "server_is_overloaded"],
        [529, "server_is_overloaded"],
    ]);
    assert_eq!(all(Wire::OpenAiChat), openai);
    assert_eq!(all(Wire::OpenAiResponses), openai);
    let anthropic = json!([
        [401, "authentication_error"],
        [402, "billing_error"],
        [403, "permission_error"],
        [404, "not_found_error"],
        [429, "rate_limit_error"],
        [400, "invalid_request_error"],
        [400, "invalid_request_error"],
        [413, "request_too_large"],
        [500, "api_error"],
        [503, "api_error"],
        [529, "overloaded_error"],
    ]);
    assert_eq!(all(Wire::AnthropicMessages), anthropic);
}

#[test]
fn headers_say_when_to_come_back_and_a_status_is_free() {
    for &wire in WIRES {
        let seconds = once(wire, Misbehaviour::rate_limit_s(3), false).unwrap();
        assert_eq!((seconds.status, seconds.header("retry-after")), (429, Some("3")));
        let exact = once(wire, Misbehaviour::rate_limit_ms(250), false).unwrap();
        assert_eq!((exact.status, exact.header("retry-after-ms")), (429, Some("250")));
        let free =
            Misbehaviour::status(418, json!({ "tea": true })).header("x-should-retry", "true");
        let free = once(wire, free, false).unwrap();
        assert_eq!((free.status, free.header("x-should-retry")), (418, Some("true")));
        assert_eq!(free.json(), json!({ "tea": true }));
        let text = once(wire, Misbehaviour::status_text(502, "Bad gateway"), false).unwrap();
        assert_eq!((text.status, text.text()), (502, "Bad gateway".into()));
    }
}

#[test]
fn streams_that_do_not_come_to_their_end() {
    for &wire in WIRES {
        for (events, expected) in [(0, 0), (2, 2), (usize::MAX, usize::MAX)] {
            let cut = Misbehaviour::CutStream { after_events: events };
            let cut = once(wire, cut, false).unwrap();
            assert_eq!((cut.status, cut.broken), (200, Some(ErrorKind::UnexpectedEof)));
            let ended = Misbehaviour::EndStream { after_events: events };
            let ended = once(wire, ended, false).unwrap();
            assert_eq!((ended.status, ended.broken), (200, None));
            assert_eq!(cut.body, ended.body);
            let text = ended.text();
            for last in ["[DONE]", "finish_reason\":\"", "message_stop", "response.completed"] {
                assert!(!text.contains(last), "{text}");
            }
            if expected < usize::MAX {
                assert_eq!(ended.events().len(), expected);
            } else {
                assert!(ended.events().len() > 5);
            }
        }
    }
}

#[test]
fn an_answer_without_a_stream_is_cut_in_half() {
    for &wire in WIRES {
        let cut = Misbehaviour::CutStream { after_events: 1 };
        let server = ModelServer::start(Script::turns([reply()]).misbehave_at(0, cut)).unwrap();
        let mut body = opening(wire);
        body["stream"] = json!(false);
        let answered = ask(&server, wire, &body).unwrap();
        assert_eq!(answered.broken, Some(ErrorKind::UnexpectedEof));
        assert!(serde_json::from_slice::<Value>(&answered.body).is_err());
    }
}

#[test]
fn hanging_ends_with_the_asker_or_with_the_server() {
    for &wire in WIRES {
        let hang = Misbehaviour::HangStream { after_events: 1 };
        for misbehaviour in [Misbehaviour::HangHeaders, hang] {
            let script = Script::turns([reply()]).misbehave_times(0, 2, misbehaviour.clone());
            let server = ModelServer::start(script).unwrap();
            let text = request("POST", path(wire), HEADERS, &opening(wire).to_string());
            let long = Duration::from_secs(20);
            let mut first = connect(&server);
            first.write_all(text.as_bytes()).unwrap();
            assert!(server.wait_until(long, |seen| seen.len() == 1));
            drop(first);
            let mut second = connect(&server);
            second.write_all(text.as_bytes()).unwrap();
            assert!(server.wait_until(long, |seen| seen.len() == 2));
            // It takes a moment until the server sees that the first one is gone.
            while server.hung_up() == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            let conversation = server.requests()[0].conversation.clone();
            assert_eq!(server.answered(&conversation, 0), 0);
            if misbehaviour != Misbehaviour::HangHeaders {
                second.peek(&mut [0]).unwrap();
            }
            drop(server);
            let answered = read(&mut BufReader::new(second));
            if misbehaviour == Misbehaviour::HangHeaders {
                assert_eq!(answered.unwrap_err().kind(), ErrorKind::UnexpectedEof);
            } else {
                let answered = answered.unwrap();
                let broken = Some(ErrorKind::UnexpectedEof);
                assert_eq!((answered.events().len(), answered.broken), (1, broken));
            }
        }
    }
}

#[test]
fn errors_inside_a_stream() {
    let last = |wire, error| {
        let misbehaviour = Misbehaviour::ErrorAfter200 { after_events: 2, error };
        let answered = once(wire, misbehaviour, false).unwrap();
        assert_eq!((answered.status, answered.broken.as_ref()), (200, None));
        let (name, _) = answered.events().last().unwrap().clone();
        assert_eq!(answered.events().len(), 3);
        (name, answered.data().pop().unwrap())
    };
    let (name, chat) = last(Wire::OpenAiChat, StreamError::Server);
    assert_eq!((name.as_str(), &chat["error"]["code"]), ("", &json!("server_error")));
    let (name, failed) = last(Wire::OpenAiResponses, StreamError::RateLimit);
    let error = json!({
        "code": "rate_limit_exceeded", "message": "Rate limit reached. Please try again in 1.3s.",
    });
    assert_eq!((name.as_str(), &failed["response"]["error"]), ("response.failed", &error));
    let (name, error) = last(Wire::AnthropicMessages, StreamError::Overloaded);
    let expected = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } });
    assert_eq!((name.as_str(), error), ("error", expected));
}

#[test]
fn nonsense_pages_and_empty_answers() {
    for &wire in WIRES {
        let nonsense = once(wire, Misbehaviour::Nonsense, false).unwrap();
        assert_eq!((nonsense.status, nonsense.data()), (200, vec![]));
        let page = once(wire, Misbehaviour::Html200, false).unwrap();
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html")));
        let empty = assembled(wire, &once(wire, Misbehaviour::EmptyAnswer, true).unwrap());
        let content = match wire {
            Wire::OpenAiChat => &empty["choices"][0]["message"]["content"],
            Wire::OpenAiResponses => &empty["output"],
            Wire::AnthropicMessages => &empty["content"],
        };
        let expected = if wire == Wire::OpenAiChat { json!("") } else { json!([]) };
        assert_eq!(*content, expected);
    }
}

#[test]
fn characters_are_split_and_arguments_are_huge() {
    for &wire in WIRES {
        let split = once(wire, Misbehaviour::SplitUtf8, true).unwrap();
        assert_eq!((split.chunks, split.text().contains("data: ")), (split.body.len(), true));
        let huge = once(wire, Misbehaviour::HugeArguments(300_000), true).unwrap();
        let whole = assembled(wire, &huge);
        let function = &whole["choices"][0]["message"]["tool_calls"][0]["function"];
        let length = match wire {
            Wire::OpenAiChat => function["arguments"].as_str().unwrap().len(),
            Wire::OpenAiResponses => whole["output"][0]["arguments"].as_str().unwrap().len(),
            Wire::AnthropicMessages => whole["content"][0]["input"].to_string().len(),
        };
        assert_eq!(length, 300_000);
    }
}

#[test]
fn a_connection_is_reset() {
    for &wire in WIRES {
        let error = once(wire, Misbehaviour::Reset, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn misbehaviours_of_a_turn_come_in_their_order_and_can_be_added_later() {
    let wire = Wire::OpenAiChat;
    let script = Script::turns([reply(), reply()])
        .misbehave_times(1, 2, Misbehaviour::internal())
        .misbehave_at(1, Misbehaviour::overloaded())
        .misbehave_when(1, Misbehaviour::quota(), |seen| seen.says("never said"));
    let server = ModelServer::start(script).unwrap();
    let mut body = opening(wire);
    turn(&server, wire, &mut body);
    let statuses = |times: usize| -> Vec<u16> {
        (0..times).map(|_| ask(&server, wire, &body).unwrap().status).collect()
    };
    assert_eq!(statuses(4), [500, 500, 529, 200]);
    server.misbehave_at(1, Misbehaviour::context_overflow());
    assert_eq!(statuses(2), [400, 200]);
    let conversation = server.requests()[0].conversation.clone();
    assert_eq!(server.answered(&conversation, 1), 2);
}

#[test]
fn keys_and_models_are_asked_for() {
    for &wire in WIRES {
        let server = ModelServer::start(Script::turns([]).key("sk-2").models(["m"])).unwrap();
        let answered = ask(&server, wire, &opening(wire)).unwrap();
        assert_eq!(answered.status, 401);
        // OpenAI repeats the key, which its reader has to keep out of every log.
        assert_eq!(answered.text().contains("sk-1"), wire != Wire::AnthropicMessages);
        let server = ModelServer::start(Script::turns([]).key("sk-1").models(["n"])).unwrap();
        assert_eq!(ask(&server, wire, &opening(wire)).unwrap().status, 404);
        let server = ModelServer::start(Script::turns([]).key("sk-1").models(["m"])).unwrap();
        assert_eq!(ask(&server, wire, &opening(wire)).unwrap().status, 200);
    }
}
