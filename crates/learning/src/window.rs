//! Cuts a log to the windows around what looks like a fault.
//!
//! A log may have gigabytes, a fault has lines. Only the windows are looked at closely.

use std::borrow::Cow;
use std::sync::LazyLock;

use journeyman_domain::check::output::without_escapes;
use regex::Regex;

/// Bytes of windows taken from the front, and as many again from the end.
const HALF_BYTES: usize = 32 * 1024;
/// How far back the end is searched where the front alone filled its half.
const TAIL_BYTES: usize = 256 * 1024;
const LINES_BEFORE: usize = 2;
const LINES_AFTER: usize = 8;
/// Longer lines are cut.
const LINE_BYTES: usize = 2_000;

/// Words of lines that speak of a fault. Literals alone, so that the search runs at the speed of
/// memory where none of them is near.
static HIT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        "error|Error|ERROR|ERR!|fail|Fail|FAIL|panic|xception|Traceback|atal|FATAL|bort|ssert|ASSERT|denied|\
         ot found|OT FOUND|o such|ndefined|annot |an't |nable to|imed out|imeout|Killed|killed|signal|anitizer|\
         onflict|CONFLICT|refused|nauthorized|orbidden|quota|xceeded|o space|oo many|ot set|unbound|\
         issing|nresolved|egmentation|SIG|warning: |leak of|ould reformat|not ok | #0 | #1 | #2 | #3 |\
         No module|does not exist|is not valid|Invalid|invalid|BUG: |Unable|hung up|violation|Check ",
    )
    .ok()
});

/// Whether a line speaks of a fault.
pub(crate) fn is_hit(line: &str) -> bool {
    HIT.as_ref().is_some_and(|hit| hit.is_match(line))
}

/// The windows of a text, without terminal codes, at most 64 KiB; a short text is left whole.
pub(crate) fn windows(text: &str) -> Cow<'_, str> {
    if text.len() <= 2 * HALF_BYTES {
        return without_escapes(text);
    }
    let (mut found, searched) = collect(text, HALF_BYTES);
    if searched < text.len() {
        let from = boundary(text, searched.max(text.len().saturating_sub(TAIL_BYTES)));
        let (tail, _) = collect(&text[from..], usize::MAX);
        found.push_str(&tail[boundary(&tail, tail.len().saturating_sub(HALF_BYTES))..]);
    }
    if found.is_empty() {
        // Nothing looks like a fault; what was said last is the best there is.
        found.push_str(&text[boundary(text, text.len() - HALF_BYTES)..]);
    }
    Cow::Owned(without_escapes(&found).into_owned())
}

/// Windows up to a size, and how far the text was searched for them.
fn collect(text: &str, most_bytes: usize) -> (String, usize) {
    let mut found = String::new();
    let mut done = 0;
    let Some(hit) = HIT.as_ref() else { return (found, text.len()) };
    while let Some(at) = hit.find_at(text, done) {
        let bytes = text.as_bytes();
        let mut from = at.start();
        for _ in 0..=LINES_BEFORE {
            from = bytes[done..from]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(done, |end| done + end);
        }
        let mut to = at.end();
        for _ in 0..=LINES_AFTER {
            to = bytes[to..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(text.len(), |end| to + end + 1);
        }
        for line in text[from..to].lines() {
            found.push_str(&line[..boundary(line, LINE_BYTES)]);
            found.push('\n');
        }
        done = to;
        if found.len() >= most_bytes {
            return (found, done);
        }
    }
    (found, text.len())
}

/// The character border at or before a place.
pub(crate) fn boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_in_the_middle_of_a_large_log_is_found() {
        let quiet = "2026-01-01 doing the next thing ä\n".repeat(20_000);
        let log =
            format!("{quiet}\u{1b}[31merror[E0308]\u{1b}[0m: mismatched\n --> src/a.rs:1\n{quiet}");
        let found = windows(&log);
        assert!(
            found.contains("error[E0308]: mismatched\n --> src/a.rs:1\n") && found.len() < 1_000,
            "{found}"
        );
    }

    #[test]
    fn front_and_end_of_a_log_full_of_faults_are_kept() {
        let log = format!("first error\n{}last error\n", "an error again\n".repeat(200_000));
        let found = windows(&log);
        assert!(found.starts_with("first error\n") && found.ends_with("last error\n"));
        assert!(found.len() <= 3 * HALF_BYTES, "{}", found.len());
    }
}
