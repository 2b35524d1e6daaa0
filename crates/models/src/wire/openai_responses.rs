//! `POST {base}/responses`: items in, items out, nothing stored at the provider.
//!
//! Owns: that body and the reading of its events. Output items go back unchanged, encrypted
//! reasoning included. Must never trust deltas: what counts is the finished item.

use std::collections::BTreeMap;

use journeyman_domain::model::{
    CallRequest, ModelFailure, ModelRequest, ModelSettings, ModelTurn, Stop, TokenUsage, ToolMode,
    ToolSpec,
};
use serde_json::{Value, json};

use super::{Entry, constrained, entries, family};
use crate::answer::{
    Asked, Flow, MOST_BYTES, Meter, Progress, Reader, Report, arguments, count, json as parse,
    name_calls, or_empty_object, usage_or_estimate,
};
use crate::failure::{self, Complaint};
use crate::sse::Event;

/// The body of a request.
pub(crate) fn body(settings: &ModelSettings, request: &ModelRequest, cache_key: &str) -> Value {
    let constrained = settings.tool_mode == ToolMode::JsonSchema;
    let (instructions, input) = if constrained {
        (constrained::system(request), constrained::conversation(request, &user))
    } else {
        (request.system.clone(), conversation(request))
    };
    let input = input.into_iter().filter(can_go_back).collect();
    let mut body = json!({
        "model": settings.model,
        "instructions": instructions,
        "stream": true,
        "store": false,
        "prompt_cache_key": cache_key,
        "max_output_tokens": request.max_output_tokens,
    });
    // `json!` would copy the conversation.
    body["input"] = Value::Array(input);
    if reasons(&settings.model) {
        body["include"] = json!(["reasoning.encrypted_content"]);
    }
    if let Some(temperature) = settings.temperature.filter(|value| value.is_finite()) {
        body["temperature"] = json!(temperature);
    }
    if request.tools.is_empty() {
        return body;
    }
    if constrained {
        let schema = constrained::schema(request);
        body["text"] = json!({"format": {
            "type": "json_schema", "name": constrained::NAME, "strict": true, "schema": schema,
        }});
    } else {
        let tool = |spec: &ToolSpec| {
            json!({
                "type": "function",
                "name": spec.name,
                "description": spec.description,
                "parameters": spec.parameters,
                // Strict schemas may have no optional parameters.
                "strict": false,
            })
        };
        body["tools"] = request.tools.iter().map(tool).collect();
        body["tool_choice"] = json!(if request.may_call { "auto" } else { "none" });
        body["parallel_tool_calls"] = json!(true);
    }
    body
}

fn user(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
}

fn conversation(request: &ModelRequest) -> Vec<Value> {
    let mut input = Vec::new();
    for entry in entries(&request.items) {
        match entry {
            Entry::User(text) => input.push(user(text)),
            Entry::Model(turn) => input.extend(turn.items.iter().cloned()),
            Entry::Answers(answers) => input.extend(answers.into_iter().map(|answer| {
                json!({
                    "type": "function_call_output",
                    "call_id": answer.call_id,
                    "output": answer.output,
                })
            })),
        }
    }
    input
}

/// Reasoning without its encrypted content is only a name of something that the provider did not
/// store; it answers 404 to it.
fn can_go_back(item: &Value) -> bool {
    item["type"] != "reasoning" || item["encrypted_content"].is_string()
}

/// Models before GPT-5 that do not reason refuse to give encrypted reasoning.
fn reasons(model: &str) -> bool {
    let family = family(model);
    !["gpt-3", "gpt-4", "chatgpt-"].iter().any(|old| family.starts_with(old))
}

/// Reads the events of an answer.
#[derive(Debug)]
pub(crate) struct OpenAiResponses {
    asked: Asked,
    meter: Meter,
    id: String,
    model: String,
    /// The finished items, by their place in the output.
    items: BTreeMap<u64, Value>,
    usage: Option<TokenUsage>,
    /// `completed`, or why it is incomplete.
    end: Option<End>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Completed,
    Incomplete(String),
}

