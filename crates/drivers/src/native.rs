//! The driver `native`: our own loop on a model.
//!
//! It asks the model, has its calls done, answers them all at once and asks again, until the model
//! answers without a call. It owns the conversation, which is a function of what it observed alone.
//! It must never act on a malformed call, leave a call without an answer, or take the model's word
//! for a result.

mod budget;
mod calls;
mod compact;
mod conversation;
mod output;
mod room;
mod stuck;
mod tools;
mod turn;

use journeyman_domain::driver::{Action, Assignment, Driver, Observation};
use journeyman_domain::limits::Limits;
use journeyman_domain::model::{
    FailureKind, Item, ModelFailure, ModelRequest, ModelSettings, ModelTurn, Stop, ToolSpec,
};

use budget::{Budget, Short};
use calls::Toolbox;
use conversation::NEW_LIMITS;
use room::too_long;
use stuck::Loops;
use turn::Batch;

/// Characters of a summary or a reason for a person.
const WORDS: usize = 8_000;

/// The driver at the start of a run.
pub(crate) fn build(mut assignment: Assignment, limits: &Limits) -> Box<dyn Driver> {
    match assignment.model.take() {
        Some(model) => Box::new(Native::new(&assignment, model, limits.clone())),
        None => Box::new(WithoutModel),
    }
}

/// Where the settings name no model.
struct WithoutModel;

impl Driver for WithoutModel {
    fn next(&mut self) -> Action {
        Action::Stuck { reason: "no model is set for this run".to_owned() }
    }

    fn observe(&mut self, _: Observation) {}
}

/// See the module.
struct Native {
    model: ModelSettings,
    system: String,
    tools: Vec<ToolSpec>,
    toolbox: Toolbox,
    items: Vec<Item>,
    /// What the model is told beside the answers to its calls.
    notes: Vec<String>,
    budget: Budget,
    loops: Loops,
    /// Answers of the model so far.
    turns: u32,
    /// In a row, each.
    malformed: u32,
    pauses: u32,
    overflows: u32,
    state: State,
}

enum State {
    /// The model is asked.
    Asking,
    /// The model is asked for a hand-off by this request.
    Compacting(Vec<Item>),
    /// The calls of its last turn are done.
    Calling(Batch),
    /// It is over, unless a verification says otherwise.
    Ended(Action),
}

impl Driver for Native {
    fn next(&mut self) -> Action {
        match &self.state {
            State::Asking => self.ask(self.request(self.items.clone())),
            State::Compacting(items) => {
                self.ask(ModelRequest { may_call: false, ..self.request(items.clone()) })
            }
            State::Calling(batch) => {
                batch.action().unwrap_or_else(|| self.ask(self.request(self.items.clone())))
            }
            State::Ended(action) => action.clone(),
        }
    }

    fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::CallEnded { result, output } => self.call_ended(&result, &output),
            Observation::ModelAnswered { turn, cost_nanousd, failed_tokens, elapsed_ms } => {
                self.budget.billed(cost_nanousd, turn.usage.total().saturating_add(failed_tokens));
                self.answered(turn, elapsed_ms);
            }
            Observation::ModelFailed { failure, cost_nanousd, tokens } => {
                self.budget.billed(cost_nanousd, tokens);
                if let Some(failure) = failure {
                    self.failed(&failure);
                }
            }
            Observation::Resumed { limits } => self.resumed(limits),
            Observation::RoundFailed { evidence } => self.round_failed(&evidence),
        }
    }
}

impl Native {
    fn new(assignment: &Assignment, model: ModelSettings, limits: Limits) -> Self {
        let patching = tools::is_patching(&model.model);
        let text = conversation::first(assignment, model.context_window);
        let mut native = Self {
            system: assignment.instructions.clone(),
            tools: tools::specs(patching),
            toolbox: Toolbox {
                patching,
                workspace: assignment.workspace.clone(),
                network: assignment.network,
                call_timeout_ms: limits.call_timeout_ms,
            },
            items: vec![Item::User { text }],
            notes: Vec::new(),
            budget: Budget::new(limits),
            loops: Loops::default(),
            turns: 0,
            malformed: 0,
            pauses: 0,
            overflows: 0,
            state: State::Asking,
            model,
        };
        native.go_on();
        native
    }

    fn request(&self, items: Vec<Item>) -> ModelRequest {
        ModelRequest {
            system: self.system.clone(),
            items,
            tools: self.tools.clone(),
            may_call: true,
            input_tokens: 0,
            max_output_tokens: self.model.max_output_tokens,
        }
    }

    /// At the border between two steps: says what is to be said, and asks, if need be for a hand-off.
    fn go_on(&mut self) {
        self.budget.expect(&self.model, self.tokens(&self.items));
        self.notes.extend(self.budget.news());
        if !self.notes.is_empty() {
            let text = std::mem::take(&mut self.notes).join("\n\n");
            self.items.push(Item::User { text });
        }
        self.state = State::Asking;
        let tokens = self.tokens(&self.items);
        if tokens.saturating_mul(10) <= self.model.context_window.saturating_mul(8) {
            return;
        }
        if compact::has_turns(&self.items) {
            self.compact(self.model.context_window);
        } else if self.budget.room(&self.model, tokens) == Err(Short::Window) {
            self.state = State::Ended(too_long());
        }
    }

    fn answered(&mut self, turn: ModelTurn, elapsed_ms: u64) {
        let (asked, is_hand_off) = match &self.state {
            State::Asking => (&self.items, false),
            State::Compacting(items) => (items, true),
            State::Calling(_) | State::Ended(_) => return,
        };
        let estimate = self.estimate(asked);
        self.budget.answered(estimate, &turn, elapsed_ms);
        self.turns += 1;
        if is_hand_off {
            return self.handed_off(&turn);
        }
        match turn.stop {
            Stop::Refusal => {
                let said = output::cut(turn.text.trim(), WORDS);
                let said = if said.is_empty() { "it gave no reason".to_owned() } else { said };
                self.stuck(format!("the model refused: {said}"));
            }
            Stop::ContextWindow => self.overflowed(),
            Stop::End | Stop::ToolCalls | Stop::Length | Stop::Paused => {
                self.overflows = 0;
                if turn.calls.is_empty() { self.said(turn) } else { self.called(turn) }
            }
        }
    }

    fn failed(&mut self, failure: &ModelFailure) {
        match self.state {
            State::Asking | State::Compacting(_) => {}
            State::Calling(_) | State::Ended(_) => return,
        }
        if failure.kind == FailureKind::ContextOverflow {
            self.overflowed();
        } else {
            let said = output::cut(&failure.message, WORDS);
            self.stuck(format!("the model could not answer: {said}"));
        }
    }

    fn resumed(&mut self, limits: Limits) {
        if self.budget.resumed(limits) {
            self.toolbox.call_timeout_ms = self.budget.call_timeout_ms();
            match self.state {
                State::Asking => {
                    self.notes.push(NEW_LIMITS.to_owned());
                    self.go_on();
                }
                State::Compacting(_) | State::Calling(_) => self.notes.push(NEW_LIMITS.to_owned()),
                State::Ended(_) => {}
            }
        }
    }

    fn round_failed(&mut self, found: &str) {
        self.give_up();
        (self.malformed, self.pauses, self.overflows) = (0, 0, 0);
        self.items.push(Item::User { text: conversation::evidence(found) });
        self.go_on();
    }

    fn stuck(&mut self, reason: String) {
        self.state = State::Ended(Action::Stuck { reason });
    }
}

#[cfg(test)]
mod tests;
