//! From a change and the old text of a file to its new text.

use super::{FileChange, Hunk, HunkLine, PatchError};
use crate::text::lines::position;

/// The new text of a file; `None` where it goes. `old` is `None` where there is no file.
///
/// Each hunk is looked for after the one before: by its lines as they are, then without the white
/// space at their ends. Lines that stay keep the file's own form, new ones get its line ends.
///
/// # Errors
/// [`PatchError::File`] where the file is there or missing against the change,
/// [`PatchError::Hunk`] where the hunk's lines are not in the file.
pub fn apply(change: &FileChange, old: Option<&str>) -> Result<Option<String>, PatchError> {
    let refuse = |reason: &str| {
        let path = change.path().to_owned();
        Err(PatchError::File { path, reason: reason.to_owned() })
    };
    match (change, old) {
        (FileChange::Add { .. }, Some(_)) => refuse("it exists already; update it instead"),
        (FileChange::Add { content, .. }, None) => Ok(Some(content.clone())),
        (FileChange::Delete { .. } | FileChange::Update { .. }, None) => {
            refuse("there is no such file")
        }
        (FileChange::Delete { .. }, Some(_)) => Ok(None),
        (FileChange::Update { path, hunks, .. }, Some(old)) => updated(path, hunks, old).map(Some),
    }
}

fn updated(path: &str, hunks: &[Hunk], old: &str) -> Result<String, PatchError> {
    let file = Lines::of(old);
    let mut new: Vec<String> = Vec::new();
    let mut done = 0;
    for (number, hunk) in hunks.iter().enumerate() {
        let refuse =
            |reason: String| PatchError::Hunk { path: path.to_owned(), hunk: number + 1, reason };
        let (start, pattern) = file.locate(hunk, done).map_err(refuse)?;
        new.extend(file.whole[done..start].iter().map(|line| (*line).to_owned()));
        let mut at = start;
        let last = start + pattern;
        for line in &hunk.lines {
            match line {
                HunkLine::Insert(text) => new.push(format!("{text}{}", file.end)),
                HunkLine::Keep(_) | HunkLine::Remove(_) if at == last => {}
                HunkLine::Keep(_) => {
                    new.push(file.whole[at].to_owned());
                    at += 1;
                }
                HunkLine::Remove(_) => at += 1,
            }
        }
        done = last;
    }
    new.extend(file.whole[done..].iter().map(|line| (*line).to_owned()));
    Ok(joined(&new, file.end))
}

/// The lines as one text; only the last one may lack its end.
fn joined(lines: &[String], line_end: &str) -> String {
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        text.push_str(line);
        if at + 1 < lines.len() && !line.ends_with('\n') {
            text.push_str(line_end);
        }
    }
    text
}

/// A file's lines, each with its end, and what of them is compared: first without their ends, then
/// also without the white space before those.
struct Lines<'a> {
    whole: Vec<&'a str>,
    exact: Vec<&'a str>,
    trimmed: Vec<&'a str>,
    end: &'static str,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let is_crlf = lines.first().is_some_and(|line| line.ends_with("\r\n"));
        Self {
            exact: keys(&lines, |line| line.trim_end_matches(['\r', '\n'])),
            trimmed: keys(&lines, str::trim_end),
            end: if is_crlf { "\r\n" } else { "\n" },
            whole: lines,
        }
    }

    /// Where the hunk's old lines begin, and how many of them there are in the file.
    fn locate(&self, hunk: &Hunk, done: usize) -> Result<(usize, usize), String> {
        let mut from = done;
        for context in &hunk.context {
            let found = self.find(std::slice::from_ref(&context.as_str()), from, false);
            let Some(at) = found.or_else(|| self.find_trimmed(context, from)) else {
                return Err(format!(
                    "the line '{}' is not in the file after line {from}",
                    shortened(context)
                ));
            };
            from = at + 1;
        }
        let mut old: Vec<&str> = hunk
            .lines
            .iter()
            .filter_map(|line| match line {
                HunkLine::Keep(text) | HunkLine::Remove(text) => Some(text.as_str()),
                HunkLine::Insert(_) => None,
            })
            .collect();
        if old.is_empty() {
            let is_placed = !hunk.context.is_empty() && !hunk.at_end;
            return Ok((if is_placed { from } else { self.whole.len() }, 0));
        }
        // A patch's empty last line is often not the file's.
        let ends_empty = matches!(hunk.lines.last(), Some(HunkLine::Keep(text)) if text.is_empty());
        if let Some(at) = self.find(&old, from, hunk.at_end) {
            return Ok((at, old.len()));
        }
        if ends_empty && old.len() > 1 {
            old.pop();
            if let Some(at) = self.find(&old, from, hunk.at_end) {
                return Ok((at, old.len()));
            }
        }
        let first = shortened(old.iter().find(|line| !line.trim().is_empty()).unwrap_or(&""));
        Err(match self.find(&old[..1], from, false) {
            Some(at) => format!(
                "its lines are not in the file as they stand in the patch; '{first}' is at line {} \
                 but the lines after it are others",
                at + 1
            ),
            None => format!("its first line '{first}' is not in the file after line {from}"),
        })
    }

    /// The first place from `from` on: exactly, else without white space at the lines' ends. With
    /// `at_end`, the file's end before any other place.
    fn find(&self, wanted: &[&str], from: usize, at_end: bool) -> Option<usize> {
        let last = self.whole.len().checked_sub(wanted.len())?;
        let rules = [(&self.exact, wanted.to_vec()), (&self.trimmed, keys(wanted, str::trim_end))];
        if at_end && last >= from && rules.iter().any(|(lines, wanted)| lines.ends_with(wanted)) {
            return Some(last);
        }
        rules.iter().find_map(|(lines, wanted)| position(lines, wanted, from))
    }

    /// A line of context, whatever its indentation.
    fn find_trimmed(&self, wanted: &str, from: usize) -> Option<usize> {
        (from..self.whole.len()).find(|at| self.whole[*at].trim() == wanted.trim())
    }
}

/// What of each line is compared.
fn keys<'a>(lines: &[&'a str], key: fn(&'a str) -> &'a str) -> Vec<&'a str> {
    lines.iter().map(|line| key(line)).collect()
}

/// A line for a sentence.
fn shortened(line: &str) -> String {
    line.trim().chars().take(80).collect()
}
