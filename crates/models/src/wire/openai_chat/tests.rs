use journeyman_domain::model::{FailureKind, Wire};
use serde_json::json;

use super::*;
use crate::answer::tests::{asked, call, read};
use crate::wire::tests::{assistant, parameters, request, results, settings, user};

fn turn_of(stream: &str) -> Result<ModelTurn, ModelFailure> {
    read(Wire::OpenAiChat, &asked(), stream)
}

fn constrained_turn_of(stream: &str) -> Result<ModelTurn, ModelFailure> {
    read(Wire::OpenAiChat, &Asked { constrained: true, ..asked() }, stream)
}

fn stream(chunks: &[Value]) -> String {
    let lines: Vec<_> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    lines.concat() + "data: [DONE]\n\n"
}

fn delta(delta: &Value) -> Value {
    json!({"id": "c1", "model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

#[test]
fn a_body_has_system_words_calls_and_results() {
    let message = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "read", "arguments": "{}"}}]});
    let items = vec![
        user("go"),
        assistant("", &["a"], json!([message])),
        results(&[("a", "text", true)]),
        user("and?"),
    ];
    let found = body(&settings(Wire::OpenAiChat, "qwen"), &request(items));
    let expected = json!({
        "model": "qwen",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "go"},
            message,
            {"role": "tool", "tool_call_id": "a", "content": "text"},
            {"role": "user", "content": "and?"},
        ],
        "stream": true,
        "stream_options": {"include_usage": true},
        "max_tokens": 77,
        "tools": [{"type": "function", "function": {
            "name": "read", "description": "Reads a file.", "parameters": parameters()}}],
    });
    assert_eq!(found, expected);
}

#[test]
fn without_tools_only_words_are_asked_for() {
    let mut request = request(vec![user("go")]);
    request.tools.clear();
    request.system.clear();
    let settings = ModelSettings {
        temperature: Some(0.5),
        tool_mode: ToolMode::JsonSchema,
        ..settings(Wire::OpenAiChat, "m")
    };
    let expected = json!({
        "model": "m",
        "messages": [{"role": "user", "content": "go"}],
        "stream": true,
        "stream_options": {"include_usage": true},
        "max_tokens": 77,
        "temperature": 0.5,
    });
    assert_eq!(body(&settings, &request), expected);
}

#[test]
fn tools_as_a_schema_are_described_and_not_sent() {
    let said = r#"{"tool":"read","tool_arguments":{"path":"a"}}"#;
    let items = vec![
        user("go"),
        assistant("", &["a"], json!([{"role": "assistant", "content": said}])),
        results(&[("a", "no such file", true)]),
        user("and?"),
    ];
    let settings =
        ModelSettings { tool_mode: ToolMode::JsonSchema, ..settings(Wire::OpenAiChat, "m") };
    let found = body(&settings, &request(items));
    let system = found["messages"][0]["content"].as_str().unwrap();
    assert!(system.starts_with("Be brief.\n\n# How to answer\n"), "{system}");
    assert!(
        system.contains("\n## read\nReads a file.\nArguments, as a JSON schema: {"),
        "{system}"
    );
    let rest = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "The tool read failed:\nno such file\n\nand?"},
    ]);
    assert_eq!(found["messages"].as_array().unwrap()[1..], rest.as_array().unwrap()[..]);
    assert_eq!(found.get("tools"), None);
    let format = json!({"type": "json_schema", "json_schema": {
        "name": "next_step",
        "strict": true,
        "schema": {"anyOf": [
            {
                "type": "object",
                "properties": {
                    "tool": {"type": "string", "const": "read"},
                    "tool_arguments": parameters(),
                },
                "required": ["tool", "tool_arguments"],
                "additionalProperties": false,
            },
            {
                "type": "object",
                "properties": {"answer": {"type": "string"}},
                "required": ["answer"],
                "additionalProperties": false,
            },
        ]},
    }});
    assert_eq!(found["response_format"], format);
}

#[test]
fn the_limit_of_tokens_is_named_as_the_family_wants_it() {
    for model in ["gpt-5", "gpt-5.4-mini", "gpt-6.2-sol", "gpt-10", "o1", "o4-mini", "openai/o3"] {
        assert_eq!(limit_name(model), "max_completion_tokens", "{model}");
    }
    for model in ["gpt-4o", "gpt-4.1", "gpt-oss:20b", "qwen3", "openchat", "gpt-3.5-turbo", ""] {
        assert_eq!(limit_name(model), "max_tokens", "{model}");
    }
}

