//! What the server finds wrong with what it is sent, and refuses.

use std::io::{BufReader, Write};

use journeyman_domain::model::Wire;
use serde_json::{Value, json};

use super::client::{WIRES, ask, connect, history, opening, path, read, request, turn};
use crate::model::{Misbehaviour, ModelServer, Reply, Script};

const CHAT: Wire = Wire::OpenAiChat;
const RESPONSES: Wire = Wire::OpenAiResponses;
const ANTHROPIC: Wire = Wire::AnthropicMessages;

fn two_calls() -> Reply {
    Reply::text("so")
        .reasoning("hm")
        .then_call("read", &json!({ "path": "a" }))
        .then_call("read", &json!({ "path": "b" }))
}

/// Has one turn with two calls, changes the next request, and gives the words of the only
/// violation, without the conversation.
fn violation(wire: Wire, change: impl FnOnce(&mut Value)) -> String {
    let server = ModelServer::start(Script::turns([two_calls()])).unwrap();
    let mut body = opening(wire);
    turn(&server, wire, &mut body);
    change(&mut body);
    refused(&server, wire, &body)
}

fn refused(server: &ModelServer, wire: Wire, body: &Value) -> String {
    let answered = ask(server, wire, body).unwrap();
    let violations = server.violations();
    assert_eq!((answered.status, violations.len()), (400, 1), "{violations:?}");
    let message = answered.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(answered.json()["error"]["type"], "invalid_request_error");
    assert!(violations[0].ends_with(&format!(": {message}")), "{violations:?}");
    message
}

fn check(wire: Wire, expect: &str, change: impl FnOnce(&mut Value)) {
    let message = violation(wire, change);
    assert!(message.contains(expect), "{wire}: {message}");
}

#[test]
fn every_call_is_answered_once_and_first() {
    check(CHAT, "did not have response messages: call_", |body| {
        history(CHAT, body).pop();
    });
    check(CHAT, "did not have response messages: call_", |body| {
        history(CHAT, body).insert(3, json!({ "role": "user", "content": "and" }));
        let answers = history(CHAT, body).split_off(4);
        drop(answers);
    });
    check(CHAT, "must be a response to a preceding message", |body| {
        let last = history(CHAT, body).last().unwrap().clone();
        history(CHAT, body).push(last);
    });
    check(RESPONSES, "No tool output found for function call call_", |body| {
        history(RESPONSES, body).pop();
    });
    check(RESPONSES, "No tool call found for function call output with call_id x", |body| {
        let answer = json!({ "type": "function_call_output", "call_id": "x", "output": "" });
        history(RESPONSES, body).push(answer);
    });
    let last = |body: &mut Value| history(ANTHROPIC, body).last_mut().unwrap()["content"].take();
    check(ANTHROPIC, "ids were found without `tool_result` blocks", |body| {
        let blocks = last(body);
        history(ANTHROPIC, body).last_mut().unwrap()["content"] = json!([blocks[0]]);
    });
    check(ANTHROPIC, "unexpected `tool_use_id` found in `tool_result` blocks: toolu_", |body| {
        let blocks = last(body);
        let twice = json!([blocks[0], blocks[1], blocks[1]]);
        history(ANTHROPIC, body).last_mut().unwrap()["content"] = twice;
    });
    check(ANTHROPIC, "`tool_result` blocks must come first", |body| {
        let blocks = last(body);
        let mixed = json!([blocks[0], blocks[2], blocks[1]]);
        history(ANTHROPIC, body).last_mut().unwrap()["content"] = mixed;
    });
    check(ANTHROPIC, "ids were found without `tool_result` blocks", |body| {
        history(ANTHROPIC, body).pop();
    });
}

#[test]
fn an_answer_needs_a_call() {
    let server = ModelServer::start(Script::turns([])).unwrap();
    let mut body = opening(ANTHROPIC);
    let answer = json!([{ "type": "tool_result", "tool_use_id": "x", "content": "" }]);
    history(ANTHROPIC, &mut body)[0]["content"] = answer;
    assert!(refused(&server, ANTHROPIC, &body).contains("unexpected `tool_use_id`"));
    let server = ModelServer::start(Script::turns([])).unwrap();
    let mut body = opening(CHAT);
    let answer = json!({ "role": "tool", "tool_call_id": "x", "content": "" });
    history(CHAT, &mut body).push(answer);
    assert!(refused(&server, CHAT, &body).contains("`x` is not open"));
}

