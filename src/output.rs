//! Results on standard output: text for a person, or one JSON document.

use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use crate::failure::Failure;

/// Prints a text; a reader that has gone away ends the printing, not the program.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| {
        if text.is_empty() || text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") }
    });
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::broken(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints one document.
pub fn json(document: &impl Serialize) -> Result<(), Failure> {
    text(&serde_json::to_string_pretty(document).map_err(Failure::from_error)?)
}

/// Prints a document or its text.
pub fn either(
    as_json: bool,
    document: &impl Serialize,
    human: impl FnOnce() -> String,
) -> Result<(), Failure> {
    if as_json { json(document) } else { text(&human()) }
}

/// Rows below their headings, columns two spaces apart. The last column is not padded.
pub fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let width = |text: &str| text.chars().count();
    let mut widths = headings.map(width);
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(width(cell));
        }
    }
    let mut text = String::new();
    let headings = headings.map(str::to_owned);
    for row in std::iter::once(&headings).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < N {
                text.extend(std::iter::repeat_n(' ', widths[column] - width(cell) + 2));
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// A duration as a person says it: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`.
pub fn duration(ms: i64) -> String {
    let seconds = ms / 1000;
    match seconds {
        ..10 => format!("{}.{} s", seconds, (ms % 1000) / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, (seconds % 3600) / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_characters() {
        let rows = [["ä".to_owned(), "x".to_owned()], ["long".to_owned(), String::new()]];
        assert_eq!(table(["A", "B"], &rows), "A     B\nä     x\nlong\n");
    }

    #[test]
    fn durations_read_well() {
        let said: Vec<_> = [400, 59_999, 185_000, 7_800_000].map(duration).to_vec();
        assert_eq!(said, ["0.4 s", "59 s", "3 min 05 s", "2 h 10 min"]);
    }
}
