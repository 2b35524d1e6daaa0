//! The work on one tool's report: group after group is tried, judged, and kept or put back.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use journeyman_domain::tool::{Ended, Exec, Tool};

use super::group::{Group, Plan};
use super::report::Report;
use super::words::{self, Mended};
use super::{Mechanic, Step};

/// Groups that are tried in one run.
const GROUPS: u32 = 50;

/// The work on one probe.
pub(super) struct Bench {
    pub(super) probe: usize,
    /// What the tool says of the workspace as it is kept.
    pub(super) report: Report,
    /// A guess that has yet to prove itself.
    pub(super) leap: Option<Box<Leap>>,
}

/// What stands when a guess comes to nothing.
pub(super) struct Leap {
    group: Group,
    report: Report,
    kept: Option<String>,
    mended: usize,
}

impl Mechanic {
    /// Begins the next group, or closes the bench.
    pub(super) fn select(&mut self, bench: Bench) {
        let refused = &self.refused[bench.probe];
        let mend = bench.report.mend.clone().filter(|_| !refused.has_kind("format"));
        if self.groups >= GROUPS {
            return self.close(bench);
        }
        if let Some(argv) = mend {
            self.groups += 1;
            let title = argv.join(" ");
            self.step = Step::Applying { bench, group: Group::formatter(), plan: Plan::default() };
            return self.call(words::short(&title), Tool::Exec(Exec { argv, ..Exec::default() }));
        }
        match Group::choose(&bench.report, refused) {
            Some(group) => {
                self.groups += 1;
                self.read(bench, group, BTreeMap::new());
            }
            None => self.close(bench),
        }
    }

    /// Reads what the group needs to know of its files, then applies it.
    pub(super) fn read(
        &mut self,
        bench: Bench,
        mut group: Group,
        contents: BTreeMap<String, String>,
    ) {
        if let Some(path) = group.paths().into_iter().find(|path| !contents.contains_key(path)) {
            self.step = Step::Reading { bench, group, contents, path: path.clone() };
            return self.call(format!("read {path}"), Tool::Read { path });
        }
        let plan = group.plan(&contents, &mut self.refused[bench.probe]);
        if plan.edits.is_empty() {
            return self.select(bench);
        }
        let edits = plan.edits.clone();
        let title = words::apply(plan.suggestions, &group.code);
        self.step = Step::Applying { bench, group, plan };
        self.call(title, Tool::Edit { edits });
    }

    pub(super) fn judge(
        &mut self,
        mut bench: Bench,
        group: Group,
        plan: &Plan,
        ended: &Ended,
        output: &str,
    ) {
        let report = self.probes[bench.probe].read(output, ended, &self.assignment.workspace);
        let new_errors = report.new_errors(&bench.report);
        let uncovers = !new_errors.is_empty();
        let wrong_guess = !group.sure && new_errors.iter().any(|problem| plan.contradicts(problem));
        let good = match report.against(&bench.report) {
            Some(Ordering::Less) => !wrong_guess,
            // One lint for another of a later rule: that rule may have a mend as well.
            Some(Ordering::Equal) => group.sure && uncovers && bench.leap.is_none(),
            Some(Ordering::Greater) | None => false,
        };
        if !good {
            self.refused[bench.probe].refuse(&group);
            return self.restore(bench);
        }
        let sideways = report.against(&bench.report) == Some(Ordering::Equal);
        let leaps = uncovers && (sideways || !group.sure);
        let mended = Mended::new(&group.code, plan);
        let before = std::mem::replace(&mut bench.report, report);
        if leaps && bench.leap.is_none() {
            let kept = self.kept.clone();
            bench.leap =
                Some(Box::new(Leap { group, report: before, kept, mended: self.mended.len() }));
        }
        self.mended.push(mended);
        self.kept.clone_from(&self.latest);
        let report = &bench.report;
        bench.leap = bench.leap.filter(|leap| {
            !report.is_better_than(&leap.report) || !report.new_errors(&leap.report).is_empty()
        });
        self.select(bench);
    }

    pub(super) fn restore(&mut self, bench: Bench) {
        self.step = Step::Restoring(bench);
        self.call(
            "put the workspace back".to_owned(),
            Tool::Restore { after_call: self.kept.clone() },
        );
    }

    /// Nothing is left to try here. A guess that did not prove itself is taken back first.
    fn close(&mut self, mut bench: Bench) {
        if let Some(leap) = bench.leap.take() {
            self.refused[bench.probe].refuse(&leap.group);
            self.kept = leap.kept;
            self.mended.truncate(leap.mended);
            bench.report = leap.report;
            return self.restore(bench);
        }
        let probe = &self.probes[bench.probe];
        if bench.report.has_errors() {
            self.broken.insert(probe.language.clone());
            self.left.extend(bench.report.errors().map(words::problem));
        }
        self.probe_from(bench.probe + 1);
    }
}