impl OpenAiResponses {
    pub(crate) fn new(asked: Asked) -> Self {
        Self {
            asked,
            meter: Meter::default(),
            id: String::new(),
            model: String::new(),
            items: BTreeMap::new(),
            usage: None,
            end: None,
        }
    }

    fn head(&mut self, response: &Value) {
        for (key, at) in [("id", &mut self.id), ("model", &mut self.model)] {
            if let Some(value) = response[key].as_str() {
                value.clone_into(at);
            }
        }
        if response["usage"].is_object() {
            self.usage = Some(usage(&response["usage"]));
        }
    }

    fn item(&mut self, place: u64, item: &Value) -> Result<(), ModelFailure> {
        self.items.insert(place, item.clone());
        let bytes: usize = self.items.values().map(payload_bytes).sum();
        if bytes > MOST_BYTES {
            let what = format!("gave an answer of more than {MOST_BYTES} bytes");
            return Err(failure::protocol(&self.asked.provider, &what));
        }
        Ok(())
    }

    /// The last word of the stream, or a whole answer, which may say its status itself.
    fn last(&mut self, response: &Value, status: &str) -> Result<(), ModelFailure> {
        self.head(response);
        // Some servers send no finished items, but all of them at the end.
        if self.items.is_empty() {
            for (place, item) in response["output"].as_array().into_iter().flatten().enumerate() {
                self.item(place as u64, item)?;
            }
        }
        match response["status"].as_str().unwrap_or(status) {
            status @ ("failed" | "cancelled") => {
                let error = &response["error"];
                let complaint = if error.is_null() {
                    Complaint::of_body(status)
                } else {
                    Complaint::of_json(error)
                };
                Err(failure::in_stream(&self.asked.provider, &complaint))
            }
            "incomplete" => {
                let reason = response["incomplete_details"]["reason"].as_str().unwrap_or_default();
                self.end = Some(End::Incomplete(reason.to_owned()));
                Ok(())
            }
            _ => {
                self.end = Some(End::Completed);
                Ok(())
            }
        }
    }

    /// The calls, and their identifiers put back into items that came without.
    fn calls(&mut self) -> Vec<CallRequest> {
        let is_call = |item: &&mut Value| item["type"] == "function_call";
        let mut calls: Vec<_> = self
            .items
            .values_mut()
            .filter(is_call)
            .map(|item| CallRequest {
                call_id: item["call_id"].as_str().unwrap_or_default().to_owned(),
                name: item["name"].as_str().unwrap_or_default().to_owned(),
                arguments: or_empty_object(arguments(item.get("arguments"))),
            })
            .collect();
        name_calls(&self.asked, &mut calls);
        for (item, call) in self.items.values_mut().filter(is_call).zip(&calls) {
            item["call_id"] = json!(call.call_id);
            if !item["arguments"].is_string() {
                item["arguments"] = json!(call.arguments);
            }
        }
        calls
    }

    /// The text of all messages, and whether it is a refusal.
    fn text(&self) -> (String, bool) {
        let mut text = String::new();
        let mut refused = false;
        for item in self.items.values().filter(|item| item["type"] == "message") {
            if !text.is_empty() {
                text.push('\n');
            }
            for part in item["content"].as_array().into_iter().flatten() {
                if let Some(words) = part["refusal"].as_str() {
                    refused = true;
                    text.push_str(words);
                } else if let Some(words) = part["text"].as_str() {
                    text.push_str(words);
                }
            }
        }
        (text, refused)
    }
}

