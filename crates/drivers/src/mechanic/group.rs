//! Which suggestions are tried next, together, and what becomes of them as edits.

use std::collections::{BTreeMap, BTreeSet};

use journeyman_domain::tool::FileEdit;

use super::expectation::{Expectations, is_protected_file};
use super::place::{bytes, tidy};
use super::report::{Fix, Phase, Problem, Report};

/// Suggestions that are applied in one call.
const SUGGESTIONS: usize = 400;
/// Files that are read for one call.
const FILES: usize = 40;

/// Suggestions of one kind, tried together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) key: String,
    /// The tool's code, for people.
    pub(super) code: String,
    pub(super) sure: bool,
    /// With what each is known by when it is refused.
    fixes: Vec<(String, Fix)>,
}

/// What was tried in vain; it is never tried again.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Kinds that did not work together: from then on one by one.
    kinds: BTreeSet<String>,
    fixes: BTreeSet<String>,
}

/// A group as edits.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) edits: Vec<FileEdit>,
    /// Suggestions that the edits stand for.
    pub(super) suggestions: usize,
    /// For each file the lines, counted from 1, that stand at the edited places afterwards.
    pub(super) lines: BTreeMap<String, Vec<(usize, usize)>>,
}

impl Group {
    /// The next one: what the tool vouches for first, guesses after it, and warnings only where
    /// no error is left, since an error can make a good line look useless.
    pub(super) fn choose(report: &Report, refused: &Refused) -> Option<Self> {
        let errors = report.has_errors();
        let fixable = |sure: bool| {
            report.problems.iter().filter_map(move |problem| {
                let fix = problem
                    .fix
                    .as_ref()
                    .filter(|fix| fix.sure == sure && problem.is_error() == errors)?;
                let name = name(problem, fix);
                (!refused.fixes.contains(&name)).then(|| (kind(problem, fix), name, problem, fix))
            })
        };
        let (key, _, first, fix) = fixable(true).next().or_else(|| fixable(false).next())?;
        let limit = if refused.kinds.contains(&key) { 1 } else { SUGGESTIONS };
        let mut paths = BTreeSet::new();
        let mut fixes: Vec<(String, Fix)> = Vec::new();
        for (_, name, _, fix) in fixable(fix.sure).filter(|candidate| candidate.0 == key) {
            let more: BTreeSet<&str> = fix.edits.iter().map(|edit| edit.path.as_str()).collect();
            if fixes.len() == limit || (!fixes.is_empty() && paths.union(&more).count() > FILES) {
                break;
            }
            paths.extend(more);
            fixes.push((name, fix.clone()));
        }
        Some(Self { key, code: first.code.clone(), sure: fix.sure, fixes })
    }

    /// A formatter's run: it has no suggestions of its own.
    pub(super) fn formatter() -> Self {
        Self { key: "format".to_owned(), code: "format".to_owned(), sure: true, fixes: Vec::new() }
    }

    /// The files whose content `plan` needs.
    pub(super) fn paths(&self) -> BTreeSet<String> {
        self.fixes.iter().flat_map(|(_, fix)| &fix.edits).map(|edit| edit.path.clone()).collect()
    }

    /// Leaves out what would change a file that cannot be read.
    pub(super) fn forget(&mut self, path: &str, refused: &mut Refused) {
        self.fixes.retain(|(name, fix)| {
            let readable = fix.edits.iter().all(|edit| edit.path != path);
            if !readable {
                refused.fixes.insert(name.clone());
            }
            readable
        });
    }

