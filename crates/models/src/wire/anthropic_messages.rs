//! `POST {base}/v1/messages`: turns of user and assistant, each a list of blocks.
//!
//! Owns: that body, where its cache breakpoints are, and the reading of its events. Blocks of the
//! model go back unchanged, signatures of its thinking included. Must never send a call without
//! its result as the first thing in the next message.

use std::collections::BTreeMap;

use journeyman_domain::model::{
    CallRequest, ModelFailure, ModelRequest, ModelSettings, ModelTurn, Stop, TokenUsage,
};
use serde_json::{Value, json};

use super::{Entry, entries};
use crate::answer::{
    Asked, Flow, Meter, Progress, Reader, Report, count, json as parse, name_calls,
    or_empty_object, usage_or_estimate,
};
use crate::failure::{self, Complaint};
use crate::sse::Event;

/// User messages whose end is a cache breakpoint, counted from the last one. With the one behind
/// the system prompt there are three; four are the most that the provider takes.
const BREAKPOINTS: usize = 2;

/// The body of a request.
pub(crate) fn body(settings: &ModelSettings, request: &ModelRequest) -> Value {
    let mut body = json!({
        "model": settings.model,
        "max_tokens": request.max_output_tokens,
        "stream": true,
    });
    // `json!` would copy the conversation, here and for each message.
    body["messages"] = Value::Array(conversation(request));
    if !request.system.is_empty() {
        body["system"] = json!([
            {"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}
        ]);
    }
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|spec| {
            json!({
                "name": spec.name,
                "description": spec.description,
                "input_schema": spec.parameters,
            })
        });
        body["tools"] = tools.collect();
        if !request.may_call {
            body["tool_choice"] = json!({"type": "none"});
        }
    }
    if let Some(temperature) = settings.temperature.filter(|value| value.is_finite()) {
        body["temperature"] = json!(temperature);
    }
    body
}

/// The messages: neighbours of the same role are one, results stand before words.
fn conversation(request: &ModelRequest) -> Vec<Value> {
    let mut messages: Vec<(&str, Vec<Value>)> = Vec::new();
    let mut add = |role: &'static str, blocks: Vec<Value>| match messages.last_mut() {
        _ if blocks.is_empty() => {}
        Some((last, there)) if *last == role => there.extend(blocks),
        Some(_) | None => messages.push((role, blocks)),
    };
    for entry in entries(&request.items) {
        match entry {
            Entry::User(text) => add("user", vec![json!({"type": "text", "text": text})]),
            Entry::Model(turn) => add("assistant", turn.items.clone()),
            Entry::Answers(answers) => {
                let results = answers.into_iter().map(|answer| {
                    json!({
                        "type": "tool_result",
                        "tool_use_id": answer.call_id,
                        "content": answer.output,
                        "is_error": answer.is_error,
                    })
                });
                add("user", results.collect());
            }
        }
    }
    let users = messages.iter_mut().rev().filter(|(role, _)| *role == "user");
    for (_, blocks) in users.take(BREAKPOINTS) {
        if let Some(block) = blocks.last_mut() {
            block["cache_control"] = json!({"type": "ephemeral"});
        }
    }
    let message = |(role, content): (&str, Vec<Value>)| {
        let mut message = json!({"role": role});
        message["content"] = Value::Array(content);
        message
    };
    messages.into_iter().map(message).collect()
}

/// Reads the events of an answer.
#[derive(Debug)]
pub(crate) struct AnthropicMessages {
    asked: Asked,
    meter: Meter,
    id: String,
    model: String,
    blocks: BTreeMap<u64, Block>,
    stop: Option<String>,
    usage: Option<TokenUsage>,
    done: bool,
}

/// A block while it grows.
#[derive(Debug)]
struct Block {
    content: Value,
    /// The JSON of a call's input, complete at the block's end only.
    input: String,
}

impl AnthropicMessages {
    pub(crate) fn new(asked: Asked) -> Self {
        Self {
            asked,
            meter: Meter::default(),
            id: String::new(),
            model: String::new(),
            blocks: BTreeMap::new(),
            stop: None,
            usage: None,
            done: false,
        }
    }