#[test]
fn the_history_only_grows() {
    for &wire in WIRES {
        check(wire, "the history was rewritten: item 0 was", |body| {
            let first = usize::from(wire == CHAT);
            // A conversation without a key is known by its first message: something comes before.
            let other = match wire {
                CHAT | RESPONSES => json!({ "role": "user", "content": "Go on." }),
                ANTHROPIC => json!({ "role": "user", "content": [
                    { "type": "text", "text": "Go on." }, { "type": "text", "text": "Now." },
                ] }),
            };
            if wire == ANTHROPIC {
                let mut changed = other;
                changed["content"][0]["citations"] = Value::Null;
                history(wire, body)[first] = changed;
            } else {
                let mut changed = other;
                changed["name"] = json!("somebody");
                history(wire, body)[first] = changed;
            }
        });
    }
}

#[test]
fn assistant_turns_are_sent_back_unchanged() {
    let changed = "an assistant turn was never given like this";
    check(CHAT, changed, |body| history(CHAT, body)[2]["content"] = json!("sO"));
    check(CHAT, changed, |body| {
        history(CHAT, body)[2]["tool_calls"][0]["function"]["arguments"] = json!("{}");
    });
    check(RESPONSES, changed, |body| {
        history(RESPONSES, body)[1].as_object_mut().unwrap().remove("encrypted_content");
    });
    check(RESPONSES, changed, |body| drop(history(RESPONSES, body).remove(1)));
    check(RESPONSES, changed, |body| history(RESPONSES, body)[2]["content"] = json!("sO"));
    check(ANTHROPIC, changed, |body| {
        history(ANTHROPIC, body)[1]["content"][0]["signature"] = json!("sig");
    });
    check(ANTHROPIC, changed, |body| {
        history(ANTHROPIC, body)[1]["content"].as_array_mut().unwrap().remove(0);
    });
    check(ANTHROPIC, changed, |body| {
        history(ANTHROPIC, body)[1]["content"][2]["input"] = json!({});
    });
}

#[test]
fn what_may_differ_in_a_turn_that_is_sent_back() {
    let server = ModelServer::start(Script::turns([two_calls()])).unwrap();
    let mut body = opening(RESPONSES);
    turn(&server, RESPONSES, &mut body);
    for item in &mut history(RESPONSES, &mut body)[1..5] {
        item.as_object_mut().unwrap().remove("id");
        item.as_object_mut().unwrap().remove("status");
    }
    turn(&server, RESPONSES, &mut body);
    let server = ModelServer::start(Script::turns([two_calls()])).unwrap();
    let mut body = opening(ANTHROPIC);
    turn(&server, ANTHROPIC, &mut body);
    history(ANTHROPIC, &mut body)[1]["content"][1]["cache_control"] =
        json!({ "type": "ephemeral" });
    turn(&server, ANTHROPIC, &mut body);
    let odd = Reply::raw_call("read", "{\"pa").then_raw_call("re ad", "{}");
    let server = ModelServer::start(Script::turns([odd])).unwrap();
    let mut body = opening(CHAT);
    turn(&server, CHAT, &mut body);
    let calls = &mut history(CHAT, &mut body)[2]["tool_calls"];
    calls[0]["function"]["arguments"] = json!("{}");
    calls[1]["function"]["name"] = json!("re_ad");
    turn(&server, CHAT, &mut body);
    let server = ModelServer::start(Script::turns([]).allow_foreign_turns()).unwrap();
    let mut body = opening(CHAT);
    history(CHAT, &mut body).push(json!({ "role": "assistant", "content": "I was elsewhere." }));
    turn(&server, CHAT, &mut body);
    assert_eq!(server.requests()[0].turn, 1);
}

#[test]
fn settings_stay() {
    check(CHAT, "the system prompt changed", |body| history(CHAT, body)[0]["content"] = json!("x"));
    check(RESPONSES, "the system prompt changed", |body| body["instructions"] = json!("x"));
    check(ANTHROPIC, "the system prompt changed", |body| body["system"] = json!("x"));
    for &wire in WIRES {
        check(wire, "the tools changed", |body| {
            let tools = body["tools"].as_array_mut().unwrap();
            let more = tools[0].clone();
            tools.push(more);
        });
        check(wire, "has a list as `type`", |body| {
            let tool = body["tools"][0].as_object_mut().unwrap();
            tool.insert("schema".into(), json!({ "type": ["string", "null"] }));
            // In another conversation, so that the tools did not change.
            body["prompt_cache_key"] = json!("another");
        });
        let server = ModelServer::start(Script::turns([two_calls()])).unwrap();
        let mut body = opening(wire);
        turn(&server, wire, &mut body);
        body["tools"] = json!([]);
        turn(&server, wire, &mut body);
    }
}

