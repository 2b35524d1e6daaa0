//! From the text of a patch to what it does to each file.

use super::{FileChange, Hunk, HunkLine, PatchError};

const BEGIN: &str = "*** Begin Patch";
const END: &str = "*** End Patch";
const ADD: &str = "*** Add File:";
const DELETE: &str = "*** Delete File:";
const UPDATE: &str = "*** Update File:";
const MOVE: &str = "*** Move to:";
const END_OF_FILE: &str = "*** End of File";

/// What a patch does, in its order.
///
/// # Errors
/// [`PatchError::Form`].
pub fn parse(text: &str) -> Result<Vec<FileChange>, PatchError> {
    let mut parser = Parser { lines: text.lines().collect(), at: 0, changes: Vec::new() };
    parser.skip_blank();
    if parser.line().map(str::trim) != Some(BEGIN) {
        return Err(parser.wrong(format!("it must begin with '{BEGIN}'")));
    }
    parser.at += 1;
    loop {
        let Some(line) = parser.line() else {
            return Err(parser.wrong(format!("'{END}' is missing")));
        };
        let line = line.trim();
        if line == END {
            break;
        }
        if let Some(path) = line.strip_prefix(ADD) {
            parser.add(path)?;
        } else if let Some(path) = line.strip_prefix(DELETE) {
            let path = parser.path(path)?;
            parser.at += 1;
            parser.changes.push(FileChange::Delete { path });
        } else if let Some(path) = line.strip_prefix(UPDATE) {
            parser.update(path)?;
        } else if line.is_empty() {
            parser.at += 1;
        } else {
            return Err(parser.wrong(format!(
                "'{ADD} path', '{DELETE} path', '{UPDATE} path' or '{END}' must stand here"
            )));
        }
    }
    if parser.changes.is_empty() {
        return Err(parser.wrong("it changes no file".to_owned()));
    }
    Ok(parser.changes)
}

struct Parser<'a> {
    lines: Vec<&'a str>,
    at: usize,
    changes: Vec<FileChange>,
}

impl<'a> Parser<'a> {
    fn line(&self) -> Option<&'a str> {
        self.lines.get(self.at).copied()
    }

    /// The line, unless another file's part or the end begins with it.
    fn body_line(&self) -> Option<&'a str> {
        self.line().filter(|line| {
            let line = line.trim_end();
            line != END && ![ADD, DELETE, UPDATE].iter().any(|head| line.starts_with(head))
        })
    }

    fn wrong(&self, reason: String) -> PatchError {
        PatchError::Form { line: self.at + 1, reason }
    }

    fn skip_blank(&mut self) {
        while self.line().is_some_and(|line| line.trim().is_empty()) {
            self.at += 1;
        }
    }

    fn path(&self, path: &str) -> Result<String, PatchError> {
        match path.trim() {
            "" => Err(self.wrong("the path is missing".to_owned())),
            path => Ok(path.to_owned()),
        }
    }

    fn add(&mut self, path: &str) -> Result<(), PatchError> {
        let path = self.path(path)?;
        self.at += 1;
        let mut content = String::new();
        while let Some(line) = self.body_line() {
            match line.strip_prefix('+') {
                Some(line) => content.push_str(&format!("{line}\n")),
                None if line.trim().is_empty() => break,
                None => {
                    return Err(self.wrong("each line of a new file begins with '+'".to_owned()));
                }
            }
            self.at += 1;
        }
        self.changes.push(FileChange::Add { path, content });
        Ok(())
    }

    fn update(&mut self, path: &str) -> Result<(), PatchError> {
        let path = self.path(path)?;
        self.at += 1;
        let mut move_to = None;
        if let Some(target) = self.line().and_then(|line| line.trim().strip_prefix(MOVE)) {
            move_to = Some(self.path(target)?);
            self.at += 1;
        }
        let mut hunks = Vec::new();
        while self.body_line().is_some() {
            if let Some(hunk) = self.hunk()? {
                hunks.push(hunk);
            }
        }
        if hunks.is_empty() && move_to.is_none() {
            return Err(self.wrong(format!("{path} has no hunk")));
        }
        self.changes.push(FileChange::Update { path, move_to, hunks });
        Ok(())
    }

    /// The next hunk; `None` where only blank lines were left before the next file.
    fn hunk(&mut self) -> Result<Option<Hunk>, PatchError> {
        let mut hunk = Hunk::default();
        let begin = self.at;
        while let Some(line) = self.body_line().and_then(|line| line.strip_prefix("@@")) {
            // Some end the line as a unified diff does.
            let line = line.strip_suffix("@@").unwrap_or(line);
            let line = line.strip_prefix(' ').unwrap_or(line);
            if !line.trim().is_empty() {
                hunk.context.push(line.trim_end().to_owned());
            }
            self.at += 1;
        }
        while let Some(line) = self.body_line() {
            if line.trim_end() == END_OF_FILE {
                hunk.at_end = true;
                self.at += 1;
                break;
            }
            let parsed = match line.split_at_checked(1) {
                Some((" ", rest)) => HunkLine::Keep(rest.to_owned()),
                Some(("-", rest)) => HunkLine::Remove(rest.to_owned()),
                Some(("+", rest)) => HunkLine::Insert(rest.to_owned()),
                _ if line.starts_with("@@") => break,
                // The blank before an empty line is often lost.
                None => HunkLine::Keep(String::new()),
                Some(_) => {
                    return Err(self.wrong(
                        "each line of a hunk begins with ' ', '-', '+' or '@@'".to_owned(),
                    ));
                }
            };
            hunk.lines.push(parsed);
            self.at += 1;
        }
        let says_nothing = hunk.lines.iter().all(|line| *line == HunkLine::Keep(String::new()));
        if says_nothing && hunk.context.is_empty() && !hunk.at_end {
            return Ok(None);
        }
        if !hunk.lines.iter().any(|line| !matches!(line, HunkLine::Keep(_))) {
            self.at = begin;
            return Err(self.wrong("the hunk that begins here changes nothing".to_owned()));
        }
        Ok(Some(hunk))
    }
}
