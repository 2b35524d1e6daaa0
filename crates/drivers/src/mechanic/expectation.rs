//! What a test expects, which no mechanic may touch: assertions with all their lines, the marks
//! that make or skip a test, and files that hold expected output. Where it is not sure, it
//! protects.

use std::ops::Range;

use super::place::line_start;

const FOLDERS: &[&str] = &["snapshots", "__snapshots__", "testdata", "golden", "expected"];
const ENDINGS: &[&str] =
    &[".snap", ".snap.new", ".ambr", ".golden", ".expected", ".stdout", ".stderr"];
const MARKS: &[&str] = &[
    "assert",
    "should_panic",
    "#[test",
    "::test]",
    "::test(",
    "#[ignore",
    "expect(",
    "expect!",
    "expect_file!",
    "snapshot!",
    "pytest.",
    "raises(",
    "unittest.skip",
    "test.skip",
    "it.skip",
    "describe.skip",
    "t.Error",
    "t.Fatal",
    "t.Skip",
    "require.",
    "// Output",
];

/// Whether a file is expected output as a whole.
pub(super) fn is_protected_file(path: &str) -> bool {
    path.split('/').any(|part| FOLDERS.contains(&part))
        || ENDINGS.iter().any(|ending| path.ends_with(ending))
}

/// The protected lines of one file.
pub(super) struct Expectations {
    lines: Vec<Range<usize>>,
    rust: bool,
}

impl Expectations {
    pub(super) fn of(path: &str, content: &str) -> Self {
        let rust = path.rsplit('.').next().is_some_and(|ending| ending.eq_ignore_ascii_case("rs"));
        let mut lines: Vec<Range<usize>> = Vec::new();
        let mut at = 0;
        while let Some(mark) = first_mark(&content[at..], rust).map(|found| at + found) {
            let end = statement_end(content, mark, rust);
            lines.push(line_start(content, mark)..end);
            at = end.max(mark + 1);
            while !content.is_char_boundary(at) {
                at += 1;
            }
        }
        Self { lines, rust }
    }

    /// Whether this replacement would change a protected line, or bring a new mark in.
    pub(super) fn touched_by(
        &self,
        content: &str,
        range: &Range<usize>,
        replacement: &str,
    ) -> bool {
        let start = line_start(content, range.start);
        let only_blank_before = content[start..range.start].trim().is_empty();
        let keeps_lines_apart =
            replacement.ends_with('\n') || (replacement.is_empty() && start == range.start);
        let whole_lines = range.is_empty() && only_blank_before && replacement.ends_with('\n');
        let touched = |line: &Range<usize>| {
            if whole_lines {
                line.start < start && start <= line.end
            } else if range.end == line.start && !range.is_empty() {
                !keeps_lines_apart
            } else {
                line.start <= range.end && range.start <= line.end
            }
        };
        self.lines.iter().any(touched) || first_mark(replacement, self.rust).is_some()
    }
}

fn first_mark(text: &str, rust: bool) -> Option<usize> {
    let first = |mark: &&str| {
        text.match_indices(*mark).map(|(at, _)| at).find(|at| {
            // `.expect("…")` of a Result is no expectation of a test.
            !(rust && *mark == "expect(" && text[..*at].ends_with('.'))
        })
    };
    MARKS.iter().filter_map(first).min()
}

/// The end of the last line of the statement that begins at a mark: where all brackets are closed
/// and no method is called on it in the next line.
fn statement_end(content: &str, from: usize, rust: bool) -> usize {
    let text = content.as_bytes();
    let mut depth = 0_i64;
    let mut at = from;
    while at < text.len() {
        match text[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b'\'' if rust => at += character_literal(&text[at..]),
            quote @ (b'"' | b'\'' | b'`') => at = string_end(text, at, quote),
            b'\n' if depth <= 0 && !content[at..].trim_start().starts_with('.') => return at,
            _ => {}
        }
        at += 1;
    }
    content.len()
}

/// How many bytes after its first quote a Rust character literal has; 0 for a lifetime.
fn character_literal(text: &[u8]) -> usize {
    match text {
        [_, b'\\', _, rest @ ..] => {
            3 + rest.iter().take(8).position(|byte| *byte == b'\'').unwrap_or(0)
        }
        [_, _, b'\'', ..] => 2,
        _ => 0,
    }
}

fn string_end(text: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from + 1;
    while at < text.len() && text[at] != quote {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether replacing the first `needle` by `replacement` is refused.
    fn refused(path: &str, content: &str, needle: &str, replacement: &str) -> bool {
        let start = content.find(needle).unwrap();
        Expectations::of(path, content).touched_by(
            content,
            &(start..start + needle.len()),
            replacement,
        )
    }

    #[test]
    fn assertions_are_protected_with_all_their_lines() {
        let rust = "let mut x = f();\nassert_eq!(\n    g('(', \")\"),\n    3,\n);\nlet y = h().expect(\"h\");\n";
        assert!(refused("a.rs", rust, "3", "4") && refused("a.rs", rust, "g(", "k("));
        assert!(!refused("a.rs", rust, "mut ", "") && !refused("a.rs", rust, "h()", "i()"));
        let script = "const a = 1;\nexpect(a)\n  .not\n  .toBe(3);\nlet b = \"it's\";\n";
        assert!(refused("a.js", script, "3", "4") && !refused("a.js", script, "let", "const"));
        let python = "import os\nassert f(1) == {\n    'a': 2,\n}\nx = 1\n";
        assert!(refused("a.py", python, "2", "3") && !refused("a.py", python, "import os\n", ""));
        assert!(!refused("a.py", python, "x = 1", "y = 1"));
    }

    #[test]
    fn marks_of_tests_are_protected_and_not_added() {
        let rust = "mod tests {\n    #[test]\n    #[should_panic(expected = \"no\")]\n    fn t() { run(); }\n}\n";
        assert!(refused("a.rs", rust, "no", "yes") && refused("a.rs", rust, "    #[test]\n", ""));
        assert!(refused("a.rs", rust, "    fn", "    #[ignore]\n    fn"));
        assert!(!refused("a.rs", rust, "run", "ran"));
        let at = rust.find("#[test]").unwrap();
        let expectations = Expectations::of("a.rs", rust);
        assert!(
            !expectations.touched_by(rust, &(at..at), "use super::run;\n"),
            "a line before it is no harm"
        );
        assert!(expectations.touched_by(rust, &(at..at), "x"));
    }

    #[test]
    fn files_of_expected_output_are_protected() {
        assert!(is_protected_file("tests/snapshots/a.rs") && is_protected_file("go/testdata/x.go"));
        assert!(is_protected_file("a/b.snap") && !is_protected_file("tests/it.rs"));
    }
}
