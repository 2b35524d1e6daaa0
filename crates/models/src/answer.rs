//! What is common to answers of all wires while they arrive.
//!
//! Owns: the reader's surface, the bound on an answer's size, identifiers of calls that came
//! without one, and estimates where a provider says no usage. Must never run a tool or judge the
//! arguments: they are the model's words, kept as they are.

use std::collections::BTreeSet;

use journeyman_domain::model::{
    CallRequest, FailureKind, ModelFailure, ModelTurn, TokenUsage, Wire,
};
use serde_json::Value;

use crate::failure;
use crate::sse::Event;
use crate::wire::anthropic_messages::AnthropicMessages;
use crate::wire::openai_chat::OpenAiChat;
use crate::wire::openai_responses::OpenAiResponses;

/// Bytes of text, reasoning and arguments that one answer may have.
pub(crate) const MOST_BYTES: usize = 16 * 1024 * 1024;

/// What a call is doing, for a live view and for the time to the first chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The headers of an answer with status 200 are there.
    Started,
    /// Visible text. Untrusted.
    Text(&'a str),
    /// So many bytes of reasoning.
    Reasoning(usize),
    /// So many bytes of a tool call's arguments.
    ToolArguments(usize),
}

/// Takes what a call reports.
pub(crate) type Report<'a> = dyn FnMut(Progress<'_>) + Send + 'a;

/// What a reader knows of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The provider's name, for sentences.
    pub(crate) provider: String,
    /// Turns of the model before this one, for identifiers that are made up.
    pub(crate) turn: usize,
    /// Bytes of the request, for estimates.
    pub(crate) request_bytes: usize,
    /// Whether the answer is one JSON object that stands for a call or for the last word.
    pub(crate) constrained: bool,
}

/// Whether an answer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// More events follow.
    More,
    /// The terminal event was there.
    Done,
}

