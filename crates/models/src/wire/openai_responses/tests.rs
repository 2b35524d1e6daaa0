use journeyman_domain::model::{FailureKind, Wire};
use serde_json::json;

use super::*;
use crate::answer::tests::{asked, call, read};
use crate::wire::tests::{assistant, parameters, request, results, settings, user as said};

fn turn_of(stream: &str) -> Result<ModelTurn, ModelFailure> {
    read(Wire::OpenAiResponses, &asked(), stream)
}

fn stream(events: &[Value]) -> String {
    let line =
        |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    events.iter().map(line).collect()
}

fn done(index: u64, item: &Value) -> Value {
    json!({"type": "response.output_item.done", "output_index": index, "item": item})
}

fn reasoning() -> Value {
    json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "xyz"})
}

fn function_call(id: &str) -> Value {
    json!({"type": "function_call", "id": "fc_1", "call_id": id, "name": "read",
        "arguments": "{\"path\":\"a\"}", "status": "completed"})
}

fn message(text: &str) -> Value {
    json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

fn completed() -> Value {
    json!({"type": "response.completed", "response": {"id": "resp_1", "model": "gpt-6.2-sol",
        "status": "completed", "output": [], "usage": {
            "input_tokens": 100, "output_tokens": 20, "total_tokens": 120,
            "input_tokens_details": {"cached_tokens": 64},
            "output_tokens_details": {"reasoning_tokens": 8}}}})
}

#[test]
fn a_body_replays_items_and_stores_nothing() {
    let lost = json!({"type": "reasoning", "id": "rs_0", "summary": []});
    let items = vec![
        said("go"),
        assistant("", &["a"], json!([lost, reasoning(), function_call("a")])),
        results(&[("a", "text", false)]),
    ];
    let found = body(&settings(Wire::OpenAiResponses, "gpt-6.2-sol"), &request(items), "run-1");
    let expected = json!({
        "model": "gpt-6.2-sol",
        "instructions": "Be brief.",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]},
            reasoning(),
            function_call("a"),
            {"type": "function_call_output", "call_id": "a", "output": "text"},
        ],
        "stream": true,
        "store": false,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "run-1",
        "max_output_tokens": 77,
        "tools": [{"type": "function", "name": "read", "description": "Reads a file.",
            "parameters": parameters(), "strict": false}],
        "tool_choice": "auto",
        "parallel_tool_calls": true,
    });
    assert_eq!(found, expected);
    let old = body(&settings(Wire::OpenAiResponses, "gpt-4.1"), &request(vec![]), "k");
    assert_eq!(old.get("include"), None);
}