    /// Turns it into edits. What is stale, protected or unreadable is refused for good; what only
    /// overlaps another suggestion has its turn later.
    pub(super) fn plan(
        &mut self,
        contents: &BTreeMap<String, String>,
        refused: &mut Refused,
    ) -> Plan {
        let expectations: BTreeMap<&str, Expectations> = contents
            .iter()
            .map(|(path, content)| (path.as_str(), Expectations::of(path, content)))
            .collect();
        let mut plan = Plan::default();
        self.fixes.retain(|(name, fix)| {
            let Some(edits) = edits(fix, contents, &expectations) else {
                refused.fixes.insert(name.clone());
                return false;
            };
            let known = edits.iter().all(|edit| plan.edits.contains(edit));
            if !known
                && edits.iter().any(|edit| plan.edits.iter().any(|other| overlap(edit, other)))
            {
                return false;
            }
            if !known {
                plan.edits.extend(edits);
                plan.suggestions += 1;
            }
            true
        });
        plan.edits.sort_by(|a, b| (&a.path, a.start, a.end).cmp(&(&b.path, b.start, b.end)));
        plan.lines = lines_after(&plan.edits, contents);
        plan
    }
}

impl Plan {
    /// Whether a new error speaks against a guess: it stands just where the guess was made. What
    /// the borrow checker says there was only hidden before.
    pub(super) fn contradicts(&self, new_error: &Problem) -> bool {
        let at = |(first, last): &(usize, usize)| (*first..=*last).contains(&new_error.line);
        new_error.phase < Phase::Borrows
            && self.lines.get(&new_error.path).is_some_and(|lines| lines.iter().any(at))
    }
}

impl Refused {
    /// The group made nothing better: its suggestions are tried one by one, or not again.
    pub(super) fn refuse(&mut self, group: &Group) {
        match &group.fixes[..] {
            [(name, _)] => {
                self.fixes.insert(name.clone());
            }
            _ => {
                self.kinds.insert(group.key.clone());
            }
        }
    }

    pub(super) fn has_kind(&self, key: &str) -> bool {
        self.kinds.contains(key)
    }
}

/// One kind is one rule; for guesses, one and the same guess.
fn kind(problem: &Problem, fix: &Fix) -> String {
    if fix.sure {
        problem.code.clone()
    } else {
        format!("{}|{}|{}", problem.code, problem.message, replacements(fix))
    }
}

fn name(problem: &Problem, fix: &Fix) -> String {
    let Problem { code, message, path, line_text, .. } = problem;
    format!("{code}|{message}|{path}|{}|{}", line_text.trim(), replacements(fix))
}

fn replacements(fix: &Fix) -> String {
    fix.edits.iter().map(|edit| edit.replacement.as_str()).collect::<Vec<_>>().join("\0")
}

fn edits(
    fix: &Fix,
    contents: &BTreeMap<String, String>,
    expectations: &BTreeMap<&str, Expectations>,
) -> Option<Vec<FileEdit>> {
    let edits = fix.edits.iter().map(|suggested| {
        let content = contents.get(&suggested.path)?;
        let range = bytes(content, suggested)?;
        let protected = is_protected_file(&suggested.path)
            || expectations.get(suggested.path.as_str())?.touched_by(
                content,
                &range,
                &suggested.replacement,
            );
        let tidy = tidy(content, range, &suggested.replacement);
        (!protected).then(|| FileEdit {
            path: suggested.path.clone(),
            start: tidy.0.start,
            end: tidy.0.end,
            expected: Some(content[tidy.0].to_owned()),
            replacement: tidy.1,
        })
    });
    edits.collect()
}

fn overlap(a: &FileEdit, b: &FileEdit) -> bool {
    a.path == b.path && (a.start == b.start || (a.start < b.end && b.start < a.end))
}

fn lines_after(
    edits: &[FileEdit],
    contents: &BTreeMap<String, String>,
) -> BTreeMap<String, Vec<(usize, usize)>> {
    let mut lines = BTreeMap::<String, Vec<(usize, usize)>>::new();
    let mut added = 0;
    let mut removed = 0;
    let mut path = "";
    for edit in edits {
        if edit.path != path {
            (added, removed, path) = (0, 0, &edit.path);
        }
        let Some(content) = contents.get(path) else {
            continue;
        };
        let newlines = |text: &str| text.matches('\n').count();
        let first = 1 + newlines(&content[..edit.start]) + added - removed;
        let inserted = newlines(&edit.replacement);
        lines.entry(path.to_owned()).or_default().push((first, first + inserted));
        added += inserted;
        removed += newlines(&content[edit.start..edit.end]);
    }
    lines
}
