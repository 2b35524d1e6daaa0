//! Answers that are JSON and yet not what a wire format says: whatever a server sends, it is an answer
//! or a failure, and never a panic.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{asked, read_pieces};
use crate::answer::{Wire, reader};

/// One sound answer of each wire, as its events.
fn answers() -> [(Wire, Vec<Value>); 3] {
    let call = json!({"type": "function_call", "id": "f", "call_id": "a", "name": "read",
        "arguments": "{}", "status": "completed"});
    let message = json!({"type": "message", "content": [{"type": "output_text", "text": "hi"}]});
    let done = |index: u64, item: &Value| json!({"type": "response.output_item.done", "output_index": index, "item": item});
    let block = |index: u64, block: &Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta = |index: u64, delta: &Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    [
        (
            Wire::OpenAiChat,
            vec![
                json!({"id": "c", "model": "m", "choices": [{"delta": {"content": "hi", "refusal": null,
                    "reasoning": "so", "tool_calls": [{"index": 0, "id": "a", "type": "function",
                    "function": {"name": "read", "arguments": "{}"}}]}, "finish_reason": "stop"}]}),
                json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2,
                    "prompt_tokens_details": {"cached_tokens": 1}}}),
            ],
        ),
        (
            Wire::OpenAiResponses,
            vec![
                done(0, &call),
                done(1, &message),
                json!({"type": "response.completed", "response": {"id": "r", "model": "m",
                    "status": "completed", "output": [call, message], "usage": {"input_tokens": 3,
                    "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}}}}),
            ],
        ),
        (
            Wire::AnthropicMessages,
            vec![
                json!({"type": "message_start", "message": {"id": "m", "model": "m", "content": [],
                    "usage": {"input_tokens": 3, "output_tokens": 1}}}),
                block(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
                delta(0, &json!({"type": "thinking_delta", "thinking": "hm"})),
                delta(0, &json!({"type": "signature_delta", "signature": "s"})),
                block(1, &json!({"type": "text", "text": "", "citations": []})),
                delta(1, &json!({"type": "text_delta", "text": "hi"})),
                delta(1, &json!({"type": "citations_delta", "citation": {"n": 1}})),
                block(2, &json!({"type": "tool_use", "id": "a", "name": "read", "input": {}})),
                delta(2, &json!({"type": "input_json_delta", "partial_json": "{}"})),
                json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"},
                    "usage": {"output_tokens": 2}}),
                json!({"type": "message_stop"}),
            ],
        ),
    ]
}

/// The same as one JSON document, for servers that know no streams.
fn wholes() -> [(Wire, Value); 3] {
    let [(_, chat), (_, responses), _] = answers();
    let mut chat = chat[0].clone();
    chat["choices"][0]["message"] = chat["choices"][0]["delta"].take();
    chat["usage"] = json!({"prompt_tokens": 3, "completion_tokens": 2});
    let messages = json!({"type": "message", "id": "m", "model": "m", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "hi"},
        {"type": "tool_use", "id": "a", "name": "read", "input": {}}],
        "stop_reason": "tool_use", "usage": {"input_tokens": 3, "output_tokens": 2}});
    [
        (Wire::OpenAiChat, chat),
        (Wire::OpenAiResponses, responses[2]["response"].clone()),
        (Wire::AnthropicMessages, messages),
    ]
}

/// Puts nonsense in some places.
fn damage(values: &mut [Value], damages: Vec<(prop::sample::Index, prop::sample::Index, Value)>) {
    for (value, place, nonsense) in damages {
        let value = value.index(values.len());
        let mut found = Vec::new();
        places(&values[value], "", &mut found);
        if let Some(at) = values[value].pointer_mut(&found[place.index(found.len())]) {
            *at = nonsense;
        }
    }
}

/// All places of a value, as pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    if let Value::Object(map) = value {
        map.iter().for_each(|(key, value)| places(value, &format!("{at}/{key}"), found));
    } else if let Value::Array(list) = value {
        let list = list.iter().enumerate();
        list.for_each(|(index, value)| places(value, &format!("{at}/{index}"), found));
    }
}

fn stream(events: &[Value]) -> String {
    let line = |event: &Value| format!("data: {event}\n\n");
    events.iter().map(line).collect()
}

fn nonsense() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!(-7)),
        Just(json!(u64::MAX)),
        Just(json!(1e300)),
        Just(json!("text")),
        Just(json!([])),
        Just(json!(["x", {"type": "function_call"}])),
        Just(json!({})),
        Just(json!({"type": "tool_use"})),
        Just(json!({"type": "function_call"})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_that_is_damaged_makes_a_reader_panic(
        which in 0..3_usize,
        damages in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), nonsense()), 1..4),
    ) {
        let (wire, mut events) = answers()[which].clone();
        damage(&mut events, damages.clone());
        let (_, mut answer) = wholes()[which].clone();
        damage(std::slice::from_mut(&mut answer), damages);
        let mut whole = reader(wire, asked());
        drop(whole.whole(&answer, &mut |_| {}).and_then(|()| whole.turn()));
        let stream = stream(&events);
        // Either will do: what counts is that it comes back.
        drop(read_pieces(wire, asked(), &[stream.as_bytes()]));
    }
}

#[test]
fn sound_answers_are_read() {
    for (wire, events) in answers() {
        let turn = read_pieces(wire, asked(), &[stream(&events).as_bytes()]).unwrap();
        assert_eq!(
            (turn.text.as_str(), turn.calls.len(), turn.usage.total()),
            ("hi", 1, 5),
            "{wire}"
        );
    }
    for (wire, answer) in wholes() {
        let mut whole = reader(wire, asked());
        whole.whole(&answer, &mut |_| {}).unwrap();
        let turn = whole.turn().unwrap();
        assert_eq!(
            (turn.text.as_str(), turn.calls.len(), turn.usage.total()),
            ("hi", 1, 5),
            "{wire}"
        );
    }
}
