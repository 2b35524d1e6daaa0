use journeyman_domain::model::{FailureKind, Wire};
use serde_json::json;

use super::*;
use crate::answer::tests::{asked, call, read};
use crate::wire::tests::{assistant, parameters, request, results, settings, user};

fn turn_of(stream: &str) -> Result<ModelTurn, ModelFailure> {
    read(Wire::AnthropicMessages, &asked(), stream)
}

fn stream(events: &[Value]) -> String {
    let line =
        |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    events.iter().map(line).collect()
}

fn begin() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude-x", "content": [],
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 200,
            "cache_creation_input_tokens": 30, "output_tokens": 1}}})
}

fn start(index: u64, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn end(reason: &str) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason},
            "usage": {"input_tokens": 0, "output_tokens": 40,
                "output_tokens_details": {"thinking_tokens": 7}}}),
        json!({"type": "message_stop"}),
    ]
}

#[test]
fn results_come_first_and_the_breakpoints_move() {
    let blocks = json!([
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "tool_use", "id": "a", "name": "read", "input": {"path": "a"}},
        {"type": "tool_use", "id": "b", "name": "read", "input": {"path": "b"}},
    ]);
    let items = vec![
        user("go"),
        user("now"),
        assistant("", &["a", "b"], blocks.clone()),
        results(&[("a", "text", false), ("b", "no such file", true)]),
        user("and?"),
        assistant("", &[], json!([])),
        user("hello?"),
        assistant("", &[], json!([{"type": "text", "text": "yes"}])),
        user("bye"),
    ];
    let settings =
        ModelSettings { temperature: Some(1.0), ..settings(Wire::AnthropicMessages, "claude-x") };
    let found = body(&settings, &request(items));
    let mark = json!({"type": "ephemeral"});
    let expected = json!({
        "model": "claude-x",
        "max_tokens": 77,
        "stream": true,
        "temperature": 1.0,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": mark}],
        "tools": [{"name": "read", "description": "Reads a file.", "input_schema": parameters()}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "go"}, {"type": "text", "text": "now"}]},
            {"role": "assistant", "content": blocks},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "text", "is_error": false},
                {"type": "tool_result", "tool_use_id": "b", "content": "no such file",
                    "is_error": true},
                {"type": "text", "text": "and?"},
                {"type": "text", "text": "hello?", "cache_control": mark}]},
            {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
            {"role": "user", "content": [{"type": "text", "text": "bye", "cache_control": mark}]},
        ],
    });
    assert_eq!(found, expected);
}

