//! What a model is told of a call's end.
//!
//! It owns how much of an output a model sees. It must never tell more than its bounds, nor hide
//! that something was left out.

use journeyman_domain::model::ToolAnswer;
use journeyman_domain::text::view::VIEW_BYTES;
use journeyman_domain::tool::{Ended, Tool, ToolResult};

/// Characters of an output that are told in full.
const OUTPUT: usize = 10_000;

/// Characters of an answer that are told however many calls there are.
const LEAST: usize = 500;

/// Characters of each output of a turn with this many calls: no more than a quarter of the context
/// window, a token being four characters.
pub(super) fn limit(tool: &Tool, context_window: u64, calls: usize) -> usize {
    let share = usize::try_from(context_window).unwrap_or(usize::MAX) / calls.max(1);
    let most = match tool {
        // It bounds itself, and tells where to read on.
        Tool::View { .. } => VIEW_BYTES + 1_000,
        Tool::Exec(_)
        | Tool::Edit { .. }
        | Tool::Restore { .. }
        | Tool::Read { .. }
        | Tool::Replace { .. }
        | Tool::Write { .. }
        | Tool::Patch { .. } => OUTPUT,
    };
    share.clamp(LEAST, most)
}

/// The answer to a call.
pub(super) fn answer(
    call_id: String,
    tool: &Tool,
    result: &ToolResult,
    output: &str,
    limit: usize,
) -> ToolAnswer {
    let is_program = matches!(tool, Tool::Exec(_));
    let how = match &result.ended {
        Ended::Exited { code } if is_program => Some(format!("[exit code {code}]")),
        Ended::Exited { code: 0 } => None,
        Ended::Exited { code } => Some(format!("[failed with code {code}]")),
        Ended::Signalled { signal } => Some(format!("[ended by signal {signal}]")),
        Ended::TimedOut { after_ms } => {
            Some(format!("[stopped: it did not end within {} s]", after_ms / 1_000))
        }
        Ended::Refused { reason } => Some(format!("[not done: {}]", cut(reason, limit))),
        Ended::Interrupted => Some(
            "[interrupted: the runtime stopped while this ran; what it did is unknown, so look at \
             the state before you go on]"
                .to_owned(),
        ),
    };
    let shown = if is_binary(output) {
        format!("[binary output of {} bytes]", result.output_bytes)
    } else {
        cut(output, limit)
    };
    let output = match (how, shown.trim().is_empty()) {
        (Some(how), false) => format!("{how}\n{shown}"),
        (Some(how), true) if result.ended.is_success() => format!("{how}\n[no output]"),
        (Some(how), true) => how,
        (None, false) => shown,
        (None, true) if result.changed => "[done]".to_owned(),
        (None, true) => "[done; the workspace is as it was before]".to_owned(),
    };
    ToolAnswer { call_id, output, is_error: !result.ended.is_success() }
}

/// The first and the last characters of a text that has more than `limit`, and what was left out.
pub(super) fn cut(text: &str, limit: usize) -> String {
    let count = text.chars().count();
    if count <= limit {
        return text.to_owned();
    }
    let half = limit / 2;
    let at = |number: usize| text.char_indices().nth(number).map_or(text.len(), |(at, _)| at);
    let left = count - 2 * half;
    format!(
        "{}\n[… {left} characters are left out here; to see them, filter the output, take its head \
         or tail, or write it to a file in /tmp and read that in parts …]\n{}",
        &text[..at(half)],
        &text[at(count - half)..]
    )
}

/// Whether more than 30 of 100 characters are none that a person reads.
fn is_binary(output: &str) -> bool {
    let is_strange = |character: &char| {
        *character == char::REPLACEMENT_CHARACTER
            || (character.is_control() && !matches!(character, '\n' | '\r' | '\t' | '\u{1b}'))
    };
    let strange = output.chars().filter(is_strange).count();
    strange * 100 > output.chars().count() * 30
}

#[cfg(test)]
mod tests {
    use journeyman_domain::tool::Exec;

    use super::*;

    fn told(tool: &Tool, ended: Ended, output: &str, limit: usize) -> (String, bool) {
        let result = ToolResult {
            call_id: "t1c1".into(),
            ended,
            head: String::new(),
            tail: None,
            output_bytes: output.len() as u64,
            duration_ms: 1,
            changed: false,
        };
        let answer = answer("p".into(), tool, &result, output, limit);
        (answer.output, answer.is_error)
    }

    fn exec() -> Tool {
        Tool::Exec(Exec::default())
    }

    #[test]
    fn how_a_call_ended_is_said_before_its_output() {
        let write = Tool::Write { path: "a".into(), content: String::new() };
        let cases = [
            (exec(), Ended::Exited { code: 0 }, "ok\n", "[exit code 0]\nok\n", false),
            (exec(), Ended::Exited { code: 0 }, "", "[exit code 0]\n[no output]", false),
            (exec(), Ended::Exited { code: 2 }, "", "[exit code 2]", true),
            (exec(), Ended::Signalled { signal: 9 }, "x", "[ended by signal 9]\nx", true),
            (
                exec(),
                Ended::TimedOut { after_ms: 60_000 },
                "x",
                "[stopped: it did not end within 60 s]\nx",
                true,
            ),
            (
                write.clone(),
                Ended::Exited { code: 0 },
                "",
                "[done; the workspace is as it was before]",
                false,
            ),
            (write, Ended::Refused { reason: "no".into() }, "", "[not done: no]", true),
        ];
        for (tool, ended, output, expected, is_error) in cases {
            assert_eq!(told(&tool, ended, output, 100), (expected.to_owned(), is_error));
        }
        assert!(told(&exec(), Ended::Interrupted, "", 100).0.contains("what it did is unknown"));
    }

    #[test]
    fn a_long_output_keeps_its_begin_and_its_end() {
        let output = format!("{}{}{}", "ä".repeat(5_000), "b".repeat(321), "c".repeat(5_000));
        let (told, _) = told(&exec(), Ended::Exited { code: 0 }, &output, OUTPUT);
        let rest = told.strip_prefix(&format!("[exit code 0]\n{}\n", "ä".repeat(5_000))).unwrap();
        let note = rest.strip_suffix(&format!("\n{}", "c".repeat(5_000))).unwrap();
        assert!(note.starts_with("[… 321 characters are left out here;"), "{note}");
        assert_eq!(cut(&"x".repeat(OUTPUT), OUTPUT), "x".repeat(OUTPUT));
    }

    #[test]
    fn binary_output_is_named_and_coloured_output_is_not_binary() {
        let (binary, _) = told(&exec(), Ended::Exited { code: 0 }, "ab\u{0}\u{fffd}", 100);
        assert_eq!(binary, "[exit code 0]\n[binary output of 6 bytes]");
        assert!(!is_binary("\u{1b}[1m\u{1b}[0m\n\n\t\t"));
    }

    #[test]
    fn the_outputs_of_a_turn_share_the_window() {
        let view = Tool::View { path: "a".into(), offset: 1, limit: 1 };
        assert_eq!(limit(&exec(), 200_000, 1), 10_000);
        assert_eq!(limit(&view, 200_000, 1), VIEW_BYTES + 1_000);
        assert_eq!(limit(&view, 8_192, 2), 4_096);
        assert_eq!(limit(&exec(), 8_192, 128), 500);
    }
}