#[test]
fn tools_as_a_schema_are_a_text_format() {
    let settings =
        ModelSettings { tool_mode: ToolMode::JsonSchema, ..settings(Wire::OpenAiResponses, "m") };
    let found = body(&settings, &request(vec![said("go")]), "k");
    let format = &found["text"]["format"];
    assert_eq!((&format["type"], &format["name"]), (&json!("json_schema"), &json!("next_step")));
    assert_eq!(format["schema"], constrained::schema(&request(vec![])));
    assert_eq!((found.get("tools"), found.get("tool_choice")), (None, None));
    assert!(super::super::is_constrained(&found));
    let asked = Asked { constrained: true, ..asked() };
    let events =
        stream(&[done(0, &message(r#"{"tool":"read","tool_arguments":{}}"#)), completed()]);
    let turn = read(Wire::OpenAiResponses, &asked, &events).unwrap();
    assert_eq!(turn.calls, [call("call_3_0", "read", "{}")]);
}

#[test]
fn finished_items_are_what_counts() {
    let found = turn_of(&stream(&[
        json!({"type": "response.created", "response": {"id": "resp_1", "model": "gpt-6.2-sol"}}),
        json!({"type": "response.reasoning_summary_text.delta", "delta": "hm"}),
        done(0, &reasoning()),
        json!({"type": "response.output_text.delta", "delta": "half a wo"}),
        done(2, &function_call("a")),
        done(1, &message("Grüße")),
        json!({"type": "response.something.new", "x": 1}),
        completed(),
    ]));
    let expected = ModelTurn {
        id: "resp_1".into(),
        model: "gpt-6.2-sol".into(),
        text: "Grüße".into(),
        calls: vec![call("a", "read", r#"{"path":"a"}"#)],
        stop: Stop::ToolCalls,
        usage: TokenUsage {
            uncached_input: 36,
            cache_read: 64,
            cache_write: 0,
            output: 20,
            reasoning: 8,
        },
        usage_known: true,
        items: vec![reasoning(), message("Grüße"), function_call("a")],
    };
    assert_eq!(found, Ok(expected));
}

#[test]
fn servers_that_send_items_only_at_the_end_or_without_identifiers_are_understood() {
    let mut end = completed();
    let bare = json!({"type": "function_call", "name": "read", "arguments": {"path": "a"}});
    end["response"]["output"] = json!([bare, bare]);
    let found = turn_of(&stream(&[end])).unwrap();
    let arguments = r#"{"path":"a"}"#;
    let calls = [call("call_3_0", "read", arguments), call("call_3_1", "read", arguments)];
    assert_eq!(found.calls, calls);
    let item = |id: &str| json!({"type": "function_call", "name": "read", "arguments": arguments, "call_id": id});
    assert_eq!(found.items, [item("call_3_0"), item("call_3_1")]);
}

#[test]
fn stops_are_told_apart() {
    let incomplete = |reason: &str| {
        json!({"type": "response.incomplete", "response": {
            "status": "incomplete", "incomplete_details": {"reason": reason}}})
    };
    let refusal = json!({"type": "message", "content": [{"type": "refusal", "refusal": "no"}]});
    for (item, end, expected) in [
        (message("x"), completed(), Stop::End),
        (function_call("a"), completed(), Stop::ToolCalls),
        (refusal, completed(), Stop::Refusal),
        (function_call("a"), incomplete("max_output_tokens"), Stop::Length),
        (message("x"), incomplete("content_filter"), Stop::Refusal),
    ] {
        let found = turn_of(&stream(&[done(0, &item), end.clone()])).unwrap();
        assert_eq!(found.stop, expected, "{end}");
    }
}

#[test]
fn failures_inside_the_stream_keep_their_code_wait_and_usage() {
    let failed = |code: &str, message: &str| {
        json!({"type": "response.failed", "response": {"status": "failed",
            "error": {"code": code, "message": message},
            "usage": {"input_tokens": 9, "output_tokens": 1}}})
    };
    let limited = failed("rate_limit_exceeded", "Please try again in 1.3s.");
    let failure = turn_of(&stream(std::slice::from_ref(&limited))).unwrap_err();
    assert_eq!((failure.kind, failure.retry_after_ms), (FailureKind::RateLimit, Some(1_300)));
    let mut reader = OpenAiResponses::new(asked());
    let event = Event { name: String::new(), data: limited.to_string() };
    reader.event(&event, &mut |_| {}).unwrap_err();
    let used = TokenUsage { uncached_input: 9, output: 1, ..TokenUsage::default() };
    assert_eq!(reader.usage(), Some(used));
    for (event, expected) in [
        (failed("server_error", "oh"), FailureKind::Transient),
        (failed("context_length_exceeded", "oh"), FailureKind::ContextOverflow),
        (failed("insufficient_quota", "oh"), FailureKind::Quota),
        (failed("invalid_prompt", "oh"), FailureKind::Invalid),
        (json!({"type": "error", "code": "server_error", "message": "m"}), FailureKind::Transient),
        (json!({"type": "response.failed", "response": {}}), FailureKind::Transient),
    ] {
        assert_eq!(
            turn_of(&stream(std::slice::from_ref(&event))).unwrap_err().kind,
            expected,
            "{event}"
        );
    }
}

#[test]
fn a_stream_without_a_terminal_event_is_no_answer() {
    let events = stream(&[done(0, &message("x"))]);
    assert_eq!(turn_of(&events).unwrap_err().kind, FailureKind::Network);
    let gateway = events + "data: [DONE]\n\n";
    assert_eq!(turn_of(&gateway).unwrap_err().kind, FailureKind::Network);
}

#[test]
fn a_whole_answer_is_read_as_well() {
    let answer = json!({"id": "resp_1", "model": "m", "status": "completed", "error": null,
        "output": [message("hi")], "usage": {"input_tokens": 3, "output_tokens": 2}});
    let mut reader = OpenAiResponses::new(asked());
    reader.whole(&answer, &mut |_| {}).unwrap();
    let found = reader.turn().unwrap();
    assert_eq!((found.text.as_str(), found.stop, found.usage.total()), ("hi", Stop::End, 5));
    let odd = OpenAiResponses::new(asked()).whole(&json!({"odd": 1}), &mut |_| {}).unwrap_err();
    assert_eq!(odd.kind, FailureKind::Protocol);
}