/// Reads an answer of one wire.
pub(crate) trait Reader: Send {
    /// Takes one event of the stream.
    fn event(&mut self, event: &Event, report: &mut Report<'_>) -> Result<Flow, ModelFailure>;

    /// Takes an answer that came as one JSON object, not as a stream.
    fn whole(&mut self, answer: &Value, report: &mut Report<'_>) -> Result<(), ModelFailure>;

    /// What was used, as far as the provider said so.
    fn usage(&self) -> Option<TokenUsage>;

    /// Bytes of text, reasoning and arguments that came so far.
    fn bytes(&self) -> usize;

    /// The turn, once the stream ended.
    fn turn(&mut self) -> Result<ModelTurn, ModelFailure>;
}

/// The reader of a wire.
pub(crate) fn reader(wire: Wire, asked: Asked) -> Box<dyn Reader> {
    match wire {
        Wire::OpenAiChat => Box::new(OpenAiChat::new(asked)),
        Wire::OpenAiResponses => Box::new(OpenAiResponses::new(asked)),
        Wire::AnthropicMessages => Box::new(AnthropicMessages::new(asked)),
    }
}

/// Counts an answer's bytes and reports them.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    bytes: usize,
}

impl Meter {
    /// Bytes so far.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts and reports a piece.
    pub(crate) fn add(
        &mut self,
        asked: &Asked,
        piece: Progress<'_>,
        report: &mut Report<'_>,
    ) -> Result<(), ModelFailure> {
        let bytes = match piece {
            Progress::Started => 0,
            Progress::Text(text) => text.len(),
            Progress::Reasoning(bytes) | Progress::ToolArguments(bytes) => bytes,
        };
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MOST_BYTES {
            let what = format!("gave an answer of more than {MOST_BYTES} bytes");
            return Err(failure::protocol(&asked.provider, &what));
        }
        if bytes > 0 {
            report(piece);
        }
        Ok(())
    }
}

/// The data of an event as JSON.
pub(crate) fn json(asked: &Asked, data: &str) -> Result<Value, ModelFailure> {
    serde_json::from_str(data)
        .map_err(|_| failure::protocol(&asked.provider, "sent an event that is no JSON"))
}

/// The usage, or an estimate from lengths, and whether it is known.
pub(crate) fn usage_or_estimate(
    usage: Option<TokenUsage>,
    asked: &Asked,
    answer_bytes: usize,
) -> (TokenUsage, bool) {
    if let Some(usage) = usage {
        return (usage, true);
    }
    let tokens = |bytes: usize| bytes.div_ceil(4) as u64;
    let uncached_input = tokens(asked.request_bytes);
    let output = tokens(answer_bytes);
    (TokenUsage { uncached_input, output, ..TokenUsage::default() }, false)
}

/// What an answer that broke off has used: what the provider said, and no less output than came.
/// Where it said nothing, lengths are taken, since it bills what it has written: once a part of the
/// answer was there, and also before that where the connection, not the provider, ended it.
pub(crate) fn spent(reader: &dyn Reader, asked: &Asked, kind: FailureKind) -> Option<TokenUsage> {
    let (estimate, _) = usage_or_estimate(None, asked, reader.bytes());
    match (reader.usage(), kind) {
        (Some(usage), _) => Some(TokenUsage { output: usage.output.max(estimate.output), ..usage }),
        (None, FailureKind::Network | FailureKind::Timeout | FailureKind::Cancelled) => {
            Some(estimate)
        }
        (None, _) => (reader.bytes() > 0).then_some(estimate),
    }
}

/// Tokens of one class that are believed: no model has so many, and sums of them fit anywhere.
const MOST_TOKENS: u64 = 1_000_000_000;

/// Tokens at a path of keys; 0 where there are none.
pub(crate) fn count(usage: &Value, path: &[&str]) -> u64 {
    let mut at = usage;
    for key in path {
        match at.get(key) {
            Some(next) => at = next,
            None => return 0,
        }
    }
    at.as_u64().unwrap_or(0).min(MOST_TOKENS)
}

/// Gives each call an identifier of its own: one that is missing or was there before is replaced
/// by a made-up one, the same for the same answer.
pub(crate) fn name_calls(asked: &Asked, calls: &mut [CallRequest]) {
    let mut taken: BTreeSet<String> = calls.iter().map(|call| call.call_id.clone()).collect();
    let mut seen = BTreeSet::new();
    for (index, call) in calls.iter_mut().enumerate() {
        if call.call_id.is_empty() || !seen.insert(call.call_id.clone()) {
            let mut made_up = format!("call_{}_{index}", asked.turn);
            while !taken.insert(made_up.clone()) {
                made_up.push('x');
            }
            seen.insert(made_up.clone());
            call.call_id = made_up;
        }
    }
}

/// Arguments as text, however they came; none at all are an empty object.
pub(crate) fn arguments(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Arguments for a call: the empty text stands for the empty object.
pub(crate) fn or_empty_object(arguments: String) -> String {
    if arguments.trim().is_empty() { "{}".to_owned() } else { arguments }
}

#[cfg(test)]
mod damaged;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sse::Parser;

    pub(crate) fn asked() -> Asked {
        Asked { provider: "acme".into(), turn: 3, request_bytes: 400, constrained: false }
    }

    /// Reads a stream that comes in these pieces, as the client does.
    pub(crate) fn read_pieces(
        wire: Wire,
        asked: Asked,
        pieces: &[&[u8]],
    ) -> Result<ModelTurn, ModelFailure> {
        let mut reader = reader(wire, asked);
        let mut parser = Parser::default();
        for piece in pieces {
            for event in parser.feed(piece).unwrap() {
                if reader.event(&event, &mut |_| {})? == Flow::Done {
                    return reader.turn();
                }
            }
        }
        reader.turn()
    }

    /// Reads a stream, and again in random pieces: it must be the same.
    pub(crate) fn read(wire: Wire, asked: &Asked, stream: &str) -> Result<ModelTurn, ModelFailure> {
        let bytes = stream.as_bytes();
        let at_once = read_pieces(wire, asked.clone(), &[bytes]);
        let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..12);
        let config =
            ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(cuts in cuts)| {
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<_> = at.windows(2).map(|two| &bytes[two[0]..two[1]]).collect();
            prop_assert_eq!(&read_pieces(wire, asked.clone(), &pieces), &at_once);
        });
        at_once
    }

    /// A call.
    pub(crate) fn call(call_id: &str, name: &str, arguments: &str) -> CallRequest {
        CallRequest { call_id: call_id.into(), name: name.into(), arguments: arguments.into() }
    }

    #[test]
    fn every_call_gets_an_identifier_of_its_own() {
        let mut calls = ["a", "", "a", "call_3_1", ""].map(|id| call(id, "t", "{}"));
        name_calls(&asked(), &mut calls);
        let ids = calls.map(|call| call.call_id);
        assert_eq!(ids, ["a", "call_3_1x", "call_3_2", "call_3_1", "call_3_4"]);
    }

    #[test]
    fn without_usage_lengths_are_taken() {
        let known = TokenUsage { output: 1, ..TokenUsage::default() };
        assert_eq!(usage_or_estimate(Some(known), &asked(), 9), (known, true));
        let guess = TokenUsage { uncached_input: 100, output: 3, ..TokenUsage::default() };
        assert_eq!(usage_or_estimate(None, &asked(), 9), (guess, false));
    }

    #[test]
    fn an_answer_without_end_is_refused() {
        let mut meter = Meter::default();
        let mut seen = 0;
        let half = Progress::ToolArguments(MOST_BYTES / 2);
        for _ in 0..2 {
            meter.add(&asked(), half, &mut |_| seen += 1).unwrap();
        }
        let error = meter.add(&asked(), Progress::Text("x"), &mut |_| {}).unwrap_err();
        assert_eq!(error.message, "acme gave an answer of more than 16777216 bytes");
        assert_eq!(seen, 2);
    }
}
