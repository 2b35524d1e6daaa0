//! What a unified git diff touches: paths, and the tests that it removes or replaces.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, weakened};
use crate::check::discover::{is_definition_path, is_test_path};

impl Change {
    /// Reads a diff as `git diff` prints it with its usual prefixes. Both names of a renamed file
    /// count as changed. Lines that are no diff are passed over.
    pub fn from_diff(unified_diff: &str) -> Self {
        let mut files: BTreeMap<String, Sides> = BTreeMap::new();
        let mut reader = Reader::default();
        for line in unified_diff.lines() {
            reader.line(line, &mut files);
        }
        reader.close(&mut files);
        let mut change = Self { paths: files.keys().cloned().collect(), ..Self::default() };
        let mut moved: BTreeMap<String, usize> = BTreeMap::new();
        for (path, sides) in files {
            if is_definition_path(&path) {
                change.check_paths.push(path.clone());
                if sides.touches_checks {
                    change.check_edits.push(path.clone());
                }
            }
            if is_test_path(&path) || sides.touches_tests {
                change.test_paths.push(path);
            }
            // What one hunk takes and another gives back was only moved.
            let removed: Vec<String> = sides.old.difference(&sides.new).cloned().collect();
            let added: Vec<String> = sides.new.difference(&sides.old).cloned().collect();
            if added.len() >= removed.len() {
                change.replaced_tests.extend(pairs(&removed, &added));
            }
            for name in added {
                *moved.entry(name).or_default() += 1;
            }
            change.removed_tests.extend(removed);
        }
        change.removed_tests.sort_unstable();
        // Each new test of another file is the new place of one.
        change.removed_tests.retain(|name| match moved.get_mut(name) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            _ => true,
        });
        change
    }
}

/// Each removed test with a new one: the one that shares most of its beginning.
fn pairs(removed: &[String], added: &[String]) -> Vec<(String, String)> {
    let shared = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let mut free: Vec<&String> = added.iter().collect();
    let mut pairs = Vec::new();
    for old in removed {
        let best =
            free.iter().enumerate().max_by_key(|(_, new)| shared(old, new)).map(|(at, _)| at);
        if let Some(at) = best {
            pairs.push((old.clone(), free.swap_remove(at).clone()));
        }
    }
    pairs
}

/// The tests that the changed parts of a file define, before and after.
#[derive(Default)]
struct Sides {
    old: BTreeSet<String>,
    new: BTreeSet<String>,
    touches_tests: bool,
    /// A line that says which tests run was added or taken away.
    touches_checks: bool,
}

/// Where the reading of a diff stands.
#[derive(Default)]
struct Reader {
    /// The names of the file whose hunks follow: old and new.
    names: Vec<String>,
    /// Lines of the hunk still to come: old and new.
    left: (u64, u64),
    old: Vec<String>,
    new: Vec<String>,
}

impl Reader {
    fn line(&mut self, line: &str, files: &mut BTreeMap<String, Sides>) {
        if self.left != (0, 0) {
            return self.hunk_line(line, files);
        }
        if let Some(names) = line.strip_prefix("diff --git ") {
            self.names = same_name(names).into_iter().collect();
            for name in &self.names {
                files.entry(name.clone()).or_default();
            }
        } else if let Some(name) = ["--- ", "+++ ", "rename from ", "rename to ", "copy to "]
            .into_iter()
            .find_map(|start| Some((start, line.strip_prefix(start)?)))
        {
            let (start, name) = name;
            let unquoted = unquoted(name.trim_end_matches('\t'));
            let path = if start.starts_with(['-', '+']) {
                without_prefix(&unquoted)
            } else {
                Some(unquoted.as_str())
            };
            if let Some(path) = path {
                let sides = files.entry(path.to_owned()).or_default();
                // What is no longer at its place decides nothing.
                sides.touches_checks |= start == "rename from ";
                self.names.retain(|known| known != path);
                self.names.push(path.to_owned());
            }
        } else if let Some(header) = line.strip_prefix("@@ ") {
            self.left = hunk_lengths(header).unwrap_or_default();
            // The heading says in which function or module the hunk is.
            let heading = header.split_once(" @@").map_or("", |(_, heading)| heading);
            if heading.contains("mod tests") {
                self.mark(files);
            }
        }
    }

    fn hunk_line(&mut self, line: &str, files: &mut BTreeMap<String, Sides>) {
        let (sign, text) = line.split_at_checked(1).unwrap_or((" ", ""));
        match sign {
            "-" => {
                self.left.0 = self.left.0.saturating_sub(1);
                self.mark_decision(text, files);
                self.old.push(text.to_owned());
            }
            "+" => {
                self.left.1 = self.left.1.saturating_sub(1);
                self.mark_decision(text, files);
                self.new.push(text.to_owned());
            }
            " " => {
                self.left = (self.left.0.saturating_sub(1), self.left.1.saturating_sub(1));
                self.old.push(text.to_owned());
                self.new.push(text.to_owned());
            }
            // "\ No newline at end of file" belongs to the line before.
            "\\" => {}
            // No line of a hunk: the diff is broken off here.
            _ => {
                self.left = (0, 0);
                self.close(files);
                return self.line(line, files);
            }
        }
        if self.left == (0, 0) {
            self.close(files);
        }
    }

