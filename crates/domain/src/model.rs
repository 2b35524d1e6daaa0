//! What is said to a model and what it answers, whatever the wire.
//!
//! A conversation is a list of items that only grows. What a provider answered is kept as it came
//! ([`ModelTurn::items`]) and sent back unchanged: reasoning and its signatures are lost otherwise.

mod failure;
mod usage;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::failure::{FailureKind, ModelFailure, after_failure, retry_ms};
pub use self::usage::{Price, TokenUsage, dollars, nanousd};
use crate::status::vocabulary;

vocabulary! {
    /// How a provider is spoken to.
    Wire, "wire format" {
        /// `POST {base}/chat/completions`, which nearly every server speaks.
        OpenAiChat = "openai_chat",
        /// `POST {base}/responses`.
        OpenAiResponses = "openai_responses",
        /// `POST {base}/v1/messages`.
        AnthropicMessages = "anthropic_messages",
    }
}

vocabulary! {
    /// How a model calls tools.
    ToolMode, "tool mode" {
        /// By the provider's own tool calls.
        Native = "native",
        /// By one JSON object under a schema that the server enforces, for models that know no
        /// tools.
        JsonSchema = "json_schema",
    }
}

vocabulary! {
    /// Why a model stopped.
    Stop, "stop reason" {
        /// It had no more to say.
        End = "end",
        /// It wants its tool calls answered.
        ToolCalls = "tool_calls",
        /// The limit of output tokens cut it off; the last call's arguments may be cut.
        Length = "length",
        /// It refuses, or a content filter does.
        Refusal = "refusal",
        /// The context window is full.
        ContextWindow = "context_window",
        /// The provider paused a long turn; asking again with it goes on.
        Paused = "paused",
    }
}

/// The model of a run, as it was when the run started; journaled, so that a run goes on with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelSettings {
    /// The provider's name in the settings; its address and its key are looked up there.
    pub provider: String,
    /// How the provider is spoken to.
    pub wire: Wire,
    /// The model's name, as the provider knows it.
    pub model: String,
    /// How it calls tools.
    pub tool_mode: ToolMode,
    /// Tokens that request and answer may have together.
    pub context_window: u64,
    /// Tokens that one answer may have.
    pub max_output_tokens: u32,
    /// Sampling temperature; `None` is the provider's default.
    pub temperature: Option<f64>,
    /// What its tokens cost; `None` where nobody knows.
    pub price: Option<Price>,
}

/// One call of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRequest {
    /// What it is and how it shall work. Never changes within a run.
    pub system: String,
    /// The conversation so far. Only grows, but for a compaction.
    pub items: Vec<Item>,
    /// What it may call, in an order that never changes within a run.
    pub tools: Vec<ToolSpec>,
    /// Whether it may call them now. The tools stay what they are where it may not: the conversation
    /// speaks of them, and a provider's cache knows it with them.
    pub may_call: bool,
    /// Tokens that the request has, roughly: in the light of what the provider counted before.
    pub input_tokens: u64,
    /// Tokens that the answer may have.
    pub max_output_tokens: u32,
}

/// One item of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "snake_case")]
pub enum Item {
    /// What the runtime or the user says.
    User {
        /// The words.
        text: String,
    },
    /// What the model answered.
    Assistant {
        /// Its turn, as it came.
        turn: ModelTurn,
    },
    /// The answers to all calls of the turn before, in the order of the calls.
    ToolResults {
        /// The answers.
        answers: Vec<ToolAnswer>,
    },
}

/// A tool that a model may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name: letters, digits, `_`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// A JSON schema of type `object`; each `type` is a single word, since some servers take no
    /// lists.
    pub parameters: Value,
}

/// A call that a model asks for. Untrusted text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRequest {
    /// The provider's id of the call; made up where it gave none, and unique within the turn.
    pub call_id: String,
    /// The tool's name, as the model wrote it.
    pub name: String,
    /// The arguments, as the model wrote them: JSON, if all is well.
    pub arguments: String,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolAnswer {
    /// The call's id.
    pub call_id: String,
    /// What the model is told.
    pub output: String,
    /// Whether the call failed.
    pub is_error: bool,
}

/// What a model answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelTurn {
    /// The provider's id of the answer; empty where it gave none.
    pub id: String,
    /// The model that answered, by its own word.
    pub model: String,
    /// The visible text.
    pub text: String,
    /// The calls, in their order.
    pub calls: Vec<CallRequest>,
    /// Why it stopped.
    pub stop: Stop,
    /// What it used.
    pub usage: TokenUsage,
    /// Whether the provider said what it used; else `usage` is an estimate from lengths.
    pub usage_known: bool,
    /// The wire's own items (message, content blocks, output items), to be sent back unchanged.
    pub items: Vec<Value>,
}

impl ModelTurn {
    /// The same without the one character that PostgreSQL's texts cannot hold.
    #[must_use]
    pub fn storable(mut self) -> Self {
        for text in [&mut self.id, &mut self.model, &mut self.text] {
            make_storable(text);
        }
        for call in &mut self.calls {
            for text in [&mut call.call_id, &mut call.name, &mut call.arguments] {
                make_storable(text);
            }
        }
        self.items.iter_mut().for_each(make_value_storable);
        self
    }
}

fn make_storable(text: &mut String) {
    if text.contains('\0') {
        *text = text.replace('\0', "\u{fffd}");
    }
}

fn make_value_storable(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => make_storable(text),
        Value::Array(list) => list.iter_mut().for_each(make_value_storable),
        Value::Object(map) => {
            if map.keys().any(|key| key.contains('\0')) {
                let old = std::mem::take(map);
                map.extend(
                    old.into_iter().map(|(key, value)| (key.replace('\0', "\u{fffd}"), value)),
                );
            }
            map.values_mut().for_each(make_value_storable);
        }
    }
}

impl ModelRequest {
    /// A rough count of the tokens of the request: a quarter of its bytes.
    pub fn estimated_tokens(&self) -> u64 {
        estimated_tokens(&self.system, &self.tools, &self.items)
    }
}

/// The same of the parts of a request.
pub fn estimated_tokens(system: &str, tools: &[ToolSpec], items: &[Item]) -> u64 {
    let tools: usize = tools.iter().map(ToolSpec::bytes).sum();
    let items: usize = items.iter().map(Item::bytes).sum();
    (system.len() + tools + items) as u64 / 4
}

impl ToolSpec {
    fn bytes(&self) -> usize {
        self.name.len() + self.description.len() + json_bytes(&self.parameters)
    }
}

/// Bytes of a value as JSON, roughly: without what is escaped, since nothing is written for it.
fn json_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len() + 2,
        Value::Array(list) => list.iter().map(|item| json_bytes(item) + 1).sum::<usize>() + 2,
        Value::Object(map) => {
            map.iter().map(|(key, value)| key.len() + 4 + json_bytes(value)).sum::<usize>() + 2
        }
    }
}

impl Item {
    /// Bytes of its texts.
    pub fn bytes(&self) -> usize {
        match self {
            Self::User { text } => text.len(),
            Self::Assistant { turn } => turn.items.iter().map(json_bytes).sum(),
            Self::ToolResults { answers } => answers.iter().map(|answer| answer.output.len()).sum(),
        }
    }
}