    fn head(&mut self, message: &Value) {
        for (key, at) in [("id", &mut self.id), ("model", &mut self.model)] {
            if let Some(value) = message[key].as_str() {
                value.clone_into(at);
            }
        }
        self.count(&message["usage"]);
    }

    /// Usage is cumulative; a field that a later event leaves out or sets to 0 keeps what it was.
    fn count(&mut self, usage: &Value) {
        if !usage.is_object() {
            return;
        }
        let details = |key| count(usage, &["output_tokens_details", key]);
        let before = self.usage.unwrap_or_default();
        self.usage = Some(TokenUsage {
            uncached_input: before.uncached_input.max(count(usage, &["input_tokens"])),
            cache_read: before.cache_read.max(count(usage, &["cache_read_input_tokens"])),
            cache_write: before.cache_write.max(count(usage, &["cache_creation_input_tokens"])),
            output: before.output.max(count(usage, &["output_tokens"])),
            reasoning: before
                .reasoning
                .max(details("thinking_tokens"))
                .max(details("reasoning_tokens")),
        });
    }

    fn start(
        &mut self,
        index: u64,
        block: &Value,
        report: &mut Report<'_>,
    ) -> Result<(), ModelFailure> {
        if !block.is_object() {
            let what = "began a block that is none";
            return Err(failure::protocol(&self.asked.provider, what));
        }
        let piece = match block["type"].as_str() {
            Some("text") => Progress::Text(block["text"].as_str().unwrap_or_default()),
            Some("thinking") => {
                Progress::Reasoning(block["thinking"].as_str().unwrap_or_default().len())
            }
            Some(_) | None => Progress::Reasoning(0),
        };
        self.meter.add(&self.asked, piece, report)?;
        self.blocks.insert(index, Block { content: block.clone(), input: String::new() });
        Ok(())
    }

    fn delta(
        &mut self,
        index: u64,
        delta: &Value,
        report: &mut Report<'_>,
    ) -> Result<(), ModelFailure> {
        let Some(block) = self.blocks.get_mut(&index) else {
            let what = "sent a piece of a block that did not begin";
            return Err(failure::protocol(&self.asked.provider, what));
        };
        let text = |key: &str| delta[key].as_str().unwrap_or_default();
        match text("type") {
            "text_delta" => {
                self.meter.add(&self.asked, Progress::Text(text("text")), report)?;
                append(&mut block.content["text"], text("text"));
            }
            "input_json_delta" => {
                let more = text("partial_json");
                self.meter.add(&self.asked, Progress::ToolArguments(more.len()), report)?;
                block.input.push_str(more);
            }
            "thinking_delta" => {
                let more = text("thinking");
                self.meter.add(&self.asked, Progress::Reasoning(more.len()), report)?;
                append(&mut block.content["thinking"], more);
            }
            "signature_delta" => {
                let more = text("signature");
                self.meter.add(&self.asked, Progress::Reasoning(more.len()), report)?;
                append(&mut block.content["signature"], more);
            }
            "citations_delta" => match block.content["citations"].as_array_mut() {
                Some(citations) => citations.push(delta["citation"].clone()),
                None => block.content["citations"] = json!([delta["citation"]]),
            },
            _ => {}
        }
        Ok(())
    }

    /// The calls, with their input put into the blocks. Input that is no object, since the answer
    /// was cut off, goes back as an empty one: the provider takes nothing else.
    fn calls(&mut self) -> Vec<CallRequest> {
        let is_call = |block: &&mut Block| block.content["type"] == "tool_use";
        let mut calls = Vec::new();
        for block in self.blocks.values_mut().filter(is_call) {
            let arguments = if block.input.trim().is_empty() {
                let input = &block.content["input"];
                if input.is_null() { String::new() } else { input.to_string() }
            } else {
                std::mem::take(&mut block.input)
            };
            let arguments = or_empty_object(arguments);
            let input = serde_json::from_str(&arguments).ok().filter(Value::is_object);
            block.content["input"] = input.unwrap_or_else(|| json!({}));
            calls.push(CallRequest {
                call_id: block.content["id"].as_str().unwrap_or_default().to_owned(),
                name: block.content["name"].as_str().unwrap_or_default().to_owned(),
                arguments,
            });
        }
        name_calls(&self.asked, &mut calls);
        for (block, call) in self.blocks.values_mut().filter(is_call).zip(&calls) {
            block.content["id"] = json!(call.call_id);
        }
        calls
    }
}

