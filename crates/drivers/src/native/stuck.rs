//! Whether a model goes round in circles.
//!
//! It owns what was done lately, as hashes of actions and of their results; a model's words do not
//! count. It must never hold waiting for a process against a model.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use journeyman_domain::tool::{Ended, Tool, ToolCall};

/// The same action with the same result, in a row.
const REPEATS: usize = 4;

/// The same action with the same error, in a row.
const ERRORS: usize = 3;

/// Two actions in turn, each with the same result.
const ALTERNATIONS: usize = 6;

/// What the last action is a sign of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Sign {
    /// Nothing.
    #[default]
    Fine,
    /// The model is told this.
    Nudge(String),
    /// It goes on no more, for this reason.
    Stuck(String),
}

/// The last actions.
#[derive(Default)]
pub(super) struct Loops {
    recent: VecDeque<Seen>,
    trips: u32,
}

#[derive(PartialEq, Eq)]
struct Seen {
    action: u64,
    result: u64,
    is_error: bool,
}

impl Loops {
    /// Takes in a call that ended.
    pub(super) fn saw(&mut self, call: &ToolCall, ended: &Ended, output: &str) -> Sign {
        if is_waiting(&call.tool) {
            return Sign::Fine;
        }
        let is_error = !ended.is_success();
        let seen = Seen { action: action(&call.tool), result: result(ended, output), is_error };
        self.recent.push_back(seen);
        if self.recent.len() > ALTERNATIONS {
            self.recent.pop_front();
        }
        let title = &call.title;
        let repeated = self.repeated();
        if is_error && repeated >= ERRORS {
            return Sign::Stuck(format!("'{title}' failed {repeated} times in the same way"));
        }
        if is_error && repeated + 1 == ERRORS {
            return Sign::Nudge(format!(
                "'{title}' failed twice in the same way. Doing it again will fail again, and then \
                 the run ends. Read the message, look at the state, and do something else."
            ));
        }
        if repeated >= REPEATS {
            return self.trip(format!("'{title}' was done {repeated} times with the same result"));
        }
        if self.alternates() {
            return self.trip(format!(
                "two actions, the last of them '{title}', were done in turn three times each with \
                 the same results"
            ));
        }
        Sign::Fine
    }

    fn trip(&mut self, what: String) -> Sign {
        self.trips += 1;
        self.recent.clear();
        if self.trips > 1 {
            return Sign::Stuck(what);
        }
        Sign::Nudge(format!(
            "You go round in circles: {what}. Nothing new can come of it. Stop, say to yourself \
             what you know and what you do not, and take another way; or, if the task is done or \
             cannot be done, end with a summary that says so. Another such circle ends the run."
        ))
    }

    /// How often the last action was done in a row with the same result.
    fn repeated(&self) -> usize {
        let last = self.recent.back();
        self.recent.iter().rev().take_while(|seen| Some(*seen) == last).count()
    }

    fn alternates(&self) -> bool {
        let recent = &self.recent;
        recent.len() == ALTERNATIONS
            && recent[0] != recent[1]
            && (2..ALTERNATIONS).all(|at| recent[at] == recent[at - 2])
    }
}

/// The hash of what is done: the tool and its arguments, whose order in their form is fixed.
fn action(tool: &Tool) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(tool).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

/// The hash of how it ended, but for white space and for how long things took.
fn result(ended: &Ended, output: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(ended).unwrap_or_default().hash(&mut hasher);
    for word in output.split_whitespace().filter(|word| !is_duration(word)) {
        word.hash(&mut hasher);
    }
    hasher.finish()
}

/// Whether a word is a time span as test runners print it: "0.03s", "(12ms)".
fn is_duration(word: &str) -> bool {
    let word = word.trim_matches(|c: char| matches!(c, '(' | ')' | '[' | ']' | ',' | ';' | '.'));
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    unit.len() < word.len() && matches!(unit, "s" | "ms" | "µs" | "us" | "ns")
}

