//! Places in files: which paths are the workspace's own, and from a tool's way of counting to
//! bytes.

use std::ops::Range;

use super::report::{Place, Suggested};

/// Folders whose content no one wrote by hand.
const MADE: &[&str] = &["target", "node_modules", ".git", ".venv", "venv", "vendor"];

/// The path relative to the workspace with forward slashes; `None` for what lies elsewhere or is
/// a tool's product. `folder` is where a relative name begins.
pub(super) fn inside(workspace: &str, folder: &str, name: &str) -> Option<String> {
    let name = name.replace('\\', "/");
    let relative = match name.strip_prefix(workspace.trim_end_matches('/')) {
        Some(rest) if name.starts_with('/') => rest.strip_prefix('/')?.to_owned(),
        Some(_) | None if name.starts_with('/') => return None,
        Some(_) | None if folder.is_empty() => name,
        Some(_) | None => format!("{folder}/{name}"),
    };
    let relative = relative.trim_start_matches("./").to_owned();
    let odd = |part: &str| {
        part.is_empty()
            || part == "."
            || part == ".."
            || part.contains([':', '<'])
            || MADE.contains(&part)
    };
    (!relative.split('/').any(odd)).then_some(relative)
}

/// The bytes of `content` that a suggestion means; `None` where the file is another one than the
/// tool saw, or the place is on no border of characters.
pub(super) fn bytes(content: &str, suggested: &Suggested) -> Option<Range<usize>> {
    let mark = if content.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let body = &content[mark..];
    let range = match suggested.place {
        Place::Bytes { start, end } => start..end,
        Place::Utf16 { start, end } => mark + utf16(body, start)?..mark + utf16(body, end)?,
        Place::Rows { start, end } => mark + row(body, start)?..mark + row(body, end)?,
    };
    content.get(range.clone())?;
    let line = &content[line_start(content, range.start)..];
    let same = suggested.line_text.as_ref().is_none_or(|text| {
        line.lines().next().unwrap_or_default().trim_start_matches('\u{feff}').trim_end()
            == text.trim_end()
    });
    same.then_some(range)
}

fn utf16(text: &str, units: usize) -> Option<usize> {
    let mut seen = 0;
    for (at, character) in text.char_indices() {
        if seen >= units {
            return (seen == units).then_some(at);
        }
        seen += character.len_utf16();
    }
    (seen == units).then_some(text.len())
}

fn row(text: &str, (row, column): (usize, usize)) -> Option<usize> {
    let skip = row.checked_sub(1)?;
    let start = match skip {
        0 => 0,
        _ => text.match_indices('\n').nth(skip - 1)?.0 + 1,
    };
    let line = text[start..].split_inclusive('\n').next().unwrap_or_default();
    let columns = column.checked_sub(1)?;
    match line.char_indices().nth(columns) {
        Some((at, _)) => Some(start + at),
        None => (line.chars().count() == columns).then_some(start + line.len()),
    }
}

/// Where the line that holds this byte begins.
pub(super) fn line_start(content: &str, at: usize) -> usize {
    content[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Keeps the indentation of what stands after it: a whole line that is put in behind another
/// line's blanks gives that line its blanks back, and one that is taken out takes its own along.
pub(super) fn tidy(
    content: &str,
    range: Range<usize>,
    replacement: &str,
) -> (Range<usize>, String) {
    let start = line_start(content, range.start);
    let blanks = &content[start..range.start];
    if !blanks.trim().is_empty() {
        return (range, replacement.to_owned());
    }
    if range.is_empty() && replacement.ends_with('\n') {
        return (range, format!("{replacement}{blanks}"));
    }
    if replacement.is_empty() && !range.is_empty() {
        let rest = content[range.end..].split_inclusive('\n').next().unwrap_or_default();
        if content[range.clone()].ends_with('\n') {
            return (start..range.end, String::new());
        }
        if rest.trim().is_empty() {
            return (start..range.end + rest.len(), String::new());
        }
    }
    (range, replacement.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(content: &str, place: Place) -> Option<&str> {
        let suggested =
            Suggested { path: String::new(), place, replacement: String::new(), line_text: None };
        bytes(content, &suggested).map(|range| &content[range])
    }

    #[test]
    fn every_way_of_counting_finds_the_same_text() {
        let text = "\u{feff}// ü𝕏\r\nlet a;\n";
        assert_eq!(place(text, Place::Rows { start: (1, 4), end: (1, 6) }), Some("ü𝕏"));
        assert_eq!(place(text, Place::Utf16 { start: 3, end: 6 }), Some("ü𝕏"));
        assert_eq!(place(text, Place::Bytes { start: 6, end: 12 }), Some("ü𝕏"));
        assert_eq!(place(text, Place::Rows { start: (2, 1), end: (3, 1) }), Some("let a;\n"));
        assert_eq!(place(text, Place::Utf16 { start: 3, end: 5 }), None, "half of a character");
        assert_eq!(place(text, Place::Bytes { start: 6, end: 99 }), None);
        assert_eq!(place(text, Place::Rows { start: (9, 1), end: (9, 1) }), None);
    }

    #[test]
    fn a_line_that_is_another_one_is_left_alone() {
        let suggested = |line: &str| Suggested {
            path: String::new(),
            place: Place::Bytes { start: 4, end: 5 },
            replacement: String::new(),
            line_text: Some(line.into()),
        };
        assert_eq!(bytes("let a;\r\n", &suggested("let a;")), Some(4..5));
        assert_eq!(bytes("let b;\n", &suggested("let a;")), None);
    }

    #[test]
    fn only_the_workspaces_own_files_have_a_path() {
        let of = |name: &str| inside("/w", "sub", name);
        assert_eq!(of("src/lib.rs").as_deref(), Some("sub/src/lib.rs"));
        assert_eq!(of("/w/a b/ü.py").as_deref(), Some("a b/ü.py"));
        for foreign in
            ["../x.rs", "/rustc/abc/lib.rs", "/wide/x.rs", "/w/target/out.rs", "<anon>", "/w"]
        {
            assert_eq!(of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn lines_that_come_and_go_leave_the_others_indented() {
        let text = "mod m {\n    use a;\n    f();\n}\n";
        let (at, call) = (text.find("use a").unwrap(), text.find("f()").unwrap());
        assert_eq!(tidy(text, at..at + 7, ""), (at - 4..at + 7, String::new()));
        assert_eq!(tidy(text, at..at + 6, ""), (at - 4..at + 7, String::new()));
        assert_eq!(tidy(text, at..at + 4, ""), (at..at + 4, String::new()));
        assert_eq!(tidy(text, call..call, "use b;\n"), (call..call, "use b;\n    ".to_owned()));
        assert_eq!(tidy(text, call + 1..call + 1, "\n"), (call + 1..call + 1, "\n".to_owned()));
    }
}