fn append(at: &mut Value, more: &str) {
    match at {
        Value::String(text) => text.push_str(more),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            *at = json!(more);
        }
    }
}

/// The provider refuses text without a word in it.
fn is_empty_text(block: &Value) -> bool {
    block["type"] == "text" && block["text"].as_str().is_none_or(|text| text.trim().is_empty())
}

impl Reader for AnthropicMessages {
    fn event(&mut self, event: &Event, report: &mut Report<'_>) -> Result<Flow, ModelFailure> {
        let data = parse(&self.asked, &event.data)?;
        let index = data["index"].as_u64().unwrap_or(0);
        match data["type"].as_str().unwrap_or(&event.name) {
            "message_start" => self.head(&data["message"]),
            "content_block_start" => self.start(index, &data["content_block"], report)?,
            "content_block_delta" => self.delta(index, &data["delta"], report)?,
            "message_delta" => {
                if let Some(stop) = data["delta"]["stop_reason"].as_str() {
                    self.stop = Some(stop.to_owned());
                }
                self.count(&data["usage"]);
            }
            "message_stop" => {
                self.done = true;
                return Ok(Flow::Done);
            }
            "error" => {
                return Err(failure::in_stream(&self.asked.provider, &Complaint::of_json(&data)));
            }
            // `ping`, `content_block_stop`, and what may come one day.
            _ => {}
        }
        Ok(Flow::More)
    }

    fn whole(&mut self, answer: &Value, report: &mut Report<'_>) -> Result<(), ModelFailure> {
        if answer["error"].is_object() {
            return Err(failure::in_stream(&self.asked.provider, &Complaint::of_json(answer)));
        }
        let Some(blocks) = answer["content"].as_array() else {
            return Err(failure::protocol(&self.asked.provider, "gave an answer without content"));
        };
        self.head(answer);
        for (index, block) in blocks.iter().enumerate() {
            self.start(index as u64, block, report)?;
        }
        self.stop = answer["stop_reason"].as_str().map(str::to_owned);
        self.done = true;
        Ok(())
    }

    fn usage(&self) -> Option<TokenUsage> {
        self.usage
    }

    fn bytes(&self) -> usize {
        self.meter.bytes()
    }

    fn turn(&mut self) -> Result<ModelTurn, ModelFailure> {
        if !self.done {
            return Err(failure::cut_off(&self.asked.provider));
        }
        let calls = self.calls();
        let items: Vec<_> = std::mem::take(&mut self.blocks)
            .into_values()
            .map(|block| block.content)
            .filter(|block| !is_empty_text(block))
            .collect();
        let text = items
            .iter()
            .filter(|block| block["type"] == "text")
            .filter_map(|block| block["text"].as_str())
            .collect();
        let stop = match self.stop.as_deref() {
            Some("max_tokens") => Stop::Length,
            Some("refusal") => Stop::Refusal,
            Some("pause_turn") => Stop::Paused,
            Some("model_context_window_exceeded") => Stop::ContextWindow,
            Some(_) | None if calls.is_empty() => Stop::End,
            Some(_) | None => Stop::ToolCalls,
        };
        let (usage, usage_known) = usage_or_estimate(self.usage, &self.asked, self.meter.bytes());
        Ok(ModelTurn {
            id: std::mem::take(&mut self.id),
            model: std::mem::take(&mut self.model),
            text,
            calls,
            stop,
            usage,
            usage_known,
            items,
        })
    }
}

#[cfg(test)]
mod tests;
