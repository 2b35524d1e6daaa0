//! Lines of a text with their numbers, for a model that wants to read or to quote them.
//!
//! It owns the bounds of what is shown. It must never show more than it says.

/// Characters of a line that are shown.
pub const LINE_CHARACTERS: usize = 2_000;

/// Bytes that one view may have, its closing note aside.
pub const VIEW_BYTES: usize = 32 * 1024;

/// The lines of `content` from number `offset` (from 1) on, `limit` of them at most, each with its
/// number, and a closing note where there are more.
pub fn view(content: &str, offset: u64, limit: u64) -> String {
    let total = content.lines().count() as u64;
    let first = offset.max(1);
    if total == 0 {
        return "[the file is empty]".to_owned();
    }
    if first > total {
        return format!("[the file has only {total} lines]");
    }
    let mut shown = String::new();
    let mut number = first;
    let skipped = usize::try_from(first - 1).unwrap_or(usize::MAX);
    for line in content.lines().skip(skipped) {
        if number - first >= limit.max(1) {
            break;
        }
        let line = numbered(number, line);
        if !shown.is_empty() && shown.len() + line.len() > VIEW_BYTES {
            break;
        }
        shown.push_str(&line);
        number += 1;
    }
    let more = total + 1 - number;
    if more > 0 {
        shown.push_str(&format!("[{more} lines more; read on with offset {number}]"));
    }
    shown
}

/// One line with its number and its end.
pub(super) fn numbered(number: u64, line: &str) -> String {
    match line.char_indices().nth(LINE_CHARACTERS) {
        None => format!("{number:>6}\t{line}\n"),
        Some((cut, _)) => {
            let more = line[cut..].chars().count();
            format!("{number:>6}\t{} [{more} characters more]\n", &line[..cut])
        }
    }
}