#[test]
fn words_and_usage_are_read() {
    let found = turn_of(&stream(&[
        delta(&json!({"role": "assistant", "content": ""})),
        delta(&json!({"reasoning_content": "hm"})),
        delta(&json!({"content": "Grüße "})),
        delta(&Value::Null),
        delta(&json!({"content": [{"type": "text", "text": "😀"}], "tool_calls": null})),
        finish("stop"),
        json!({"choices": [], "usage": {
            "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 5}}}),
    ]));
    let expected = ModelTurn {
        id: "c1".into(),
        model: "m-1".into(),
        text: "Grüße 😀".into(),
        calls: vec![],
        stop: Stop::End,
        usage: TokenUsage {
            uncached_input: 30,
            cache_read: 60,
            cache_write: 10,
            output: 20,
            reasoning: 5,
        },
        usage_known: true,
        items: vec![json!({"role": "assistant", "content": "Grüße 😀"})],
    };
    assert_eq!(found, Ok(expected));
}

fn piece(index: Option<u64>, id: Option<&str>, name: Option<&str>, arguments: &Value) -> Value {
    let mut piece = json!({"function": {"arguments": arguments}});
    if let Some(index) = index {
        piece["index"] = json!(index);
    }
    if let Some(id) = id {
        piece["id"] = json!(id);
    }
    if let Some(name) = name {
        piece["function"]["name"] = json!(name);
    }
    delta(&json!({"tool_calls": [piece]}))
}

#[test]
fn calls_are_put_together_however_a_server_cuts_them() {
    let text = |text: &str| json!(text);
    let two = [call("a", "read", r#"{"n":1}"#), call("b", "list", "{}")];
    let made_up = [call("call_3_0", "read", r#"{"n":1}"#), call("call_3_1", "list", "{}")];
    for (pieces, expected) in [
        // As OpenAI does, in turns.
        (
            vec![
                piece(Some(0), Some("a"), Some("read"), &text("{\"n")),
                piece(Some(1), Some("b"), Some("list"), &text("")),
                piece(Some(0), None, None, &text("\":1}")),
            ],
            &two,
        ),
        // Identifier and name in each piece.
        (
            vec![
                piece(Some(0), Some("a"), Some("read"), &text("{\"n")),
                piece(Some(0), Some("a"), Some("read"), &text("\":1}")),
                piece(Some(1), Some("b"), Some("list"), &text("{}")),
            ],
            &two,
        ),
        // All of them at index 0; arguments as an object.
        (
            vec![
                piece(Some(0), Some("a"), Some("read"), &json!({"n": 1})),
                piece(Some(0), Some("b"), Some("list"), &json!({})),
            ],
            &two,
        ),
        // No index.
        (
            vec![
                piece(None, Some("a"), Some("read"), &text("{\"n\":")),
                piece(None, Some("a"), None, &text("1")),
                piece(None, None, None, &text("}")),
                piece(None, Some("b"), Some("list"), &Value::Null),
            ],
            &two,
        ),
        // No identifiers, all at index 0.
        (
            vec![
                piece(Some(0), None, Some("read"), &text("{\"n\":1}")),
                piece(Some(0), Some(""), Some("list"), &text("{}")),
            ],
            &made_up,
        ),
        // Neither index nor identifier.
        (
            vec![
                piece(None, None, Some("read"), &text("{\"n\":1}")),
                piece(None, None, Some("list"), &text("{}")),
            ],
            &made_up,
        ),
    ] {
        let found = turn_of(&stream(&pieces)).unwrap();
        assert_eq!((found.calls.as_slice(), found.stop), (expected.as_slice(), Stop::ToolCalls));
    }
}

#[test]
fn a_repeated_identifier_is_replaced_in_the_message_too() {
    let found = turn_of(&stream(&[
        piece(Some(0), Some("a"), Some("read"), &json!("{}")),
        piece(Some(1), Some("a"), Some("my tool!"), &json!("{\"cut")),
        piece(Some(2), Some("c"), None, &json!("")),
        finish("tool_calls"),
    ]))
    .unwrap();
    let calls =
        [call("a", "read", "{}"), call("call_3_1", "my tool!", "{\"cut"), call("c", "", "{}")];
    assert_eq!(found.calls, calls);
    let message = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "read", "arguments": "{}"}},
        {"id": "call_3_1", "type": "function", "function": {"name": "my_tool_", "arguments": "{}"}},
        {"id": "c", "type": "function", "function": {"name": "unknown", "arguments": "{}"}},
    ]});
    assert_eq!(found.items, [message]);
    assert_eq!((found.usage_known, found.usage.uncached_input), (false, 100));
}

#[test]
fn a_hundred_calls_at_once_are_all_there() {
    let pieces: Vec<_> = (0..100)
        .map(|n| piece(Some(n), Some(&format!("c{n}")), Some("read"), &json!("{}")))
        .collect();
    let found = turn_of(&stream(&pieces)).unwrap();
    let expected: Vec<_> = (0..100).map(|n| call(&format!("c{n}"), "read", "{}")).collect();
    assert_eq!(found.calls, expected);
}

#[test]
fn stops_are_told_apart() {
    let words = delta(&json!({"content": "x"}));
    let tool = piece(Some(0), Some("a"), Some("read"), &json!("{}"));
    for (chunk, reason, expected) in [
        (&words, "stop", Stop::End),
        (&tool, "stop", Stop::ToolCalls),
        (&tool, "tool_calls", Stop::ToolCalls),
        (&words, "tool_calls", Stop::End),
        (&words, "length", Stop::Length),
        (&tool, "length", Stop::Length),
        (&words, "content_filter", Stop::Refusal),
        (&words, "eos", Stop::End),
    ] {
        let found = turn_of(&stream(&[chunk.clone(), finish(reason)])).unwrap();
        assert_eq!(found.stop, expected, "{reason}");
    }
    let refused = turn_of(&stream(&[delta(&json!({"refusal": "no"})), finish("stop")])).unwrap();
    assert_eq!((refused.stop, refused.text.as_str()), (Stop::Refusal, "no"));
    let failed = turn_of(&stream(&[words.clone(), finish("error")])).unwrap_err();
    assert_eq!(failed.kind, FailureKind::Transient);
}

#[test]
fn a_stream_that_ends_early_is_no_answer() {
    let words = format!("data: {}\n\n", delta(&json!({"content": "x"})));
    let cut = turn_of(&words).unwrap_err();
    assert_eq!(cut.kind, FailureKind::Network);
    assert_eq!(cut.message, "the stream of acme ended before the answer was complete");
    // A finish reason is an end, too.
    let ended = format!("{words}data: {}\n\n", finish("stop"));
    assert_eq!(turn_of(&ended).unwrap().text, "x");
    let empty = turn_of("data: [DONE]\n\n").unwrap_err();
    assert_eq!(
        (empty.kind, empty.message.as_str()),
        (FailureKind::Protocol, "acme ended without an answer")
    );
    let nonsense = turn_of("data: hello\n\n").unwrap_err();
    assert_eq!(nonsense.kind, FailureKind::Protocol);
}

#[test]
fn an_error_inside_the_stream_is_a_failure() {
    let words = delta(&json!({"content": "x"}));
    let error = json!({"error": {"code": 429, "type": "rate_limit_error", "message": "slow"}});
    for events in [
        format!("data: {words}\n\ndata: {error}\n\n"),
        format!("data: {words}\n\nevent: error\ndata: {error}\n\n"),
    ] {
        let failure = turn_of(&events).unwrap_err();
        assert_eq!(failure.kind, FailureKind::RateLimit);
        assert_eq!(failure.message, "acme broke off its answer with an error: slow");
    }
}

#[test]
fn under_a_schema_an_answer_is_a_call_or_the_last_word() {
    let said = |text: &str| {
        constrained_turn_of(&stream(&[delta(&json!({"content": text})), finish("stop")]))
    };
    let raw = r#"{"tool":"read","tool_arguments":{"path":"a"}}"#;
    let found = said(raw).unwrap();
    assert_eq!(found.calls, [call("call_3_0", "read", r#"{"path":"a"}"#)]);
    assert_eq!((found.stop, found.text.as_str()), (Stop::ToolCalls, ""));
    assert_eq!(found.items, [json!({"role": "assistant", "content": raw})]);
    let found = said(r#"{"answer":"done"}"#).unwrap();
    assert_eq!((found.stop, found.text.as_str(), found.calls.len()), (Stop::End, "done", 0));
    assert_eq!(said("just words").unwrap().text, "just words");
    // Paid for, and no call: the model is told, the request is not sent again.
    let broken = said(r#"{"tool":"re"#).unwrap();
    assert_eq!((broken.stop, broken.calls.len()), (Stop::ToolCalls, 0));
    assert_eq!(broken.text, r#"{"tool":"re"#);
    let cut = [delta(&json!({"content": r#"{"tool":"re"#})), finish("length")];
    let cut = constrained_turn_of(&stream(&cut)).unwrap();
    assert_eq!((cut.stop, cut.calls.len()), (Stop::Length, 0));
}

#[test]
fn a_whole_answer_is_read_as_well() {
    let answer = json!({"id": "c1", "model": "m-1", "choices": [{"message": {
        "role": "assistant", "content": "hi", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "read", "arguments": "{}"}},
            {"id": "b", "type": "function", "function": {"name": "read", "arguments": "{}"}}]},
        "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}});
    let mut reader = OpenAiChat::new(asked());
    reader.whole(&answer, &mut |_| {}).unwrap();
    let found = reader.turn().unwrap();
    assert_eq!(found.calls, [call("a", "read", "{}"), call("b", "read", "{}")]);
    assert_eq!((found.text.as_str(), found.stop, found.usage.total()), ("hi", Stop::ToolCalls, 5));
    let odd = OpenAiChat::new(asked()).whole(&json!({"odd": 1}), &mut |_| {}).unwrap_err();
    assert_eq!(odd.kind, FailureKind::Protocol);
    let error = json!({"error": {"message": "no", "code": "insufficient_quota"}});
    let error = OpenAiChat::new(asked()).whole(&error, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind, FailureKind::Quota);
}