#[test]
fn what_only_anthropic_wants() {
    check(ANTHROPIC, "max_tokens: Field required", |body| {
        body.as_object_mut().unwrap().remove("max_tokens");
    });
    check(
        ANTHROPIC,
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        |body| {
            let mark = json!({ "type": "ephemeral" });
            body["tools"][0]["cache_control"] = mark.clone();
            for block in history(ANTHROPIC, body)[2]["content"].as_array_mut().unwrap() {
                block["cache_control"] = mark.clone();
            }
        },
    );
    check(ANTHROPIC, "found multiple \"user\" roles in a row at 3", |body| {
        history(ANTHROPIC, body).push(json!({ "role": "user", "content": "and" }));
    });
    check(ANTHROPIC, "text content blocks must be non-empty", |body| {
        history(ANTHROPIC, body)[2]["content"][2]["text"] = json!("");
    });
    let server = ModelServer::start(Script::turns([]).allow_foreign_turns()).unwrap();
    let mut body = opening(ANTHROPIC);
    history(ANTHROPIC, &mut body)[0]["role"] = json!("assistant");
    let message = refused(&server, ANTHROPIC, &body);
    assert_eq!(message, "messages: first message must use the \"user\" role");
    let server = ModelServer::start(Script::turns([])).unwrap();
    let mut stream = connect(&server);
    let text = request("POST", path(ANTHROPIC), "", &opening(ANTHROPIC).to_string());
    stream.write_all(text.as_bytes()).unwrap();
    let answered = read(&mut BufReader::new(stream)).unwrap();
    let message = &answered.json()["error"]["message"];
    assert_eq!((answered.status, message), (400, &json!("anthropic-version: header is required")));
}

#[test]
fn a_compaction_is_allowed_where_the_script_says_so_and_turns_go_on_counting() {
    for &wire in WIRES {
        let replies = ["a", "b", "c", "d"].map(Reply::text);
        let script = Script::turns(replies).allow_compaction();
        let script = script.misbehave_at(2, Misbehaviour::context_overflow());
        let server = ModelServer::start(script).unwrap();
        let mut body = opening(wire);
        turn(&server, wire, &mut body);
        turn(&server, wire, &mut body);
        let long = body.clone();
        assert_eq!(ask(&server, wire, &body).unwrap().status, 400);
        let mut body = opening(wire);
        let user = match wire {
            CHAT | RESPONSES => json!({ "role": "user", "content": "You said a and b." }),
            ANTHROPIC => json!({ "role": "user", "content": [
                { "type": "text", "text": "Go on." }, { "type": "text", "text": "You said a." },
            ] }),
        };
        if wire == ANTHROPIC {
            *history(wire, &mut body) = vec![user];
        } else {
            history(wire, &mut body).push(user);
        }
        let compacted = turn(&server, wire, &mut body);
        assert!(compacted.to_string().contains("\"c\""), "{compacted}");
        let next = turn(&server, wire, &mut body);
        assert!(next.to_string().contains("\"d\""), "{next}");
        // The history of before is known still, with its own count.
        assert_eq!(ask(&server, wire, &long).unwrap().status, 200);
        let turns: Vec<_> = server.requests().iter().map(|seen| seen.turn).collect();
        assert_eq!(turns, [0, 1, 2, 2, 3, 2]);
        assert_eq!(server.violations(), Vec::<String>::new());
    }
}

#[test]
fn a_conversation_may_begin_again_with_the_same_words() {
    let server = ModelServer::start(Script::turns([two_calls(), Reply::text("b")])).unwrap();
    let conversations: Vec<_> = (0..2)
        .map(|_| {
            let mut body = opening(CHAT);
            turn(&server, CHAT, &mut body);
            turn(&server, CHAT, &mut body);
            server.requests().last().unwrap().conversation.clone()
        })
        .collect();
    assert_eq!(conversations[1], format!("{}#2", conversations[0]));
    let paid = server.all_answered().into_values().collect::<Vec<_>>();
    assert_eq!((paid, server.violations()), (vec![1; 4], vec![]));
}

#[test]
fn other_addresses_and_broken_bodies_are_refused() {
    let server = ModelServer::start(Script::turns([])).unwrap();
    let status = |path: &str, body: &str| {
        let mut stream = connect(&server);
        stream.write_all(request("POST", path, "", body).as_bytes()).unwrap();
        read(&mut BufReader::new(stream)).unwrap().status
    };
    assert_eq!(status("/v1/v1/messages", "{}"), 404);
    assert_eq!(status("/v1/responses", "{"), 400);
    let expected =
        ["Invalid URL (POST /v1/v1/messages)", "We could not parse the JSON body of your request."];
    assert_eq!(server.violations(), expected);
}