/// Bytes of what an item says.
fn payload_bytes(item: &Value) -> usize {
    match item {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(payload_bytes).sum(),
        Value::Object(map) => map.values().map(payload_bytes).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// `input_tokens` has what came from and went to caches in it, `output_tokens` the reasoning.
fn usage(usage: &Value) -> TokenUsage {
    let cache_read = count(usage, &["input_tokens_details", "cached_tokens"]);
    let cache_write = count(usage, &["input_tokens_details", "cache_write_tokens"]);
    let input = count(usage, &["input_tokens"]);
    TokenUsage {
        uncached_input: input.saturating_sub(cache_read).saturating_sub(cache_write),
        cache_read,
        cache_write,
        output: count(usage, &["output_tokens"]),
        reasoning: count(usage, &["output_tokens_details", "reasoning_tokens"]),
    }
}

impl Reader for OpenAiResponses {
    fn event(&mut self, event: &Event, report: &mut Report<'_>) -> Result<Flow, ModelFailure> {
        // The official server sends none, gateways do.
        if event.data.trim() == "[DONE]" {
            return Ok(Flow::Done);
        }
        let data = parse(&self.asked, &event.data)?;
        let delta = data["delta"].as_str().unwrap_or_default();
        match data["type"].as_str().unwrap_or(&event.name) {
            "response.created" | "response.in_progress" => self.head(&data["response"]),
            "response.output_text.delta" | "response.refusal.delta" => {
                self.meter.add(&self.asked, Progress::Text(delta), report)?;
            }
            "response.function_call_arguments.delta" => {
                self.meter.add(&self.asked, Progress::ToolArguments(delta.len()), report)?;
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.meter.add(&self.asked, Progress::Reasoning(delta.len()), report)?;
            }
            "response.output_item.done" => {
                let next = self.items.keys().last().map_or(0, |last| last.saturating_add(1));
                self.item(data["output_index"].as_u64().unwrap_or(next), &data["item"])?;
            }
            kind @ ("response.completed" | "response.incomplete" | "response.failed") => {
                self.last(&data["response"], kind.trim_start_matches("response."))?;
                return Ok(Flow::Done);
            }
            "error" => {
                return Err(failure::in_stream(&self.asked.provider, &Complaint::of_json(&data)));
            }
            _ => {}
        }
        Ok(Flow::More)
    }

    fn whole(&mut self, answer: &Value, report: &mut Report<'_>) -> Result<(), ModelFailure> {
        if answer["error"].is_object() {
            self.head(answer);
            return Err(failure::in_stream(&self.asked.provider, &Complaint::of_json(answer)));
        }
        if !answer["output"].is_array() {
            return Err(failure::protocol(&self.asked.provider, "gave an answer without output"));
        }
        self.last(answer, "completed")?;
        let (text, _) = self.text();
        self.meter.add(&self.asked, Progress::Text(&text), report)
    }

    fn usage(&self) -> Option<TokenUsage> {
        self.usage
    }

    fn bytes(&self) -> usize {
        self.meter.bytes()
    }

    fn turn(&mut self) -> Result<ModelTurn, ModelFailure> {
        let Some(end) = self.end.clone() else {
            return Err(failure::cut_off(&self.asked.provider));
        };
        let calls = self.calls();
        let (text, refused) = self.text();
        let stop = match end {
            End::Incomplete(reason) => match reason.as_str() {
                "content_filter" => Stop::Refusal,
                "model_context_window_exceeded" | "context_window" => Stop::ContextWindow,
                _ => Stop::Length,
            },
            End::Completed if refused => Stop::Refusal,
            End::Completed if calls.is_empty() => Stop::End,
            End::Completed => Stop::ToolCalls,
        };
        let bytes = self.items.values().map(payload_bytes).sum::<usize>().max(self.meter.bytes());
        let (usage, usage_known) = usage_or_estimate(self.usage, &self.asked, bytes);
        let turn = ModelTurn {
            id: std::mem::take(&mut self.id),
            model: std::mem::take(&mut self.model),
            text,
            calls,
            stop,
            usage,
            usage_known,
            items: std::mem::take(&mut self.items).into_values().collect(),
        };
        Ok(super::understood(&self.asked, turn))
    }
}

#[cfg(test)]
mod tests;