#[test]
fn blocks_grow_and_go_back_unchanged() {
    let mut events = vec![
        begin(),
        json!({"type": "ping"}),
        start(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "Let me "})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "see."})),
        delta(0, &json!({"type": "signature_delta", "signature": "c2ln"})),
        json!({"type": "content_block_stop", "index": 0}),
        start(1, &json!({"type": "redacted_thinking", "data": "opaque"})),
        start(2, &json!({"type": "text", "text": ""})),
        delta(2, &json!({"type": "text_delta", "text": "Grüße "})),
        delta(2, &json!({"type": "text_delta", "text": "😀"})),
        start(3, &json!({"type": "text", "text": "\n"})),
        start(4, &json!({"type": "tool_use", "id": "t1", "name": "read", "input": {}})),
        delta(4, &json!({"type": "input_json_delta", "partial_json": ""})),
        delta(4, &json!({"type": "input_json_delta", "partial_json": "{\"path\": "})),
        delta(4, &json!({"type": "input_json_delta", "partial_json": "\"ä\"}"})),
        start(5, &json!({"type": "tool_use", "id": "t2", "name": "list", "input": {}})),
        json!({"type": "content_block_stop", "index": 5}),
        json!({"type": "some_day", "x": 1}),
    ];
    events.extend(end("tool_use"));
    let expected = ModelTurn {
        id: "msg_1".into(),
        model: "claude-x".into(),
        text: "Grüße 😀".into(),
        calls: vec![call("t1", "read", "{\"path\": \"ä\"}"), call("t2", "list", "{}")],
        stop: Stop::ToolCalls,
        usage: TokenUsage {
            uncached_input: 10,
            cache_read: 200,
            cache_write: 30,
            output: 40,
            reasoning: 7,
        },
        usage_known: true,
        items: vec![
            json!({"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"}),
            json!({"type": "redacted_thinking", "data": "opaque"}),
            json!({"type": "text", "text": "Grüße 😀"}),
            json!({"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "ä"}}),
            json!({"type": "tool_use", "id": "t2", "name": "list", "input": {}}),
        ],
    };
    assert_eq!(turn_of(&stream(&events)), Ok(expected));
}

#[test]
fn a_call_that_was_cut_off_keeps_its_words_and_goes_back_empty() {
    let mut events = vec![
        begin(),
        start(0, &json!({"type": "tool_use", "id": "", "name": "write", "input": {}})),
        delta(0, &json!({"type": "input_json_delta", "partial_json": "{\"path\": \"a"})),
    ];
    events.extend(end("max_tokens"));
    let found = turn_of(&stream(&events)).unwrap();
    assert_eq!(found.calls, [call("call_3_0", "write", "{\"path\": \"a")]);
    assert_eq!(found.stop, Stop::Length);
    let block = json!({"type": "tool_use", "id": "call_3_0", "name": "write", "input": {}});
    assert_eq!(found.items, [block]);
}

#[test]
fn stops_are_told_apart() {
    let tool = start(0, &json!({"type": "tool_use", "id": "a", "name": "read", "input": {}}));
    let text = start(0, &json!({"type": "text", "text": "x"}));
    for (block, reason, expected) in [
        (&text, "end_turn", Stop::End),
        (&text, "stop_sequence", Stop::End),
        (&tool, "tool_use", Stop::ToolCalls),
        (&tool, "end_turn", Stop::ToolCalls),
        (&text, "tool_use", Stop::End),
        (&text, "max_tokens", Stop::Length),
        (&text, "refusal", Stop::Refusal),
        (&text, "pause_turn", Stop::Paused),
        (&text, "model_context_window_exceeded", Stop::ContextWindow),
        (&text, "some_day", Stop::End),
    ] {
        let mut events = vec![begin(), block.clone()];
        events.extend(end(reason));
        assert_eq!(turn_of(&stream(&events)).unwrap().stop, expected, "{reason}");
    }
}

#[test]
fn an_error_after_a_good_start_keeps_the_usage() {
    let error = json!({"type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let failure = turn_of(&stream(&[begin(), error.clone()])).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Overloaded);
    assert_eq!(failure.message, "acme broke off its answer with an error: Overloaded");
    let mut reader = AnthropicMessages::new(asked());
    for event in [begin(), error] {
        let event = Event { name: String::new(), data: event.to_string() };
        let _ = reader.event(&event, &mut |_| {});
    }
    let used = TokenUsage {
        uncached_input: 10,
        cache_read: 200,
        cache_write: 30,
        output: 1,
        reasoning: 0,
    };
    assert_eq!(reader.usage(), Some(used));
}

#[test]
fn a_stream_without_its_end_is_no_answer() {
    let [delta_of_message, _] = end("end_turn");
    let cut = stream(&[begin(), start(0, &json!({"type": "text", "text": "x"})), delta_of_message]);
    assert_eq!(turn_of(&cut).unwrap_err().kind, FailureKind::Network);
    let stray = stream(&[begin(), delta(4, &json!({"type": "text_delta", "text": "x"}))]);
    assert_eq!(turn_of(&stray).unwrap_err().kind, FailureKind::Protocol);
}

#[test]
fn a_whole_answer_is_read_as_well() {
    let blocks = json!([
        {"type": "text", "text": "hi"},
        {"type": "tool_use", "id": "a", "name": "read", "input": {"path": "a"}},
    ]);
    let answer = json!({"id": "msg_1", "type": "message", "model": "claude-x", "content": blocks,
        "stop_reason": "tool_use", "usage": {"input_tokens": 3, "output_tokens": 2}});
    let mut reader = AnthropicMessages::new(asked());
    reader.whole(&answer, &mut |_| {}).unwrap();
    let found = reader.turn().unwrap();
    assert_eq!(found.calls, [call("a", "read", r#"{"path":"a"}"#)]);
    assert_eq!(json!(found.items), blocks);
    assert_eq!((found.text.as_str(), found.stop, found.usage.total()), ("hi", Stop::ToolCalls, 5));
    let odd = AnthropicMessages::new(asked()).whole(&json!({"odd": 1}), &mut |_| {}).unwrap_err();
    assert_eq!(odd.kind, FailureKind::Protocol);
}
