//! `POST {base}/chat/completions`: the wire that nearly every server speaks, each a bit otherwise.
//!
//! Owns: that body and the reading of its chunks. Must never trust a server to keep to the format:
//! identifiers, indices, finish reasons and usage may be missing, repeated or null.

use std::collections::BTreeMap;

use journeyman_domain::model::{
    CallRequest, ModelFailure, ModelRequest, ModelSettings, ModelTurn, Stop, TokenUsage, ToolMode,
    ToolSpec,
};
use serde_json::{Value, json};

use super::{Entry, constrained, entries, family};
use crate::answer::{
    Asked, Flow, Meter, Progress, Reader, Report, arguments, count, json as parse, name_calls,
    or_empty_object, usage_or_estimate,
};
use crate::failure::{self, Complaint};
use crate::sse::Event;

/// The body of a request.
pub(crate) fn body(settings: &ModelSettings, request: &ModelRequest) -> Value {
    let constrained = settings.tool_mode == ToolMode::JsonSchema;
    let mut messages = Vec::new();
    let system = if constrained { constrained::system(request) } else { request.system.clone() };
    if !system.is_empty() {
        messages.push(json!({"role": "system", "content": system}));
    }
    if constrained {
        let user = |text: &str| json!({"role": "user", "content": text});
        messages.extend(constrained::conversation(request, &user));
    } else {
        messages.extend(conversation(request));
    }
    let mut body = json!({
        "model": settings.model,
        "stream": true,
        "stream_options": {"include_usage": true},
        limit_name(&settings.model): request.max_output_tokens,
    });
    // `json!` would copy the conversation.
    body["messages"] = Value::Array(messages);
    if let Some(temperature) = settings.temperature.filter(|value| value.is_finite()) {
        body["temperature"] = json!(temperature);
    }
    if !request.tools.is_empty() {
        if constrained {
            let schema = constrained::schema(request);
            body["response_format"] = json!({
                "type": "json_schema",
                "json_schema": {"name": constrained::NAME, "strict": true, "schema": schema},
            });
        } else {
            body["tools"] = request.tools.iter().map(tool).collect();
            if !request.may_call {
                body["tool_choice"] = json!("none");
            }
        }
    }
    body
}

fn tool(spec: &ToolSpec) -> Value {
    json!({
        "type": "function",
        "function": {
            "name": spec.name,
            "description": spec.description,
            "parameters": spec.parameters,
        },
    })
}

fn conversation(request: &ModelRequest) -> Vec<Value> {
    let mut messages = Vec::new();
    for entry in entries(&request.items) {
        match entry {
            Entry::User(text) => messages.push(json!({"role": "user", "content": text})),
            Entry::Model(turn) => messages.extend(turn.items.iter().cloned()),
            Entry::Answers(answers) => messages.extend(answers.into_iter().map(|answer| {
                json!({"role": "tool", "tool_call_id": answer.call_id, "content": answer.output})
            })),
        }
    }
    messages
}

/// What the limit of output tokens is called. OpenAI's reasoning models (o1 and up, GPT-5 and up)
/// take only the new name; servers of others often know only the old one.
fn limit_name(model: &str) -> &'static str {
    let family = family(model);
    let number = |rest: &str| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse::<u32>().ok()
    };
    let new = match family.strip_prefix("gpt-") {
        Some(rest) => number(rest).is_some_and(|version| version >= 5),
        None => family.strip_prefix('o').is_some_and(|rest| number(rest).is_some()),
    };
    if new { "max_completion_tokens" } else { "max_tokens" }
}

/// Reads the chunks of an answer.
#[derive(Debug)]
pub(crate) struct OpenAiChat {
    asked: Asked,
    meter: Meter,
    id: String,
    model: String,
    text: String,
    refusal: String,
    calls: Vec<CallRequest>,
    /// Where the call of an index is in `calls`.
    places: BTreeMap<u64, usize>,
    finish: Option<String>,
    usage: Option<TokenUsage>,
    chunks: usize,
    done: bool,
}

impl OpenAiChat {
    pub(crate) fn new(asked: Asked) -> Self {
        Self {
            asked,
            meter: Meter::default(),
            id: String::new(),
            model: String::new(),
            text: String::new(),
            refusal: String::new(),
            calls: Vec::new(),
            places: BTreeMap::new(),
            finish: None,
            usage: None,
            chunks: 0,
            done: false,
        }
    }

