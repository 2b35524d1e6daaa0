use journeyman_domain::model::{TokenUsage, ToolMode, ToolSpec};
use serde_json::json;

use super::*;

pub(crate) fn settings(wire: Wire, model: &str) -> ModelSettings {
    ModelSettings {
        provider: "acme".into(),
        wire,
        model: model.into(),
        tool_mode: ToolMode::Native,
        context_window: 1_000,
        max_output_tokens: 100,
        temperature: None,
        price: None,
    }
}

pub(crate) fn user(text: &str) -> Item {
    Item::User { text: text.into() }
}

pub(crate) fn results(answers: &[(&str, &str, bool)]) -> Item {
    let answer = |&(call_id, output, is_error): &(&str, &str, bool)| ToolAnswer {
        call_id: call_id.into(),
        output: output.into(),
        is_error,
    };
    Item::ToolResults { answers: answers.iter().map(answer).collect() }
}

/// A turn with calls of the tool `read` and these items of its wire.
pub(crate) fn assistant(text: &str, calls: &[&str], items: Value) -> Item {
    let call = |id: &&str| CallRequest {
        call_id: (*id).into(),
        name: "read".into(),
        arguments: r#"{"path":"a"}"#.into(),
    };
    let Value::Array(items) = items else { panic!("a list") };
    let turn = ModelTurn {
        id: "r1".into(),
        model: "m".into(),
        text: text.into(),
        calls: calls.iter().map(call).collect(),
        stop: Stop::ToolCalls,
        usage: TokenUsage::default(),
        usage_known: true,
        items,
    };
    Item::Assistant { turn }
}

pub(crate) fn parameters() -> Value {
    json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]})
}

pub(crate) fn request(items: Vec<Item>) -> ModelRequest {
    let read = ToolSpec {
        name: "read".into(),
        description: "Reads a file.".into(),
        parameters: parameters(),
    };
    ModelRequest {
        system: "Be brief.".into(),
        items,
        tools: vec![read],
        may_call: true,
        input_tokens: 0,
        max_output_tokens: 77,
    }
}

#[test]
fn the_same_request_has_the_same_hash_and_another_one_another() {
    for wire in Wire::ALL {
        let settings = settings(*wire, "m");
        let once = body(&settings, &request(vec![user("hi")]), "k");
        let again = body(&settings, &request(vec![user("hi")]), "k");
        let other = body(&settings, &request(vec![user("ho")]), "k");
        assert_eq!(canonical(&once), canonical(&again), "{wire}");
        assert_eq!(hash(&once), hash(&again), "{wire}");
        assert_ne!(hash(&once), hash(&other), "{wire}");
    }
    let value = json!({"b": [1, "ä\"", null], "a": {"d": 1.5, "c": true}});
    let bytes = r#"{"a":{"c":true,"d":1.5},"b":[1,"ä\"",null]}"#;
    assert_eq!(String::from_utf8(canonical(&value)).unwrap(), bytes);
    // printf '{}' | sha256sum
    let empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(hash(&json!({})), empty);
}

#[test]
fn each_call_has_its_answer_right_behind_it() {
    let items = [
        user("go"),
        assistant("", &["a", "b"], json!([])),
        results(&[("b", "two", false), ("z", "stray", false)]),
        user("  "),
        results(&[("a", "late", false)]),
        assistant("", &["c"], json!([])),
        user("stop"),
        assistant("", &["d"], json!([])),
    ];
    let shape: Vec<String> = entries(&items)
        .iter()
        .map(|entry| match entry {
            Entry::User(text) => format!("user {text}"),
            Entry::Model(turn) => format!("model {}", turn.calls.len()),
            Entry::Answers(answers) => answers
                .iter()
                .map(|a| format!("{}={}{}", a.call_id, a.output, if a.is_error { "!" } else { "" }))
                .collect::<Vec<_>>()
                .join(" "),
        })
        .collect();
    let expected = [
        "user go",
        "model 2",
        "a=This call was not run.! b=two",
        "model 1",
        "c=This call was not run.!",
        "user stop",
        "model 1",
        "d=This call was not run.!",
    ];
    assert_eq!(shape, expected);
}

/// What was sent stays as it was when more follows: all but the last message, whose cache
/// breakpoint moves on the wire of Anthropic.
#[test]
fn what_was_sent_is_sent_again_unchanged() {
    let items = |wire: Wire| match wire {
        Wire::OpenAiChat => json!([{"role": "assistant", "content": null, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "read", "arguments": "{}"}}]}]),
        Wire::OpenAiResponses => json!([
            {"type": "reasoning", "id": "rs", "encrypted_content": "e", "summary": []},
            {"type": "function_call", "call_id": "a", "name": "read", "arguments": "{}"}]),
        Wire::AnthropicMessages => json!([
            {"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "tool_use", "id": "a", "name": "read", "input": {}}]),
    };
    for wire in Wire::ALL {
        for tool_mode in ToolMode::ALL {
            let settings = ModelSettings { tool_mode: *tool_mode, ..settings(*wire, "m") };
            let mut all = vec![user("go")];
            let mut before: Vec<Value> = Vec::new();
            for _ in 0..4 {
                let sent = without_breakpoints(body(&settings, &request(all.clone()), "k"));
                let list = sent.get("messages").or_else(|| sent.get("input")).unwrap();
                let list = list.as_array().unwrap().clone();
                assert_eq!(list[..before.len()], before[..], "{wire} {tool_mode}");
                before = list;
                all.push(assistant("", &["a"], items(*wire)));
                all.push(results(&[("a", "out", false)]));
                all.push(user("more"));
            }
        }
    }
}

fn without_breakpoints(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            map.remove("cache_control");
            for inner in map.values_mut() {
                *inner = without_breakpoints(inner.take());
            }
        }
        Value::Array(list) => {
            for inner in list {
                *inner = without_breakpoints(inner.take());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

#[test]
fn turns_of_the_model_are_counted_for_made_up_identifiers() {
    let chat = json!({"messages": [{"role": "system"}, {"role": "assistant"}, {"role": "tool"}]});
    let responses = json!({"input": [{"type": "reasoning"}, {"type": "function_call"},
        {"role": "assistant"}, {"role": "user"}]});
    assert_eq!((turns(&chat), turns(&responses), turns(&json!({}))), (1, 3, 0));
}