    /// Takes what the hunk defines into its file.
    fn close(&mut self, files: &mut BTreeMap<String, Sides>) {
        let (old, new) = (std::mem::take(&mut self.old), std::mem::take(&mut self.new));
        let Some(path) = self.names.last() else {
            return;
        };
        let (before, after) = (defined(path, &old), defined(path, &new));
        if !before.is_empty() || !after.is_empty() {
            self.mark(files);
        }
        let Some(sides) = self.names.last().and_then(|path| files.get_mut(path)) else {
            return;
        };
        sides.old.extend(before);
        sides.new.extend(after);
    }

    /// Notes a changed line that decides which tests run.
    fn mark_decision(&self, text: &str, files: &mut BTreeMap<String, Sides>) {
        if !self.names.iter().any(|path| is_definition_path(path)) || !weakened::decides(text) {
            return;
        }
        for path in &self.names {
            if let Some(sides) = files.get_mut(path) {
                sides.touches_checks = true;
            }
        }
    }

    fn mark(&self, files: &mut BTreeMap<String, Sides>) {
        if let Some(sides) = self.names.last().and_then(|path| files.get_mut(path)) {
            sides.touches_tests = true;
        }
    }
}

/// "-1,4 +1,5" as lengths of both sides; a length left out is 1.
fn hunk_lengths(header: &str) -> Option<(u64, u64)> {
    let mut sides = header.split(' ');
    let mut length = |sign: char| {
        let side = sides.next()?.strip_prefix(sign)?;
        side.split_once(',').map_or(Some(1), |(_, length)| length.parse().ok())
    };
    Some((length('-')?, length('+')?))
}

/// The name in "a/x b/x", which git repeats where a file has no other lines to tell it
/// (an empty, binary or only re-moded file).
fn same_name(names: &str) -> Option<String> {
    if let Some(quoted) = names.strip_prefix('"') {
        let end = quoted.find("\" ")? + 2;
        return without_prefix(&unquoted(&names[..end])).map(str::to_owned);
    }
    let half = names.len() / 2;
    let (old, new) = (names.get(..half)?, names.get(half + 1..)?);
    let same = old.strip_prefix("a/")? == new.strip_prefix("b/")?;
    same.then(|| old[2..].to_owned())
}

fn without_prefix(name: &str) -> Option<&str> {
    name.strip_prefix("a/").or_else(|| name.strip_prefix("b/"))
}

/// A name in git's C-like quotes, with octal bytes.
fn unquoted(name: &str) -> String {
    let Some(inner) = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) else {
        return name.to_owned();
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(digit @ b'0'..=b'7') => {
                let mut value = u32::from(digit - b'0');
                for _ in 0..2 {
                    if let Some(next) = rest.next_if(|byte| (b'0'..=b'7').contains(byte)) {
                        value = value * 8 + u32::from(next - b'0');
                    }
                }
                bytes.push(u8::try_from(value & 0xff).unwrap_or_default());
            }
            Some(b'n') => bytes.push(b'\n'),
            Some(b't') => bytes.push(b'\t'),
            Some(b'r') => bytes.push(b'\r'),
            Some(other) => bytes.push(other),
            None => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The tests that these lines of a file define.
fn defined(path: &str, lines: &[String]) -> Vec<String> {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        "rs" => rust_tests(lines),
        "py" => starting(lines, &["def ", "async def "], |name| name.starts_with("test")),
        "go" => starting(lines, &["func "], |name| {
            ["Test", "Fuzz", "Example"].iter().any(|start| name.starts_with(start))
        }),
        "js" | "jsx" | "ts" | "tsx" | "mjs" | "cjs" | "mts" | "cts" => {
            lines.iter().filter_map(|line| quoted_test(line)).collect()
        }
        _ => Vec::new(),
    }
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

fn starting(lines: &[String], keywords: &[&str], is_test: impl Fn(&str) -> bool) -> Vec<String> {
    let name = |line: &String| {
        let line = line.trim_start();
        let name = identifier(keywords.iter().find_map(|keyword| line.strip_prefix(keyword))?);
        is_test(name).then(|| name.to_owned())
    };
    lines.iter().filter_map(name).collect()
}

/// Functions below an attribute whose last word is `test` (`#[test]`, `#[tokio::test(…)]`), or
/// one of the usual test macros.
fn rust_tests(lines: &[String]) -> Vec<String> {
    let mut tests = Vec::new();
    let mut marked = false;
    for line in lines {
        let mut rest = line.trim_start();
        while let Some(attribute) = rest.strip_prefix("#[") {
            let path = attribute.split(['(', ']']).next().unwrap_or_default();
            let word = path.rsplit("::").next().unwrap_or_default().trim();
            marked |= matches!(word, "test" | "rstest" | "test_case" | "proptest" | "quickcheck");
            rest = attribute.split_once(']').map_or("", |(_, rest)| rest.trim_start());
        }
        if rest.is_empty() || rest.starts_with("//") {
            continue;
        }
        let function = rest.find("fn ").filter(|at| *at == 0 || rest[..*at].ends_with(' '));
        if let Some(at) = function
            && marked
        {
            tests.push(identifier(&rest[at + 3..]).to_owned());
        }
        marked = false;
    }
    tests
}

/// The name in `it("…"`, `test('…'`, with `.only` and its like between; a skipped one is none.
fn quoted_test(line: &str) -> Option<String> {
    let line = line.trim_start();
    let rest = line.strip_prefix("it").or_else(|| line.strip_prefix("test"))?;
    let (modifiers, arguments) = rest.split_once('(')?;
    let plain = modifiers.is_empty() || modifiers.starts_with('.');
    if !plain || modifiers.contains("skip") || modifiers.contains("todo") {
        return None;
    }
    let quote = arguments.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let name = arguments[1..].split(quote).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}