/// Whether a command only waits for a process or looks whether it lives.
fn is_waiting(tool: &Tool) -> bool {
    let Tool::Exec(exec) = tool else {
        return false;
    };
    let [_, _, command] = exec.argv.as_slice() else {
        return false;
    };
    let command = command.replace("2>&1", "").replace("2>/dev/null", "");
    let mut parts = command
        .split([';', '\n', '|', '&'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .peekable();
    parts.peek().is_some()
        && parts.all(|part| {
            let mut words = part.split_whitespace();
            match words.next() {
                Some("sleep" | "wait" | "ps" | "jobs" | "pgrep") => true,
                Some("kill") => words.next() == Some("-0"),
                Some(_) | None => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use journeyman_domain::tool::Exec;
    use proptest::prelude::*;

    use super::*;

    fn bash(command: &str) -> ToolCall {
        let argv = ["bash", "-c", command].map(String::from).to_vec();
        ToolCall {
            call_id: "x".into(),
            title: format!("bash: {command}"),
            tool: Tool::Exec(Exec { argv, ..Exec::default() }),
        }
    }

    /// Each step is a command, its exit code and its output; the answer has one letter a step.
    fn signs(steps: &[(&str, i32, &str)]) -> String {
        let mut loops = Loops::default();
        let sign = |(command, code, output): &(&str, i32, &str)| match loops.saw(
            &bash(command),
            &Ended::Exited { code: *code },
            output,
        ) {
            Sign::Fine => '.',
            Sign::Nudge(_) => 'n',
            Sign::Stuck(_) => 'S',
        };
        steps.iter().map(sign).collect()
    }

    #[test]
    fn the_same_with_the_same_result_is_a_circle_at_the_fourth_time() {
        assert_eq!(signs(&[("ls", 0, "a"); 8]), "...n...S");
        let running = ["0.03s", "0.04s", "(12ms)", "1s"];
        let steps = running.map(|time| ("cargo test", 0, time));
        assert_eq!(signs(&steps), "...n", "how long it took is no news");
        let steps = ["1", "2", "3", "4", "5"].map(|output| ("make", 0, output));
        assert_eq!(signs(&steps), ".....");
    }

    #[test]
    fn the_same_error_ends_it_at_the_third_time() {
        assert_eq!(signs(&[("make", 2, "no rule"); 3]), ".nS");
        let steps =
            [("make", 2, "a"), ("make", 2, "b"), ("make", 2, "b"), ("ls", 0, ""), ("make", 2, "b")];
        assert_eq!(signs(&steps), "..n..");
    }

    #[test]
    fn two_actions_in_turn_are_a_circle() {
        let pair = [("cat a", 0, "a"), ("make", 1, "wrong")];
        assert_eq!(signs(&pair.repeat(6)), ".....n.....S");
    }

    #[test]
    fn waiting_does_not_count() {
        for command in ["sleep 5", "sleep 1; kill -0 7", "ps aux | pgrep x", "wait && jobs 2>&1"] {
            assert_eq!(signs(&[(command, 1, ""); 9]), ".".repeat(9), "{command}");
        }
        let steps =
            [("ls", 0, "a"), ("ls", 0, "a"), ("sleep 5", 0, ""), ("ls", 0, "a"), ("ls", 0, "a")];
        assert_eq!(signs(&steps), "....n", "nor does it hide a circle");
        for command in ["kill 7", "sleep 1; ls", "psql", "echo wait"] {
            assert!(!is_waiting(&bash(command).tool), "{command}");
        }
    }

    proptest! {
        #[test]
        fn news_at_every_step_are_never_a_circle(outputs in prop::collection::vec(any::<u32>(), 0..30)) {
            let mut loops = Loops::default();
            for (at, output) in outputs.iter().enumerate() {
                let sign = loops.saw(&bash("x"), &Ended::Exited { code: 0 }, &format!("{at} {output}"));
                prop_assert_eq!(sign, Sign::Fine);
            }
        }

        #[test]
        fn any_endless_circle_of_one_or_two_ends_the_run(
            first in 0..3i32, second in 0..3i32, before in prop::collection::vec((0..4u8, 0..2i32), 0..10)
        ) {
            let mut loops = Loops::default();
            for (command, code) in before {
                loops.saw(&bash(&command.to_string()), &Ended::Exited { code }, "");
            }
            let mut stuck = false;
            for at in 0..20 {
                let (name, code) = if at % 2 == 0 { ("a", first) } else { ("b", second) };
                let sign = loops.saw(&bash(name), &Ended::Exited { code }, "");
                stuck |= matches!(sign, Sign::Stuck(_));
            }
            prop_assert!(stuck);
        }
    }
}