    /// Takes a chunk, or a whole answer, whose message is like one large delta.
    fn chunk(&mut self, chunk: &Value, report: &mut Report<'_>) -> Result<(), ModelFailure> {
        if chunk.get("error").is_some_and(|error| !error.is_null()) {
            return Err(failure::in_stream(&self.asked.provider, &Complaint::of_json(chunk)));
        }
        self.chunks += 1;
        for (key, at) in [("id", &mut self.id), ("model", &mut self.model)] {
            if let Some(value) = chunk[key].as_str().filter(|_| at.is_empty()) {
                value.clone_into(at);
            }
        }
        if chunk["usage"].is_object() {
            self.usage = Some(usage(&chunk["usage"]));
        }
        let choice = &chunk["choices"][0];
        if let Some(finish) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
            self.finish = Some(finish.to_owned());
        }
        let delta = if choice["delta"].is_object() { &choice["delta"] } else { &choice["message"] };
        self.delta(delta, report)
    }

    fn delta(&mut self, delta: &Value, report: &mut Report<'_>) -> Result<(), ModelFailure> {
        for text in texts(&delta["content"]) {
            self.meter.add(&self.asked, Progress::Text(text), report)?;
            self.text.push_str(text);
        }
        if let Some(text) = delta["refusal"].as_str() {
            self.meter.add(&self.asked, Progress::Text(text), report)?;
            self.refusal.push_str(text);
        }
        // Reasoning is not sent back: most servers refuse or ignore it in a request.
        let reasoning = ["reasoning_content", "reasoning"];
        if let Some(text) = reasoning.iter().find_map(|key| delta[key].as_str()) {
            self.meter.add(&self.asked, Progress::Reasoning(text.len()), report)?;
        }
        for piece in delta["tool_calls"].as_array().into_iter().flatten() {
            self.call(piece, report)?;
        }
        Ok(())
    }

    /// A piece of a call belongs to the call of its index, or else of its identifier. A name with
    /// another identifier, or after arguments that are complete, begins another call: some servers
    /// give all of them the index 0.
    fn call(&mut self, piece: &Value, report: &mut Report<'_>) -> Result<(), ModelFailure> {
        let id = piece["id"].as_str().unwrap_or_default();
        let name = piece["function"]["name"].as_str().unwrap_or_default();
        let more = arguments(piece["function"].get("arguments"));
        self.meter.add(&self.asked, Progress::ToolArguments(more.len()), report)?;
        let index = piece["index"].as_u64();
        let known = match index {
            Some(index) => self.places.get(&index).copied(),
            None if id.is_empty() && name.is_empty() => self.calls.len().checked_sub(1),
            None if id.is_empty() => None,
            None => self.calls.iter().rposition(|call| call.call_id == id),
        };
        let same = |at: &usize| {
            let there = &self.calls[*at];
            let id_fits = id.is_empty() || there.call_id.is_empty() || there.call_id == id;
            name.is_empty() || (id_fits && (more.is_empty() || !is_complete(&there.arguments)))
        };
        let at = known.filter(same).unwrap_or_else(|| {
            let (call_id, name, arguments) = Default::default();
            self.calls.push(CallRequest { call_id, name, arguments });
            self.calls.len() - 1
        });
        if let Some(index) = index {
            self.places.insert(index, at);
        }
        let call = &mut self.calls[at];
        if call.call_id.is_empty() {
            id.clone_into(&mut call.call_id);
        }
        if call.name.is_empty() {
            name.clone_into(&mut call.name);
        }
        call.arguments.push_str(&more);
        Ok(())
    }

    fn stop(&self) -> Result<Stop, ModelFailure> {
        let by_calls = if self.calls.is_empty() { Stop::End } else { Stop::ToolCalls };
        Ok(match self.finish.as_deref() {
            Some("length" | "max_tokens") => Stop::Length,
            Some("content_filter" | "refusal") => Stop::Refusal,
            Some("model_context_window_exceeded" | "model_length") => Stop::ContextWindow,
            Some("error") => {
                let words = Complaint::of_body("");
                return Err(failure::in_stream(&self.asked.provider, &words));
            }
            // Some servers say `stop` though there are calls.
            Some(_) | None => by_calls,
        })
    }

    /// The message to be sent back. What this wire's servers choke on is mended, while `calls`
    /// keep the model's own words: names that are none, and arguments that are no JSON, at which
    /// chat templates fail for good.
    fn message(&self) -> Value {
        let mut message = json!({"role": "assistant", "content": self.text});
        if !self.refusal.is_empty() && self.text.is_empty() {
            message["content"] = json!(self.refusal);
        }
        if self.calls.is_empty() {
            return message;
        }
        if self.text.is_empty() {
            message["content"] = Value::Null;
        }
        let calls = self.calls.iter().map(|call| {
            let arguments = if is_object(&call.arguments) { call.arguments.as_str() } else { "{}" };
            json!({
                "id": call.call_id,
                "type": "function",
                "function": {"name": callable(&call.name), "arguments": arguments},
            })
        });
        message["tool_calls"] = calls.collect();
        message
    }
}

