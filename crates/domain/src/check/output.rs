//! Reads a program's output as a person would: without terminal codes, and only its telling parts.
//!
//! Output is untrusted text. Nothing here interprets more than line shapes, and all of it is one
//! linear pass.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text without terminal escape sequences and other control characters but tabs and line ends.
pub fn without_escapes(text: &str) -> Cow<'_, str> {
    let control = |c: char| c.is_control() && c != '\n' && c != '\t' && c != '\r';
    if !text.contains(control) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // CSI: parameters, then one final character.
                Some('[') => {
                    chars.by_ref().find(|c| ('@'..='~').contains(c) || *c == '\n');
                }
                // OSC (titles, links): up to BEL or ESC \.
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                // Character sets take one more character, everything else is done.
                Some('(' | ')') => {
                    chars.next();
                }
                Some(_) | None => {}
            },
            c if control(c) => {}
            c => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// One line as a terminal would leave it: of parts that overwrite each other, the last.
pub(crate) fn settled(line: &str) -> &str {
    line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default()
}

/// Lines that say only that something goes on well.
fn is_noise(line: &str) -> bool {
    const STARTS: &[&str] = &[
        "Compiling ",
        "Checking ",
        "Downloading ",
        "Downloaded ",
        "Fresh ",
        "Finished ",
        "Updating ",
        "Locking ",
        "Adding ",
        "Running ",
        "Blocking ",
        "=== RUN",
        "=== PAUSE",
        "=== CONT",
        "--- PASS",
        "--- SKIP",
        "ok  \t",
        "?   \t",
        "PASS [",
        "PASSED ",
        "Collecting ",
        "Requirement already",
        "npm warn ",
        "\u{2713} ",
        "\u{2714} ",
        "go: downloading ",
    ];
    let line = line.trim_start();
    STARTS.iter().any(|start| line.starts_with(start))
        || (line.starts_with("test ")
            && (line.ends_with(" ... ok") || line.contains(" ... ignored")))
        || (line.contains("::") && line.contains(" PASSED"))
        || (line.ends_with(" ... ok") && line.contains('('))
}

/// Lines that a person would look for first.
fn is_telling(line: &str) -> bool {
    const WORDS: &[&str] = &[
        "error",
        "Error",
        "ERROR",
        "FAIL",
        "fail",
        "panicked",
        "assert",
        "Assert",
        "Exception",
        "Traceback",
        "fatal",
        "undefined",
        "not found",
        "expected",
        "Expected",
        "Received",
        "warning:",
        "mismatch",
        "denied",
        "signal:",
        "timed out",
        "Killed",
        "\u{2715}",
        "\u{2716}",
        "\u{d7} ",
        "\u{25cf} ",
        "not ok ",
    ];
    line.starts_with("E  ")
        || line.starts_with("---- ")
        || WORDS.iter().any(|word| line.contains(word))
}

/// The telling parts of an output in at most `limit_bytes`: progress and passed tests are left
/// out; where the rest is still too long, lines around the first faults stay, and the closing
/// lines. What is left out in between is said.
pub fn telling_parts(output: &str, limit_bytes: usize) -> String {
    const BEFORE: usize = 2;
    const AFTER: usize = 12;
    let plain = without_escapes(output);
    let lines: Vec<&str> = plain.lines().map(settled).filter(|line| !is_noise(line)).collect();
    let whole: usize = lines.iter().map(|line| line.len() + 1).sum();
    if whole <= limit_bytes {
        return tidy(&lines, |_| true, limit_bytes);
    }
    let mut keep = vec![false; lines.len()];
    let mut room = limit_bytes.saturating_sub(limit_bytes / 8);
    let mut take = |index: usize, room: &mut usize| {
        let cost = lines[index].len().min(LONGEST_LINE) + 16;
        if !keep[index] && *room >= cost {
            keep[index] = true;
            *room -= cost;
        }
    };
    // A runner's closing lines name what failed; a sixth of the room is theirs.
    let mut closing = limit_bytes / 6;
    let closing_before = closing;
    for index in (0..lines.len()).rev().take(20) {
        take(index, &mut closing);
    }
    room = room.saturating_sub(closing_before - closing);
    for (index, _) in lines.iter().enumerate().filter(|(_, line)| is_telling(line)) {
        if room < 32 {
            break;
        }
        for near in index.saturating_sub(BEFORE)..(index + AFTER).min(lines.len()) {
            take(near, &mut room);
        }
    }
    tidy(&lines, |index| keep[index], limit_bytes)
}

/// Characters of one line that are shown; a minified file has lines of megabytes.
const LONGEST_LINE: usize = 400;

fn tidy(lines: &[&str], keep: impl Fn(usize) -> bool, limit_bytes: usize) -> String {
    let mut text = String::new();
    let mut left_out = 0_usize;
    let mut blank = true;
    for (index, line) in lines.iter().enumerate() {
        if !keep(index) {
            left_out += 1;
            continue;
        }
        if left_out > 0 {
            let _ = writeln!(text, "[{left_out} lines]");
            left_out = 0;
        }
        let empty = line.trim().is_empty();
        if !(empty && blank) {
            text.push_str(cut(line, LONGEST_LINE));
            text.push('\n');
        }
        blank = empty;
    }
    if left_out > 0 {
        let _ = writeln!(text, "[{left_out} lines]");
    }
    text.truncate(cut(&text, limit_bytes).len());
    text
}

/// The longest beginning of at most `limit` bytes that ends on a character border.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_codes_go_and_the_text_stays() {
        assert_eq!(without_escapes("\u{1b}[1m\u{1b}[31merror\u{1b}[0m: x\n"), "error: x\n");
        assert_eq!(without_escapes("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{7}."), "link.");
        assert_eq!(without_escapes("cut off \u{1b}[3"), "cut off ");
        assert!(matches!(without_escapes("plain\ttext\r\n"), Cow::Borrowed(_)));
        assert_eq!(settled("10%\r50%\r100% done\r"), "100% done");
    }

    #[test]
    fn passed_tests_go_and_the_failing_line_stays() {
        let parts = telling_parts(include_str!("report/samples/pytest-verbose.txt"), 4_000);
        assert!(
            parts.contains(">       assert x == 2, \"nope\"\nE       AssertionError: nope\n"),
            "{parts}"
        );
        assert!(!parts.contains("PASSED"), "{parts}");
    }

    #[test]
    fn the_fault_survives_a_flood() {
        let mut output = String::new();
        for n in 0..5_000 {
            let _ = writeln!(output, "doing step {n}");
        }
        output.push_str("error[E0308]: mismatched types\n --> src/lib.rs:3:5\n");
        for n in 0..5_000 {
            let _ = writeln!(output, "cleaning {n}");
        }
        let parts = telling_parts(&output, 2_000);
        assert!(parts.len() <= 2_000, "{}", parts.len());
        assert!(parts.contains("error[E0308]: mismatched types\n --> src/lib.rs:3:5\n"), "{parts}");
        assert!(parts.contains("cleaning 4999") && parts.starts_with("[4998 lines]"), "{parts}");
    }
}
