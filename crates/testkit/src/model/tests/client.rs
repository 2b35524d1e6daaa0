//! A client over a bare socket: HTTP, server-sent events, and a conversation on each wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use journeyman_domain::model::Wire;
use serde_json::{Value, json};

use crate::model::ModelServer;

/// An answer as it came. `broken` is what the connection did instead of ending it in good order.
#[derive(Debug, PartialEq)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) chunks: usize,
    pub(super) broken: Option<std::io::ErrorKind>,
}

impl Answered {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The events: their name (empty without one) and their data.
    pub(super) fn events(&self) -> Vec<(String, String)> {
        let text = self.text();
        let event = |block: &str| {
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().to_owned()
            };
            (field("event: "), field("data: "))
        };
        text.split_terminator("\n\n").map(event).collect()
    }

    /// The data of the events that are JSON.
    pub(super) fn data(&self) -> Vec<Value> {
        self.events().iter().filter_map(|(_, data)| serde_json::from_str(data).ok()).collect()
    }

    /// The names, one after the other, without repetitions.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.events().into_iter().map(|(name, _)| name).collect();
        names.dedup();
        names
    }
}

pub(super) fn path(wire: Wire) -> &'static str {
    match wire {
        Wire::OpenAiChat => "/v1/chat/completions",
        Wire::OpenAiResponses => "/v1/responses",
        Wire::AnthropicMessages => "/v1/messages",
    }
}

pub(super) fn connect(server: &ModelServer) -> TcpStream {
    let base = server.base_url(Wire::AnthropicMessages);
    let stream = TcpStream::connect(base.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

pub(super) fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

pub(super) const HEADERS: &str = "anthropic-version: 2023-06-01\r\nAuthorization: Bearer sk-1\r\n";

/// One request on a connection of its own; an error is a connection that ended without an answer.
pub(super) fn ask(server: &ModelServer, wire: Wire, body: &Value) -> std::io::Result<Answered> {
    let mut stream = connect(server);
    let request = request("POST", path(wire), HEADERS, &body.to_string());
    stream.write_all(request.as_bytes())?;
    read(&mut BufReader::new(stream))
}

pub(super) fn read(from: &mut impl BufRead) -> std::io::Result<Answered> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let (mut body, mut chunks) = (Vec::new(), 0);
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let read = match length {
        Some((_, length)) => take(from, length.parse().unwrap(), &mut body),
        None => read_chunks(from, &mut body, &mut chunks),
    };
    Ok(Answered { status, headers, body, chunks, broken: read.err().map(|error| error.kind()) })
}

fn take(from: &mut impl BufRead, length: usize, body: &mut Vec<u8>) -> std::io::Result<()> {
    let read = from.by_ref().take(length as u64).read_to_end(body)?;
    if read == length { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

fn read_chunks(
    from: &mut impl BufRead,
    body: &mut Vec<u8>,
    chunks: &mut usize,
) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut end = Vec::new();
        if length > 0 {
            *chunks += 1;
            take(from, length, body)?;
        }
        take(from, 2, &mut end)?;
        if length == 0 {
            return Ok(());
        }
    }
}

pub(super) const WIRES: &[Wire] = Wire::ALL;

/// The first request of a conversation.
pub(super) fn opening(wire: Wire) -> Value {
    let schema = json!({ "type": "object", "properties": { "path": { "type": "string" } } });
    match wire {
        Wire::OpenAiChat => json!({
            "model": "m", "stream": true, "stream_options": { "include_usage": true },
            "messages": [
                { "role": "system", "content": "Work." }, { "role": "user", "content": "Go on." },
            ],
            "tools": [
                { "type": "function", "function": { "name": "read", "parameters": schema } },
            ],
        }),
        Wire::OpenAiResponses => json!({
            "model": "m", "stream": true, "store": false, "instructions": "Work.",
            "prompt_cache_key": "run-1", "include": ["reasoning.encrypted_content"],
            "input": [{ "type": "message", "role": "user", "content": [
                { "type": "input_text", "text": "Go on." },
            ] }],
            "tools": [{ "type": "function", "name": "read", "parameters": schema }],
        }),
        Wire::AnthropicMessages => json!({
            "model": "m", "stream": true, "max_tokens": 100,
            "system": [{ "type": "text", "text": "Work.", "cache_control": { "type": "ephemeral" } }],
            "messages": [{ "role": "user", "content": "Go on." }],
            "tools": [{ "name": "read", "input_schema": schema }],
        }),
    }
}

/// The field that holds the conversation.
pub(super) fn history(wire: Wire, body: &mut Value) -> &mut Vec<Value> {
    let field = if wire == Wire::OpenAiResponses { "input" } else { "messages" };
    body[field].as_array_mut().unwrap()
}

/// Adds an answer without a stream, and the answers to its calls (or a further word) to a request.
pub(super) fn go_on(wire: Wire, body: &mut Value, whole: &Value) {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    match wire {
        Wire::OpenAiChat => {
            let message = whole["choices"][0]["message"].clone();
            let results = list(&message["tool_calls"]).into_iter().map(
                |call| json!({ "role": "tool", "tool_call_id": call["id"], "content": "out" }),
            );
            let results: Vec<_> = results.collect();
            let user = json!({ "role": "user", "content": "More." });
            let next = if results.is_empty() { vec![user] } else { results };
            history(wire, body).extend([message].into_iter().chain(next));
        }
        Wire::OpenAiResponses => {
            let items = list(&whole["output"]);
            let calls = items.iter().filter(|item| item["type"] == "function_call");
            let results = calls.map(|call| {
                json!({
                    "type": "function_call_output", "call_id": call["call_id"], "output": "out",
                })
            });
            let results: Vec<_> = results.collect();
            let user = json!({ "role": "user", "content": "More." });
            let next = if results.is_empty() { vec![user] } else { results };
            history(wire, body).extend(items.into_iter().chain(next));
        }
        Wire::AnthropicMessages => {
            let blocks = list(&whole["content"]);
            let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
            let results = calls.map(|call| {
                json!({ "type": "tool_result", "tool_use_id": call["id"], "content": "out" })
            });
            let mut next: Vec<_> = results.collect();
            next.push(json!({ "type": "text", "text": "More." }));
            let assistant = json!({ "role": "assistant", "content": blocks });
            history(wire, body).extend([assistant, json!({ "role": "user", "content": next })]);
        }
    }
}

/// What the stream adds up to, in the form of the answer without a stream.
pub(super) fn assembled(wire: Wire, answered: &Answered) -> Value {
    let data = answered.data();
    match wire {
        Wire::OpenAiChat => chat(&data),
        Wire::OpenAiResponses => {
            let done = data.iter().filter(|event| event["type"] == "response.output_item.done");
            let last = &data.last().unwrap()["response"];
            let output: Vec<_> = done.map(|event| event["item"].clone()).collect();
            assert_eq!(json!(output), last["output"]);
            last.clone()
        }
        Wire::AnthropicMessages => anthropic(&data),
    }
}

fn append(to: &mut Value, more: &Value) {
    let text = format!("{}{}", to.as_str().unwrap_or_default(), more.as_str().unwrap());
    *to = Value::from(text);
}

fn chat(data: &[Value]) -> Value {
    let mut message = json!({ "role": "assistant", "content": null, "refusal": null });
    let (mut finish, mut usage) = (Value::Null, Value::Null);
    for chunk in data {
        if chunk["usage"].is_object() {
            usage = chunk["usage"].clone();
        }
        let choice = &chunk["choices"][0];
        for field in ["content", "refusal"] {
            if choice["delta"][field].is_string() {
                append(&mut message[field], &choice["delta"][field]);
            }
        }
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            if call.get("id").is_some() {
                let mut call = call.clone();
                call.as_object_mut().unwrap().remove("index");
                if message.get("tool_calls").is_none() {
                    message["tool_calls"] = json!([]);
                }
                message["tool_calls"].as_array_mut().unwrap().push(call);
            } else {
                let known = &mut message["tool_calls"][index]["function"]["arguments"];
                append(known, &call["function"]["arguments"]);
            }
        }
        if choice["finish_reason"].is_string() {
            finish = choice["finish_reason"].clone();
        }
    }
    json!({ "choices": [{ "message": message, "finish_reason": finish }], "usage": usage })
}

