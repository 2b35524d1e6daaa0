mod limits;
mod properties;
mod script;

use journeyman_domain::model::{Price, TokenUsage, ToolAnswer, ToolMode, Wire};
use journeyman_domain::status::DriverKind;
use journeyman_domain::tool::{Ended, ToolCall, ToolResult};
use serde_json::json;

use super::conversation::{CUT_OFF, EMPTY, REAL_CALLS};
use super::turn::{CALLS, PAUSES};
use super::*;

/// A run whose model and whose tools are the test itself.
struct Play {
    driver: Box<dyn Driver>,
}

fn model(name: &str, context_window: u64) -> ModelSettings {
    ModelSettings {
        provider: "p".into(),
        wire: Wire::AnthropicMessages,
        model: name.into(),
        tool_mode: ToolMode::Native,
        context_window,
        max_output_tokens: 2_000,
        temperature: None,
        price: None,
    }
}

fn assignment(model: ModelSettings) -> Assignment {
    Assignment {
        prompt: "Mend it.".into(),
        files: vec!["a.txt".into()],
        workspace: "/w".into(),
        model: Some(model),
        instructions: "You mend.".into(),
        ..Assignment::default()
    }
}

fn turn(text: &str, calls: &[(&str, &str)], stop: Stop) -> ModelTurn {
    let calls: Vec<_> = calls
        .iter()
        .enumerate()
        .map(|(at, (name, arguments))| journeyman_domain::model::CallRequest {
            call_id: format!("p{at}"),
            name: (*name).to_owned(),
            arguments: (*arguments).to_owned(),
        })
        .collect();
    let items = vec![json!({ "text": text, "calls": calls })];
    ModelTurn {
        id: "id".into(),
        model: "m".into(),
        text: text.into(),
        calls,
        stop,
        usage: TokenUsage::default(),
        usage_known: false,
        items,
    }
}

fn result(call_id: &str, ended: Ended) -> ToolResult {
    ToolResult {
        call_id: call_id.into(),
        ended,
        head: String::new(),
        tail: None,
        output_bytes: 0,
        duration_ms: 1,
        changed: true,
    }
}

impl Play {
    fn new() -> Self {
        Self::with(model("claude", 100_000), &Limits::default())
    }

    fn with(model: ModelSettings, limits: &Limits) -> Self {
        Self { driver: crate::build(DriverKind::Native, assignment(model), limits) }
    }

    fn next(&mut self) -> Action {
        let action = self.driver.next();
        assert_eq!(self.driver.next(), action, "asked again it answers the same");
        action
    }

    /// The request that the model gets.
    fn request(&mut self) -> ModelRequest {
        match self.next() {
            Action::Ask(request) => request,
            other @ (Action::Call(_)
            | Action::Reads { .. }
            | Action::Exhausted { .. }
            | Action::Finished { .. }
            | Action::Stuck { .. }) => panic!("the model is not asked: {other:?}"),
        }
    }

    /// The last item that the model gets, as text.
    fn told(&mut self) -> String {
        match self.request().items.pop().unwrap() {
            Item::User { text } => text,
            Item::ToolResults { answers } => {
                let mut told = String::new();
                for ToolAnswer { call_id, output, is_error } in answers {
                    told.push_str(&format!("{call_id} {is_error}: {output}\n"));
                }
                told
            }
            Item::Assistant { turn } => format!("assistant: {}", turn.text),
        }
    }

    fn answer(&mut self, turn: ModelTurn) -> &mut Self {
        self.request();
        let answered =
            Observation::ModelAnswered { turn, cost_nanousd: 0, failed_tokens: 0, elapsed_ms: 1 };
        self.driver.observe(answered);
        self
    }

    fn says(&mut self, text: &str) -> &mut Self {
        self.answer(turn(text, &[], Stop::End))
    }

    fn calls(&mut self, calls: &[(&str, &str)]) -> &mut Self {
        self.answer(turn("", calls, Stop::ToolCalls))
    }

    /// The open call ends.
    fn ends(&mut self, code: i32, output: &str) -> &mut Self {
        let call_id = match self.next() {
            Action::Call(call) => call.call_id,
            Action::Reads { calls } => calls[0].call_id.clone(),
            other @ (Action::Ask(_)
            | Action::Exhausted { .. }
            | Action::Finished { .. }
            | Action::Stuck { .. }) => panic!("nothing is called: {other:?}"),
        };
        self.ended(&call_id, code, output)
    }

    fn ended(&mut self, call_id: &str, code: i32, output: &str) -> &mut Self {
        let result = result(call_id, Ended::Exited { code });
        self.driver.observe(Observation::CallEnded { result, output: output.into() });
        self
    }

    fn bash(&mut self, command: &str, code: i32, output: &str) -> &mut Self {
        self.calls(&[("bash", &json!({ "command": command }).to_string())]).ends(code, output)
    }

    fn overflows(&mut self) -> &mut Self {
        let failure = ModelFailure::of(FailureKind::ContextOverflow, "too long");
        self.driver.observe(given_up(failure));
        self
    }

    fn round_fails(&mut self, evidence: &str) -> &mut Self {
        self.driver.observe(Observation::RoundFailed { evidence: evidence.into() });
        self
    }

    fn stuck(&mut self) -> String {
        match self.next() {
            Action::Stuck { reason } => reason,
            other @ (Action::Call(_)
            | Action::Reads { .. }
            | Action::Ask(_)
            | Action::Exhausted { .. }
            | Action::Finished { .. }) => panic!("it goes on: {other:?}"),
        }
    }

    /// The titles of what is called next.
    fn called(&mut self) -> Vec<String> {
        let title = |call: ToolCall| format!("{} {}", call.call_id, call.title);
        match self.next() {
            Action::Call(call) => vec![title(call)],
            Action::Reads { calls } => calls.into_iter().map(title).collect(),
            Action::Ask(_)
            | Action::Exhausted { .. }
            | Action::Finished { .. }
            | Action::Stuck { .. } => Vec::new(),
        }
    }
}

/// A call that was given up and cost nothing.
fn given_up(failure: ModelFailure) -> Observation {
    Observation::ModelFailed { failure: Some(failure), cost_nanousd: 0, tokens: 0 }
}
