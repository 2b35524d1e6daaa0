//! What a probe says of the workspace, in one form for every tool, and when one report is better
//! than another.
//!
//! A compiler works in phases and hides the faults of a later phase behind those of an earlier
//! one, so the plain number of errors may grow while the code gets better. A standing counts by
//! phase instead and compares the earliest phase first. Every kept change lowers it, so the
//! mechanic must come to an end.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Problems that are kept of one report; more are counted only.
const PROBLEMS: usize = 2_000;

/// When in its work a tool finds a fault of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Syntax,
    /// While imports are wrong, every use of what they name may be silent.
    Imports,
    Names,
    Types,
    Borrows,
    /// A lint that fails the tool.
    Lint,
    /// Anything that does not.
    Warning,
}

/// Faults by phase; the smaller, the better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing([u32; 7]);

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// What was looked at when it was found: a target of a package, or all at once.
    pub(super) unit: String,
    pub(super) phase: Phase,
    /// The tool's own code or rule: "E0425", "clippy::needless_return", "F401".
    pub(super) code: String,
    pub(super) message: String,
    /// Relative to the workspace; empty where the fault has no place there.
    pub(super) path: String,
    /// From 1; 0 where unknown.
    pub(super) line: usize,
    /// The text of that line, where the tool gives it.
    pub(super) line_text: String,
    pub(super) fix: Option<Fix>,
}

/// What a tool proposes against a fault; all of it belongs together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fix {
    /// Whether the tool vouches for it. A guess is tried alone and judged more strictly.
    pub(super) sure: bool,
    pub(super) edits: Vec<Suggested>,
}

/// One replacement, as the tool counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suggested {
    /// Relative to the workspace.
    pub(super) path: String,
    pub(super) place: Place,
    pub(super) replacement: String,
    /// The line where it begins, where the tool gives it: what stands there must be the same.
    pub(super) line_text: Option<String>,
}

/// Where, in the tool's way of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Bytes of the file.
    Bytes { start: usize, end: usize },
    /// UTF-16 code units of the file, its byte order mark not counted.
    Utf16 { start: usize, end: usize },
    /// Rows and columns in characters, both from 1; the byte order mark is not counted.
    Rows { start: (usize, usize), end: (usize, usize) },
}

/// The answer of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// All that was looked at, with its standing.
    units: BTreeMap<String, Standing>,
    pub(super) problems: Vec<Problem>,
    /// Whether the tool said all that it had to say.
    pub(super) complete: bool,
    /// The command that mends everything at once, where the tool mends by itself.
    pub(super) mend: Option<Vec<String>>,
    seen: BTreeSet<(String, String)>,
}

impl Problem {
    pub(super) fn is_error(&self) -> bool {
        self.phase != Phase::Warning
    }

    /// What makes it the same fault after its line has moved or changed.
    fn key(&self) -> (&str, &str, &str) {
        (&self.path, &self.code, &self.message)
    }
}

impl Report {
    /// Of a tool that said all, or not.
    pub(super) fn new(complete: bool) -> Self {
        Self { complete, ..Self::default() }
    }

    /// Notes that this unit was looked at.
    pub(super) fn reached(&mut self, unit: &str) {
        self.units.entry(unit.to_owned()).or_default();
    }

    /// Adds a fault, once for each unit however often the tool repeats it.
    pub(super) fn add(&mut self, place: usize, problem: Problem) {
        let Problem { code, path, message, .. } = &problem;
        let id = format!("{code}\0{path}\0{place}\0{message}");
        let standing = self.units.entry(problem.unit.clone()).or_default();
        if !self.seen.insert((problem.unit.clone(), id.clone())) {
            return;
        }
        standing.0[problem.phase as usize] += 1;
        if self.problems.len() < PROBLEMS && self.seen.insert((String::new(), id)) {
            self.problems.push(problem);
        }
    }

    /// Whether the tool did anything at all.
    pub(super) fn ran(&self) -> bool {
        self.complete || !self.units.is_empty()
    }

    pub(super) fn has_errors(&self) -> bool {
        self.units
            .values()
            .any(|standing| standing.0[..Phase::Warning as usize].iter().any(|n| *n > 0))
    }

    pub(super) fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.is_error())
    }

    /// How this stands to `base`: less is better. `None` where any unit is worse, or where that
    /// cannot be told. Units that `base` could not reach do not count: they came to light because
    /// something before them works now.
    pub(super) fn against(&self, base: &Self) -> Option<Ordering> {
        let mut all = Ordering::Equal;
        for (unit, before) in &base.units {
            match self.units.get(unit)?.cmp(before) {
                Ordering::Less => all = Ordering::Less,
                Ordering::Equal => {}
                Ordering::Greater => return None,
            }
        }
        self.complete.then_some(all)
    }

    pub(super) fn is_better_than(&self, base: &Self) -> bool {
        self.against(base) == Some(Ordering::Less)
    }

    /// The errors that `base` did not have in what it could reach, wherever their lines are now.
    pub(super) fn new_errors<'a>(&'a self, base: &'a Self) -> Vec<&'a Problem> {
        let mut known = BTreeMap::<_, usize>::new();
        for problem in base.errors() {
            *known.entry(problem.key()).or_default() += 1;
        }
        self.errors()
            .filter(|problem| base.units.contains_key(&problem.unit))
            .filter(|problem| match known.get_mut(&problem.key()) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    false
                }
                Some(_) | None => true,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(unit: &str, phase: Phase) -> Problem {
        Problem {
            unit: unit.into(),
            phase,
            code: "E".into(),
            message: format!("{phase:?}"),
            path: "src/lib.rs".into(),
            line: 1,
            line_text: String::new(),
            fix: None,
        }
    }

    fn report(units: &[(&str, &[Phase])]) -> Report {
        let mut report = Report { complete: true, ..Report::default() };
        for (unit, phases) in units {
            report.reached(unit);
            for (at, phase) in phases.iter().enumerate() {
                report.add(at, problem(unit, *phase));
            }
        }
        report
    }

    #[test]
    fn an_earlier_phase_outweighs_all_later_ones() {
        let base = report(&[("lib", &[Phase::Names])]);
        let hidden = report(&[("lib", &[Phase::Borrows, Phase::Borrows, Phase::Warning])]);
        assert!(hidden.is_better_than(&base) && !base.is_better_than(&hidden));
        assert_eq!(hidden.new_errors(&base).len(), 2);
    }

    #[test]
    fn a_newly_reached_unit_is_no_harm_and_a_lost_one_is() {
        let base = report(&[("lib", &[Phase::Types]), ("bin", &[])]);
        let deeper = report(&[("lib", &[]), ("bin", &[]), ("it", &[Phase::Types])]);
        let lost = report(&[("lib", &[])]);
        let moved = report(&[("lib", &[]), ("bin", &[Phase::Warning])]);
        assert!(deeper.is_better_than(&base) && deeper.new_errors(&base).is_empty());
        assert_eq!(base.against(&base), Some(Ordering::Equal));
        assert!(!lost.is_better_than(&base) && !moved.is_better_than(&base));
        assert!(
            !Report { complete: false, ..deeper }.is_better_than(&base),
            "a cut report proves nothing"
        );
    }

    #[test]
    fn a_repeated_fault_counts_once_in_a_unit() {
        let mut report = report(&[("lib", &[Phase::Types])]);
        report.add(0, problem("lib", Phase::Types));
        assert_eq!(report.errors().count(), 1);
        assert_eq!(report.units["lib"], Standing([0, 0, 0, 1, 0, 0, 0]));
    }
}
