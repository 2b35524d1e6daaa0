//! Each wire is written rightly.

use std::io::{BufReader, Write};

use journeyman_domain::model::{TokenUsage, Wire};
use serde_json::{Value, json};

use super::client::{
    HEADERS, WIRES, ask, assembled, connect, go_on, history, opening, path, read, request, turn,
};
use crate::model::{Ending, ModelServer, Reply, Script, conversation_of};

fn rich() -> Reply {
    Reply::text("Grüße, ich lese.")
        .reasoning("hm, öfter")
        .then_call("read", &json!({ "path": "ä.txt" }))
        .then_call("read", &json!({ "path": "b.txt" }))
}

const USAGE: TokenUsage =
    TokenUsage { uncached_input: 10, cache_read: 20, cache_write: 5, output: 30, reasoning: 7 };

#[test]
fn a_stream_adds_up_to_the_answer_without_a_stream_however_it_is_split() {
    for &wire in WIRES {
        let plain = Script::turns([rich().usage(USAGE)]);
        let plain = ModelServer::start(plain).unwrap();
        let mut body = opening(wire);
        body["stream"] = json!(false);
        let answered = ask(&plain, wire, &body).unwrap();
        assert_eq!(answered.header("content-type"), Some("application/json"));
        let mut whole = answered.json();
        for (delta, split) in [(512, None), (1, Some(1)), (3, Some(7))] {
            let reply = rich().usage(USAGE).delta_bytes(delta);
            let reply = match split {
                Some(bytes) => reply.split_every(bytes),
                None => reply,
            };
            let server = ModelServer::start(Script::turns([reply])).unwrap();
            let answered = ask(&server, wire, &opening(wire)).unwrap();
            let streamed = assembled(wire, &answered);
            let chunks = match split {
                Some(bytes) => answered.body.len().div_ceil(bytes),
                None => answered.events().len(),
            };
            assert_eq!((answered.chunks, &answered.broken), (chunks, &None));
            if wire == Wire::OpenAiChat {
                let message = |value: &Value| value["choices"][0]["message"].clone();
                assert_eq!(message(&streamed), message(&whole));
                assert_eq!(streamed["usage"], whole["usage"]);
            } else {
                whole["store"] = streamed["store"].clone();
                let mut whole = whole.clone();
                if wire == Wire::AnthropicMessages {
                    whole.as_object_mut().unwrap().remove("store");
                }
                assert_eq!(streamed, whole, "{wire}");
            }
        }
    }
}

#[test]
fn the_events_of_chat() {
    let server = ModelServer::start(Script::turns([Reply::text("Hi")
        .then_call("read", &json!({ "a": 1 }))
        .usage(USAGE)]))
    .unwrap();
    let answered = ask(&server, Wire::OpenAiChat, &opening(Wire::OpenAiChat)).unwrap();
    let data = answered.data();
    let deltas: Vec<_> = data.iter().filter_map(|chunk| chunk["choices"].get(0)).collect();
    let id = &deltas[2]["delta"]["tool_calls"][0]["id"];
    let deltas: Vec<_> = deltas.iter().map(|choice| choice["delta"].clone()).collect();
    let expected = json!([
        { "role": "assistant", "content": "", "refusal": null },
        { "content": "Hi" },
        { "tool_calls": [{
            "index": 0, "id": id, "type": "function",
            "function": { "name": "read", "arguments": "" },
        }] },
        { "tool_calls": [{ "index": 0, "function": { "arguments": "{\"a\":1}" } }] },
        {},
    ]);
    assert_eq!(json!(deltas), expected);
    assert_eq!(data[4]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(data[5]["choices"], json!([]));
    let usage = json!({
        "prompt_tokens": 35, "completion_tokens": 30, "total_tokens": 65,
        "prompt_tokens_details": {
            "cached_tokens": 20, "cache_write_tokens": 5, "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": 7, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    });
    assert_eq!(data[5]["usage"], usage);
    assert_eq!(answered.events().last().unwrap().1, "[DONE]");
    let mut without = opening(Wire::OpenAiChat);
    without.as_object_mut().unwrap().remove("stream_options");
    let answered = ask(&server, Wire::OpenAiChat, &without).unwrap();
    assert!(!answered.text().contains("usage"));
}

#[test]
fn the_events_of_responses() {
    let reply = rich().usage(USAGE);
    let server = ModelServer::start(Script::turns([reply])).unwrap();
    let answered = ask(&server, Wire::OpenAiResponses, &opening(Wire::OpenAiResponses)).unwrap();
    let call = [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ];
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ];
    let expected = [&expected[..], &call, &call, &["response.completed"]].concat();
    assert_eq!(answered.names(), expected);
    for (number, (event, data)) in answered.events().iter().zip(answered.data()).enumerate() {
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(event.0), &json!(number)));
    }
    let usage = json!({
        "input_tokens": 35,
        "input_tokens_details": { "cached_tokens": 20, "cache_write_tokens": 5 },
        "output_tokens": 30,
        "output_tokens_details": { "reasoning_tokens": 7 },
        "total_tokens": 65,
    });
    let whole = assembled(Wire::OpenAiResponses, &answered);
    assert_eq!((&whole["usage"], &whole["status"]), (&usage, &json!("completed")));
    assert!(whole["output"][0]["encrypted_content"].is_string());
}

