//! What follows an answer of the model: its calls are done and answered, or its words are taken.
//!
//! It owns when an answer counts as malformed. It must never leave a call without an answer.

use journeyman_domain::driver::Action;
use journeyman_domain::model::{Item, ModelTurn, Stop, ToolAnswer};
use journeyman_domain::tool::{EffectClass, ToolCall, ToolResult};

use super::calls::is_call_as_text;
use super::conversation::{CUT_OFF, EMPTY, REAL_CALLS};
use super::stuck::Sign;
use super::{Native, State, WORDS, output};

/// Calls of one turn that are done.
pub(super) const CALLS: usize = 128;

/// Turns in a row without one well-formed call, at which the run ends.
const MALFORMED: u32 = 3;

/// Turns in a row that the provider paused, at which the run ends.
pub(super) const PAUSES: u32 = 10;

/// The calls of one turn.
pub(super) struct Batch {
    /// The provider's ids, and the answers that are there.
    answers: Vec<(String, Option<ToolAnswer>)>,
    /// The well-formed ones, each with its place among the answers.
    calls: Vec<(usize, ToolCall)>,
    sign: Sign,
}

impl Batch {
    pub(super) fn open(&self) -> impl Iterator<Item = &(usize, ToolCall)> {
        self.calls.iter().filter(|(place, _)| self.answers[*place].1.is_none())
    }

    /// All that is left, where the whole turn only reads; else the next call.
    pub(super) fn action(&self) -> Option<Action> {
        let reads =
            self.calls.iter().all(|(_, call)| call.tool.effect_class(true) == EffectClass::Read);
        let mut open: Vec<ToolCall> = self.open().map(|(_, call)| call.clone()).collect();
        if reads && open.len() > 1 {
            return Some(Action::Reads { calls: open });
        }
        (!open.is_empty()).then(|| Action::Call(open.swap_remove(0)))
    }
}

impl Native {
    /// An answer without calls.
    pub(super) fn said(&mut self, turn: ModelTurn) {
        let text = turn.text.trim().to_owned();
        let is_paused = turn.stop == Stop::Paused;
        let nudge = match turn.stop {
            Stop::Paused => None,
            Stop::Length => Some((CUT_OFF, "answers that were cut off")),
            _ if text.is_empty() => Some((EMPTY, "empty answers")),
            Stop::ToolCalls => Some((REAL_CALLS, "answers without a real tool call")),
            _ if is_call_as_text(&text, &self.toolbox.names()) => {
                Some((REAL_CALLS, "answers without a real tool call"))
            }
            Stop::End | Stop::Refusal | Stop::ContextWindow => None,
        };
        // A provider takes no empty message; one that it paused must come back as it is.
        if is_paused || !text.is_empty() {
            self.items.push(Item::Assistant { turn });
        }
        if is_paused {
            self.pauses += 1;
            if self.pauses >= PAUSES {
                return self.stuck(format!("the provider paused {PAUSES} turns in a row"));
            }
            return self.go_on();
        }
        self.pauses = 0;
        if let Some((words, what)) = nudge {
            if !self.is_malformed(what) {
                self.notes.push(words.to_owned());
                self.go_on();
            }
        } else {
            self.malformed = 0;
            let summary = output::cut(&text, WORDS);
            self.state = State::Ended(Action::Finished { summary });
        }
    }

    /// An answer with calls.
    pub(super) fn called(&mut self, turn: ModelTurn) {
        let last = turn.calls.len() - 1;
        let mut batch = Batch { answers: Vec::new(), calls: Vec::new(), sign: Sign::Fine };
        for (place, call) in turn.calls.iter().enumerate() {
            let call_id = format!("t{}c{}", self.turns, place + 1);
            let is_cut = turn.stop == Stop::Length && place == last;
            let taken = if place < CALLS {
                self.toolbox.take(call, call_id, is_cut)
            } else {
                Err(format!("this was not done: one answer may have {CALLS} calls; too many"))
            };
            let answer = match taken {
                Ok(taken) => {
                    batch.calls.push((place, taken));
                    None
                }
                Err(output) => {
                    Some(ToolAnswer { call_id: call.call_id.clone(), output, is_error: true })
                }
            };
            batch.answers.push((call.call_id.clone(), answer));
        }
        self.pauses = 0;
        self.items.push(Item::Assistant { turn });
        if batch.calls.is_empty() {
            self.give(batch.answers);
            if !self.is_malformed("answers whose tool calls were malformed") {
                self.go_on();
            }
        } else {
            self.malformed = 0;
            self.state = State::Calling(batch);
        }
    }

    pub(super) fn call_ended(&mut self, result: &ToolResult, output: &str) {
        let State::Calling(batch) = &mut self.state else {
            return;
        };
        let ended = batch.open().find(|(_, call)| call.call_id == result.call_id).cloned();
        let Some((place, call)) = ended else {
            return;
        };
        let limit = output::limit(&call.tool, self.model.context_window, batch.calls.len());
        let (call_id, answer) = &mut batch.answers[place];
        *answer = Some(output::answer(call_id.clone(), &call.tool, result, output, limit));
        self.budget.called();
        let sign = self.loops.saw(&call, &result.ended, output);
        match (&batch.sign, &sign) {
            // What is nudged in this very turn has not been heard yet.
            (Sign::Stuck(_) | Sign::Nudge(_), _) | (_, Sign::Fine) => {}
            (Sign::Fine, Sign::Nudge(_) | Sign::Stuck(_)) => batch.sign = sign,
        }
        if batch.open().next().is_some() {
            return;
        }
        let answers = std::mem::take(&mut batch.answers);
        let sign = std::mem::take(&mut batch.sign);
        self.give(answers);
        match sign {
            Sign::Stuck(what) => self.stuck(format!("it went round in circles: {what}")),
            Sign::Nudge(words) => {
                self.notes.push(format!("[runtime] {words}"));
                self.go_on();
            }
            Sign::Fine => self.go_on(),
        }
    }

    /// Ends a turn whose calls are not all done.
    pub(super) fn give_up(&mut self) {
        if let State::Calling(batch) = &mut self.state {
            let answers = std::mem::take(&mut batch.answers);
            self.give(answers);
        }
    }

    /// Answers all calls of the last turn.
    pub(super) fn give(&mut self, answers: Vec<(String, Option<ToolAnswer>)>) {
        let answers = answers.into_iter().map(|(call_id, answer)| {
            answer.unwrap_or_else(|| ToolAnswer {
                call_id,
                output: "this was not done: the run went on without it".to_owned(),
                is_error: true,
            })
        });
        self.items.push(Item::ToolResults { answers: answers.collect() });
    }

    /// Counts a turn that nothing could be done with; whether it was one too many.
    fn is_malformed(&mut self, what: &str) -> bool {
        self.malformed += 1;
        let is_over = self.malformed >= MALFORMED;
        if is_over {
            self.stuck(format!("the model gave {MALFORMED} {what} in a row"));
        }
        is_over
    }
}