fn anthropic(data: &[Value]) -> Value {
    let mut message = Value::Null;
    let mut inputs: Vec<Value> = Vec::new();
    for event in data {
        let index = event["index"].as_u64().map(|index| usize::try_from(index).unwrap());
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
                inputs.push(Value::from(""));
            }
            "content_block_delta" => {
                let block = &mut message["content"][index.unwrap()];
                let delta = &event["delta"];
                for field in ["text", "thinking", "signature"] {
                    if delta[field].is_string() {
                        append(&mut block[field], &delta[field]);
                    }
                }
                if delta["partial_json"].is_string() {
                    append(&mut inputs[index.unwrap()], &delta["partial_json"]);
                }
            }
            "content_block_stop" => {
                let block = &mut message["content"][index.unwrap()];
                if block["type"] == "tool_use" {
                    let input = inputs[index.unwrap()].as_str().unwrap();
                    block["input"] = serde_json::from_str(input).unwrap_or_else(|_| json!({}));
                }
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["usage"] = event["usage"].clone();
            }
            "message_stop" | "ping" => {}
            other => panic!("unknown event {other}"),
        }
    }
    message
}

/// A request without a stream, and then what follows it.
pub(super) fn turn(server: &ModelServer, wire: Wire, body: &mut Value) -> Value {
    let answered = ask(server, wire, body).unwrap();
    assert_eq!(answered.status, 200, "{}", answered.text());
    let whole = assembled(wire, &answered);
    go_on(wire, body, &whole);
    whole
}