#[test]
fn the_events_of_anthropic() {
    let server = ModelServer::start(Script::turns([rich().usage(USAGE)])).unwrap();
    let wire = Wire::AnthropicMessages;
    let answered = ask(&server, wire, &opening(wire)).unwrap();
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    let expected = [
        &["message_start", "content_block_start", "ping", "content_block_delta"][..],
        &["content_block_stop"],
        &block,
        &block,
        &block,
        &["message_delta", "message_stop"],
    ];
    assert_eq!(answered.names(), expected.concat());
    let data = answered.data();
    let usage = |output: u64, thinking: u64| {
        json!({
            "input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 20,
            "cache_creation": { "ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 0 },
            "output_tokens": output, "output_tokens_details": { "thinking_tokens": thinking },
            "service_tier": "standard",
        })
    };
    assert_eq!(data[0]["message"]["usage"], usage(1, 1));
    assert_eq!(data[data.len() - 2]["usage"], usage(30, 7));
    let whole = assembled(wire, &answered);
    assert_eq!(whole["stop_reason"], "tool_use");
    let signature = whole["content"][0]["signature"].as_str().unwrap();
    assert!(signature.starts_with("sig-"), "{signature}");
}

#[test]
fn a_conversation_goes_on_on_one_connection_and_is_judged_to_be_right() {
    for &wire in WIRES {
        let script = Script::turns([rich(), Reply::raw_call("read", "{\"path\": \"x"), rich()]);
        let server = ModelServer::start(script).unwrap();
        let mut stream = connect(&server);
        let mut from = BufReader::new(stream.try_clone().unwrap());
        let mut body = opening(wire);
        for _ in 0..4 {
            let text = request("POST", path(wire), HEADERS, &body.to_string());
            stream.write_all(text.as_bytes()).unwrap();
            let answered = read(&mut from).unwrap();
            assert_eq!(answered.status, 200, "{}", answered.text());
            go_on(wire, &mut body, &assembled(wire, &answered));
        }
        assert_eq!(server.violations(), Vec::<String>::new());
        let seen = server.requests();
        assert_eq!(seen.iter().map(|seen| seen.turn).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let conversation = &seen[0].conversation;
        let paid: Vec<_> = (0..5).map(|turn| server.answered(conversation, turn)).collect();
        assert_eq!(paid, [1, 1, 1, 1, 0]);
        let key = match wire {
            Wire::OpenAiResponses => "run-1".to_owned(),
            Wire::OpenAiChat | Wire::AnthropicMessages => conversation_of("Go on."),
        };
        assert_eq!(*conversation, key);
        assert_eq!((seen[3].key(), seen[3].model()), (Some("sk-1"), "m"));
        assert_eq!((seen[3].tool_names(), seen[3].says("ä.txt")), (vec!["read"], true));
        assert_eq!(seen[0].last, ["Go on."]);
    }
}

#[test]
fn usage_is_a_quarter_of_the_bytes_and_the_shared_prefix_is_cached() {
    let server = ModelServer::start(Script::turns([]).repeat_last()).unwrap();
    let wire = Wire::OpenAiChat;
    let mut body = opening(wire);
    let first = turn(&server, wire, &mut body)["usage"].clone();
    let second = turn(&server, wire, &mut body)["usage"].clone();
    assert_eq!(first["prompt_tokens_details"]["cached_tokens"], 0);
    assert_eq!(first["completion_tokens"], "Done.".len().div_ceil(4));
    let cached = second["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    let before = first["prompt_tokens"].as_u64().unwrap();
    assert!((before - 1..=before).contains(&cached), "{cached} of {before}");
    let server = ModelServer::start(Script::turns([])).unwrap();
    let wire = Wire::AnthropicMessages;
    let mut body = opening(wire);
    let first = turn(&server, wire, &mut body)["usage"].clone();
    let second = turn(&server, wire, &mut body)["usage"].clone();
    assert_eq!((&first["input_tokens"], &first["cache_read_input_tokens"]), (&json!(0), &json!(0)));
    let written = first["cache_creation_input_tokens"].as_u64().unwrap();
    let cached = second["cache_read_input_tokens"].as_u64().unwrap();
    assert!((written - 1..=written).contains(&cached), "{cached} of {written}");
}

#[test]
fn a_reply_may_keep_its_usage_to_itself() {
    for &wire in WIRES {
        let server = ModelServer::start(Script::turns([Reply::text("x").without_usage()])).unwrap();
        let answered = ask(&server, wire, &opening(wire)).unwrap();
        assert!(answered.data().iter().all(|event| !event["usage"].is_object()));
        assert_eq!(assembled(wire, &answered)["usage"], Value::Null, "{wire}");
    }
}

#[test]
fn endings_in_the_words_of_each_wire() {
    let said = |wire, ending| {
        let reply = Reply::text("No.").ending(ending);
        let server = ModelServer::start(Script::turns([reply])).unwrap();
        let whole = assembled(wire, &ask(&server, wire, &opening(wire)).unwrap());
        match wire {
            Wire::OpenAiChat => {
                let choice = &whole["choices"][0];
                json!([choice["finish_reason"], choice["message"]["refusal"]])
            }
            Wire::OpenAiResponses => json!([
                whole["status"],
                whole["incomplete_details"]["reason"],
                whole["error"]["code"],
                whole["output"][0]["content"][0]["type"],
            ]),
            Wire::AnthropicMessages => whole["stop_reason"].clone(),
        }
    };
    let endings = [
        Ending::Length,
        Ending::Refusal,
        Ending::ContentFilter,
        Ending::ContextWindow,
        Ending::PauseTurn,
    ];
    let all = |wire| Value::from(endings.map(|ending| said(wire, ending)).to_vec());
    let chat = json!([
        ["length", null],
        ["stop", "No."],
        ["content_filter", null],
        ["length", null],
        ["stop", null],
    ]);
    assert_eq!(all(Wire::OpenAiChat), chat);
    let responses = json!([
        ["incomplete", "max_output_tokens", null, "output_text"],
        ["completed", null, null, "refusal"],
        ["incomplete", "content_filter", null, "output_text"],
        ["failed", null, "context_length_exceeded", "output_text"],
        ["completed", null, null, "output_text"],
    ]);
    assert_eq!(all(Wire::OpenAiResponses), responses);
    let anthropic =
        json!(["max_tokens", "refusal", "refusal", "model_context_window_exceeded", "pause_turn"]);
    assert_eq!(all(Wire::AnthropicMessages), anthropic);
}

#[test]
fn a_paused_turn_and_its_continuation_count_as_two_though_sent_back_as_one() {
    let wire = Wire::AnthropicMessages;
    let paused = Reply::text("half").ending(Ending::PauseTurn);
    let server = ModelServer::start(Script::turns([paused, rich(), Reply::text("end")])).unwrap();
    let mut body = opening(wire);
    let half = turn(&server, wire, &mut body);
    history(wire, &mut body).pop();
    let rest = turn(&server, wire, &mut body);
    let mut body = opening(wire);
    let mut joined = rest.clone();
    joined["content"] = json!(
        [half["content"].as_array().unwrap().clone(), rest["content"].as_array().unwrap().clone()]
            .concat()
    );
    go_on(wire, &mut body, &joined);
    let end = turn(&server, wire, &mut body);
    assert_eq!(end["content"][0]["text"], "end");
    assert_eq!(server.violations(), Vec::<String>::new());
}

#[test]
fn under_a_schema_calls_are_text() {
    for wire in [Wire::OpenAiChat, Wire::OpenAiResponses] {
        let replies = [rich(), Reply::text("Fertig.")];
        let server = ModelServer::start(Script::turns(replies)).unwrap();
        let mut body = opening(wire);
        body.as_object_mut().unwrap().remove("tools");
        let format = json!({ "type": "json_schema", "json_schema": { "schema": {} } });
        match wire {
            Wire::OpenAiResponses => body["text"] = json!({ "format": format }),
            Wire::OpenAiChat | Wire::AnthropicMessages => body["response_format"] = format,
        }
        let text = |whole: &Value| {
            let chat = whole["choices"][0]["message"]["content"].as_str();
            let output = whole["output"].as_array().and_then(|items| items.last());
            let responses = output.and_then(|item| item["content"][0]["text"].as_str());
            chat.or(responses).unwrap().to_owned()
        };
        let call = turn(&server, wire, &mut body);
        assert_eq!(text(&call), r#"{"tool":"read","tool_arguments":{"path":"ä.txt"}}"#);
        let end = turn(&server, wire, &mut body);
        assert_eq!(text(&end), r#"{"answer":"Fertig."}"#);
        // Without tools, neither the schema nor their description is sent.
        match wire {
            Wire::OpenAiResponses => {
                body["text"] = Value::Null;
                body["instructions"] = json!("W");
            }
            Wire::OpenAiChat | Wire::AnthropicMessages => {
                body["response_format"] = Value::Null;
                history(wire, &mut body)[0]["content"] = json!("W");
            }
        }
        assert_eq!(text(&turn(&server, wire, &mut body)), "Done.");
        assert_eq!(server.violations(), Vec::<String>::new());
    }
}

#[test]
fn models_are_listed() {
    let server = ModelServer::start(Script::turns([]).models(["a", "b"])).unwrap();
    let mut stream = connect(&server);
    stream.write_all(request("GET", "/v1/models", "", "").as_bytes()).unwrap();
    let answered = read(&mut BufReader::new(stream)).unwrap().json();
    let ids: Vec<_> =
        answered["data"].as_array().unwrap().iter().map(|m| m["id"].clone()).collect();
    assert_eq!((json!(ids), &answered["object"]), (json!(["a", "b"]), &json!("list")));
}
