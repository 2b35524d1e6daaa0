//! Room for the next answer: in the limits of the run and in the context window.
//!
//! It owns when a conversation is made shorter. It must never ask for more than there is room for.

use journeyman_domain::driver::Action;
use journeyman_domain::model::{Item, ModelRequest, ModelTurn, Stop, estimated_tokens};

use super::budget::Short;
use super::{Native, State, compact};

/// Overflows of the context window in a row, at which the run ends.
const OVERFLOWS: u32 = 3;

impl Native {
    /// The request, with as much room for the answer as there is.
    pub(super) fn ask(&self, mut request: ModelRequest) -> Action {
        let input = self.budget.corrected(request.estimated_tokens());
        match self.budget.room(&self.model, input) {
            Ok(room) => {
                request.input_tokens = input;
                request.max_output_tokens = room;
                Action::Ask(request)
            }
            Err(Short::Limit(hit)) => Action::Exhausted { hit },
            Err(Short::Window) => too_long(),
        }
    }

    /// The same before it is corrected by what the provider counted.
    pub(super) fn estimate(&self, items: &[Item]) -> u64 {
        estimated_tokens(&self.system, &self.tools, items)
    }

    /// Tokens that a request with these items has, roughly.
    pub(super) fn tokens(&self, items: &[Item]) -> u64 {
        self.budget.corrected(self.estimate(items))
    }

    /// Asks for a hand-off by a request of at most so many tokens.
    pub(super) fn compact(&mut self, most: u64) {
        let mut items = self.items.clone();
        let most = most.min(self.model.context_window);
        let fits = |items: &[Item]| {
            let tokens = self.tokens(&compact::request(items.to_vec()));
            tokens <= most && self.budget.room(&self.model, tokens) != Err(Short::Window)
        };
        if compact::leave_out(&mut items, fits) && compact::has_turns(&items) {
            self.state = State::Compacting(compact::request(items));
        } else {
            self.leave_out();
        }
    }

    /// Makes room without the model.
    pub(super) fn leave_out(&mut self) {
        let most = self.half(&self.items);
        let mut items = std::mem::take(&mut self.items);
        // What stays of a conversation without turns is tried, however long it is.
        compact::leave_out(&mut items, |items| self.tokens(items) <= most);
        self.items = items;
        self.compacted();
    }

    /// Tokens of a conversation whose turns have half of what they have now, or of what the window
    /// leaves them.
    pub(super) fn half(&self, items: &[Item]) -> u64 {
        let fixed = self.tokens(&items[..items.len().min(1)]);
        let most = self.tokens(items).min(self.model.context_window.max(fixed));
        fixed + most.saturating_sub(fixed) / 2
    }

    pub(super) fn compacted(&mut self) {
        let tokens = self.tokens(&self.items);
        let is_full = self.budget.room(&self.model, tokens) == Err(Short::Window);
        self.state = if is_full { State::Ended(too_long()) } else { State::Asking };
        // What was to be said meanwhile.
        if !is_full && !self.notes.is_empty() {
            let text = std::mem::take(&mut self.notes).join("\n\n");
            self.items.push(Item::User { text });
        }
    }

    pub(super) fn handed_off(&mut self, turn: &ModelTurn) {
        let words = match turn.stop {
            Stop::Refusal | Stop::ContextWindow => "",
            Stop::End | Stop::ToolCalls | Stop::Length | Stop::Paused => turn.text.as_str(),
        };
        match compact::handed_off(&self.items, words, self.model.context_window) {
            Some(items) => {
                self.items = items;
                self.compacted();
            }
            None => self.leave_out(),
        }
    }

    /// The provider's window is smaller than thought: half of the conversation is asked to be handed
    /// off; if that does not help, it is left out.
    pub(super) fn overflowed(&mut self) {
        self.overflows += 1;
        if self.overflows >= OVERFLOWS || !compact::has_turns(&self.items) {
            self.state = State::Ended(too_long());
        } else if self.overflows == 1 && matches!(self.state, State::Asking) {
            self.compact(self.half(&compact::request(self.items.clone())));
        } else {
            self.leave_out();
        }
    }
}

/// The end of a run that has no room in the window.
pub(super) fn too_long() -> Action {
    let reason = "the task and what is known of it do not fit into the model's context window";
    Action::Stuck { reason: reason.to_owned() }
}
