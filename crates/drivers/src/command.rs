//! The driver `command`: any program that changes the workspace, once a round.
//!
//! It owns which round it is and what the last verification said. It must never interpret the
//! program's output: only its exit code counts.

use std::collections::BTreeMap;

use journeyman_domain::driver::{Action, Assignment, Driver, Observation};
use journeyman_domain::tool::{Ended, Exec, Tool, ToolCall, head_and_tail};

/// Bytes of evidence kept from its head and from its tail: an argument may have 128 KiB.
const EVIDENCE_BYTES: usize = 16 * 1024;

/// Runs `Assignment::command` with `{prompt}` and `{workspace}` put in.
pub(crate) struct Command {
    assignment: Assignment,
    round: u32,
    action: Action,
}

impl Command {
    pub(crate) fn new(assignment: Assignment) -> Self {
        let action = call(&assignment, 1, None);
        Self { assignment, round: 1, action }
    }
}

impl Driver for Command {
    fn next(&mut self) -> Action {
        self.action.clone()
    }

    fn observe(&mut self, observation: Observation) {
        match (observation, &self.action) {
            (Observation::CallEnded { result, output }, Action::Call(asked))
                if result.call_id == asked.call_id =>
            {
                self.action = if result.ended.is_success() {
                    Action::Finished { summary: format!("{} ended with exit code 0", asked.title) }
                } else {
                    Action::Stuck { reason: failure(&asked.title, &result.ended, &output) }
                };
            }
            // It knows no model, and limits are the runtime's.
            (
                Observation::CallEnded { .. }
                | Observation::ModelAnswered { .. }
                | Observation::ModelFailed { .. }
                | Observation::Resumed { .. },
                _,
            ) => {}
            (Observation::RoundFailed { evidence }, _) => {
                self.round += 1;
                self.action = call(&self.assignment, self.round, Some(&evidence));
            }
        }
    }
}

fn call(assignment: &Assignment, round: u32, evidence: Option<&str>) -> Action {
    let Some(program) = assignment.command.first() else {
        return Action::Stuck { reason: "no command is given to run".to_owned() };
    };
    let evidence = evidence.map(|text| match head_and_tail(text, EVIDENCE_BYTES) {
        (head, Some(tail)) => format!("{head}\n[…]\n{tail}"),
        (all, None) => all,
    });
    let mut prompt = assignment.prompt.clone();
    if let Some(evidence) = &evidence {
        prompt.push_str("\n\nThe last attempt was checked and found wanting:\n");
        prompt.push_str(evidence);
    }
    let argv = assignment
        .command
        .iter()
        .map(|argument| fill(argument, &prompt, &assignment.workspace))
        .collect();
    let mut env = BTreeMap::from([
        ("JOURNEYMAN_PROMPT".to_owned(), without_nul(&prompt)),
        ("JOURNEYMAN_ROUND".to_owned(), round.to_string()),
    ]);
    if let Some(evidence) = evidence {
        env.insert("JOURNEYMAN_EVIDENCE".to_owned(), without_nul(&evidence));
    }
    Action::Call(ToolCall {
        call_id: format!("command-{round}"),
        title: program.clone(),
        tool: Tool::Exec(Exec { argv, env, network: assignment.network, ..Exec::default() }),
    })
}

/// One pass from left to right, so that a placeholder inside the prompt stays what it is.
fn fill(argument: &str, prompt: &str, workspace: &str) -> String {
    let mut filled = String::new();
    let mut rest = argument;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let (value, skip) = if rest.starts_with("{prompt}") {
            (prompt, "{prompt}".len())
        } else if rest.starts_with("{workspace}") {
            (workspace, "{workspace}".len())
        } else {
            ("{", 1)
        };
        filled.push_str(value);
        rest = &rest[skip..];
    }
    filled.push_str(rest);
    without_nul(&filled)
}

