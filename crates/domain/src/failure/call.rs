//! What a driver's call tells of a failure.

use super::{Evidence, Phase};
use crate::tool::{Ended, Tool, ToolCall};

/// The exit codes by which a launcher says that it could not start a program.
const NOT_STARTED: [i32; 2] = [126, 127];

/// The failure that a call is, where it is one. A program that was asked something and ends with
/// another code than 0 has answered; one that is the agent itself has failed. What the runtime's own
/// death cut off is no failure of the call.
pub fn call_evidence(call: &ToolCall, ended: &Ended, output: &str) -> Option<Evidence> {
    let source = match &call.tool {
        Tool::Exec(exec) => exec.argv.first().cloned().unwrap_or_default(),
        // A model's slip: it is told, and goes on.
        Tool::View { .. } | Tool::Replace { .. } | Tool::Write { .. } | Tool::Patch { .. } => {
            return None;
        }
        other @ (Tool::Edit { .. } | Tool::Restore { .. } | Tool::Read { .. }) => {
            other.name().to_owned()
        }
    };
    let mut evidence =
        Evidence { source: Some(source), ..Evidence::of(Phase::Act, output.to_owned()) };
    match ended {
        Ended::Exited { code: 0 } | Ended::Interrupted => return None,
        Ended::Exited { code } if NOT_STARTED.contains(code) || is_agent(&call.tool) => {
            evidence.exit_code = Some(*code);
        }
        Ended::Exited { .. } => return None,
        Ended::Signalled { signal } => evidence.signal = Some(*signal),
        Ended::TimedOut { .. } => evidence.timed_out = true,
        Ended::Refused { reason } => evidence.text = format!("{reason}\n{output}"),
    }
    Some(evidence)
}

/// Whether the program is the agent itself: only it is told what the user asked for.
fn is_agent(tool: &Tool) -> bool {
    matches!(tool, Tool::Exec(exec) if exec.env.contains_key("JOURNEYMAN_PROMPT"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::Exec;

    fn call(tool: Tool) -> ToolCall {
        ToolCall { call_id: "c".into(), title: "t".into(), tool }
    }

    #[test]
    fn a_probe_that_answers_has_not_failed() {
        let probe = Exec { argv: vec!["ruff".into(), "check".into()], ..Exec::default() };
        let mut agent = probe.clone();
        agent.env.insert("JOURNEYMAN_PROMPT".into(), "mend it".into());
        let (probe, agent) = (call(Tool::Exec(probe)), call(Tool::Exec(agent)));
        for ended in [Ended::Exited { code: 0 }, Ended::Exited { code: 1 }, Ended::Interrupted] {
            assert_eq!(call_evidence(&probe, &ended, "found 3"), None);
        }
        let of = |text: &str| Evidence {
            source: Some("ruff".into()),
            ..Evidence::of(Phase::Act, text.into())
        };
        for (call, ended, told) in [
            (&probe, Ended::Exited { code: 127 }, Evidence { exit_code: Some(127), ..of("o") }),
            (&agent, Ended::Exited { code: 3 }, Evidence { exit_code: Some(3), ..of("o") }),
            (&probe, Ended::Signalled { signal: 9 }, Evidence { signal: Some(9), ..of("o") }),
            (&probe, Ended::TimedOut { after_ms: 5 }, Evidence { timed_out: true, ..of("o") }),
            (&probe, Ended::Refused { reason: "no".into() }, of("no\no")),
        ] {
            assert_eq!(call_evidence(call, &ended, "o"), Some(told));
        }
        let read = call(Tool::Read { path: "x".into() });
        let refused = Ended::Refused { reason: "x is outside".into() };
        assert_eq!(call_evidence(&read, &refused, "").unwrap().source.as_deref(), Some("read"));
    }
}