/// Whether arguments are a whole object, so that more of them can only be another call's.
fn is_complete(arguments: &str) -> bool {
    arguments.trim_end().ends_with('}') && is_object(arguments)
}

fn is_object(arguments: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, Value>>(arguments).is_ok()
}

/// A name that every server takes.
fn callable(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' };
    let name: String = name.chars().take(64).map(safe).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

/// Text as a string, or as a list of parts.
fn texts(content: &Value) -> Vec<&str> {
    match content {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// `prompt_tokens` has what came from and went to caches in it, `completion_tokens` the reasoning.
fn usage(usage: &Value) -> TokenUsage {
    let cache_read = count(usage, &["prompt_tokens_details", "cached_tokens"]);
    let cache_write = count(usage, &["prompt_tokens_details", "cache_write_tokens"]);
    let input = count(usage, &["prompt_tokens"]);
    TokenUsage {
        uncached_input: input.saturating_sub(cache_read).saturating_sub(cache_write),
        cache_read,
        cache_write,
        output: count(usage, &["completion_tokens"]),
        reasoning: count(usage, &["completion_tokens_details", "reasoning_tokens"]),
    }
}

impl Reader for OpenAiChat {
    fn event(&mut self, event: &Event, report: &mut Report<'_>) -> Result<Flow, ModelFailure> {
        if event.data.trim() == "[DONE]" {
            self.done = true;
            return Ok(Flow::Done);
        }
        let chunk = parse(&self.asked, &event.data)?;
        if event.name == "error" {
            return Err(failure::in_stream(&self.asked.provider, &Complaint::of_json(&chunk)));
        }
        self.chunk(&chunk, report)?;
        Ok(Flow::More)
    }

    fn whole(&mut self, answer: &Value, report: &mut Report<'_>) -> Result<(), ModelFailure> {
        self.chunk(answer, report)?;
        self.done = true;
        if answer["choices"][0].is_object() {
            return Ok(());
        }
        Err(failure::protocol(&self.asked.provider, "gave an answer without a choice"))
    }

    fn usage(&self) -> Option<TokenUsage> {
        self.usage
    }

    fn bytes(&self) -> usize {
        self.meter.bytes()
    }

    fn turn(&mut self) -> Result<ModelTurn, ModelFailure> {
        if !self.done && self.finish.is_none() {
            return Err(failure::cut_off(&self.asked.provider));
        }
        if self.chunks == 0 {
            return Err(failure::protocol(&self.asked.provider, "ended without an answer"));
        }
        name_calls(&self.asked, &mut self.calls);
        let message = self.message();
        for call in &mut self.calls {
            call.arguments = or_empty_object(std::mem::take(&mut call.arguments));
        }
        let (usage, usage_known) = usage_or_estimate(self.usage, &self.asked, self.meter.bytes());
        let stop = if self.refusal.is_empty() { self.stop()? } else { Stop::Refusal };
        let turn = ModelTurn {
            id: std::mem::take(&mut self.id),
            model: std::mem::take(&mut self.model),
            text: std::mem::take(&mut self.text) + &self.refusal,
            calls: std::mem::take(&mut self.calls),
            stop,
            usage,
            usage_known,
            items: vec![message],
        };
        Ok(super::understood(&self.asked, turn))
    }
}

#[cfg(test)]
mod tests;