/// No program can be given a NUL byte.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// One line on why a program did not succeed, with the last line that it wrote.
pub(crate) fn failure(title: &str, ended: &Ended, output: &str) -> String {
    let how = match ended {
        Ended::Exited { code } => format!("ended with exit code {code}"),
        Ended::Signalled { signal } => format!("was ended by signal {signal}"),
        Ended::TimedOut { after_ms } => format!("did not end within {after_ms} ms"),
        Ended::Refused { reason } => return format!("{title} could not be started: {reason}"),
        Ended::Interrupted => "was interrupted".to_owned(),
    };
    match output.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!("{title} {how}: {}", head_and_tail(line, 150).0),
        None => format!("{title} {how}"),
    }
}

#[cfg(test)]
mod tests {
    use journeyman_domain::tool::ToolResult;

    use super::*;

    fn assignment(command: &[&str]) -> Assignment {
        Assignment {
            prompt: "use {workspace} \0well".into(),
            command: command.iter().map(ToString::to_string).collect(),
            workspace: "/w s".into(),
            ..Assignment::default()
        }
    }

    fn exec(action: Action) -> (String, Exec) {
        match action {
            Action::Call(ToolCall { call_id, tool: Tool::Exec(exec), .. }) => (call_id, exec),
            other @ (Action::Call(_)
            | Action::Reads { .. }
            | Action::Ask(_)
            | Action::Exhausted { .. }
            | Action::Finished { .. }
            | Action::Stuck { .. }) => {
                panic!("no program: {other:?}")
            }
        }
    }

    fn ended(call_id: &str, ended: Ended, output: &str) -> Observation {
        let result = ToolResult {
            call_id: call_id.into(),
            ended,
            head: String::new(),
            tail: None,
            output_bytes: 0,
            duration_ms: 1,
            changed: true,
        };
        Observation::CallEnded { result, output: output.into() }
    }

    #[test]
    fn placeholders_are_literal_and_filled_once() {
        let mut driver =
            Command::new(assignment(&["p", "--x={prompt}{other}{", "{workspace}/{prompt"]));
        let (id, exec) = exec(driver.next());
        assert_eq!(exec.argv, ["p", "--x=use {workspace} \u{fffd}well{other}{", "/w s/{prompt"]);
        assert_eq!((id.as_str(), exec.env["JOURNEYMAN_ROUND"].as_str()), ("command-1", "1"));
        assert!(!exec.env.contains_key("JOURNEYMAN_EVIDENCE"));
    }

    #[test]
    fn a_failed_round_runs_again_with_the_evidence() {
        let mut driver = Command::new(assignment(&["p", "{prompt}"]));
        driver.observe(ended("another call", Ended::Exited { code: 0 }, ""));
        assert!(matches!(driver.next(), Action::Call(_)), "a foreign result changes nothing");
        driver.observe(ended("command-1", Ended::Exited { code: 0 }, ""));
        assert!(matches!(driver.next(), Action::Finished { .. }));
        let evidence = format!("test a failed{}end", "ü".repeat(100_000));
        driver.observe(Observation::RoundFailed { evidence });
        let (id, exec) = exec(driver.next());
        assert_eq!((id.as_str(), exec.env["JOURNEYMAN_ROUND"].as_str()), ("command-2", "2"));
        let given = &exec.env["JOURNEYMAN_EVIDENCE"];
        assert!(
            given.starts_with("test a failed") && given.ends_with("end") && given.len() < 40_000
        );
        assert!(
            exec.argv[1].ends_with(given.as_str()) && exec.argv[1].starts_with("use {workspace}")
        );
        driver.observe(ended("command-2", Ended::Exited { code: 3 }, "working\nno key\n\n"));
        assert_eq!(
            driver.next(),
            Action::Stuck { reason: "p ended with exit code 3: no key".into() }
        );
    }

    #[test]
    fn no_command_is_said_and_not_run() {
        let mut driver = Command::new(assignment(&[]));
        assert_eq!(driver.next(), Action::Stuck { reason: "no command is given to run".into() });
    }
}
