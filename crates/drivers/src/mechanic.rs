//! The driver `mechanic`: no model, only what compilers and linters themselves propose.
//!
//! It probes the workspace with each tool that the codebase uses, applies the proposals of one
//! kind, probes again, keeps what made the tool's verdict better and has everything else put
//! back. A proposal that the tool does not vouch for is a guess: it is kept when an error goes
//! and none comes, or, where it only uncovers errors that it had hidden, when those go as well.
//!
//! It owns what was tried and what was kept. It must never change what a test expects, and never
//! end "finished" while a check fails.

mod expectation;
mod group;
mod linters;
mod place;
mod probe;
mod report;
mod rustc;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use journeyman_domain::driver::{Action, Assignment, Driver, Observation};
use journeyman_domain::tool::{Ended, Exec, Tool, ToolCall, ToolResult};

use crate::command::failure;
use group::{Group, Plan, Refused};
use probe::Probe;
use report::Report;
use words::Mended;

/// Groups that are tried in one run.
const GROUPS: u32 = 50;
/// Interrupted calls that are asked for again in one run.
const INTERRUPTIONS: u32 = 3;

/// See the module.
pub(crate) struct Mechanic {
    assignment: Assignment,
    probes: Vec<Probe>,
    /// For each probe what was tried in vain.
    refused: Vec<Refused>,
    mended: Vec<Mended>,
    /// What could not be mended, one line each.
    left: Vec<String>,
    /// Languages that still have errors.
    broken: BTreeSet<String>,
    /// Tools that could not be used, one line each.
    notes: BTreeSet<String>,
    groups: u32,
    interruptions: u32,
    calls: u32,
    round: u32,
    /// How much was mended before this round.
    mended_before: usize,
    /// The last call that changed the workspace, and the last such call whose change is kept.
    latest: Option<String>,
    kept: Option<String>,
    step: Step,
    action: Action,
}

/// What the last call was for.
enum Step {
    /// Whether the codebase uses the tool of this probe.
    Asking(usize),
    Probing(usize),
    Reading {
        bench: Bench,
        group: Group,
        contents: BTreeMap<String, String>,
        path: String,
    },
    Applying {
        bench: Bench,
        group: Group,
        plan: Plan,
    },
    Judging {
        bench: Bench,
        group: Group,
        plan: Plan,
    },
    Restoring(Bench),
    Checking(usize),
    Ended,
}

/// The work on one probe.
struct Bench {
    probe: usize,
    /// What the tool says of the workspace as it is kept.
    report: Report,
    /// A guess that has yet to prove itself.
    leap: Option<Box<Leap>>,
}

/// What stands when a guess comes to nothing.
struct Leap {
    group: Group,
    report: Report,
    kept: Option<String>,
    mended: usize,
}

impl Driver for Mechanic {
    fn next(&mut self) -> Action {
        self.action.clone()
    }

    fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::CallEnded { result, output } => {
                let asked = match &self.action {
                    Action::Call(call) => call.call_id == result.call_id,
                    Action::Finished { .. } | Action::Stuck { .. } => false,
                };
                if asked {
                    self.advance(&result, output);
                }
            }
            Observation::RoundFailed { evidence } => self.begin_round(&evidence),
        }
    }
}

impl Mechanic {
    pub(crate) fn new(assignment: Assignment) -> Self {
        let probes = Probe::find(&assignment);
        let mut mechanic = Self {
            refused: probes.iter().map(|_| Refused::default()).collect(),
            assignment,
            probes,
            mended: Vec::new(),
            left: Vec::new(),
            broken: BTreeSet::new(),
            notes: BTreeSet::new(),
            groups: 0,
            interruptions: 0,
            calls: 0,
            round: 1,
            mended_before: 0,
            latest: None,
            kept: None,
            step: Step::Ended,
            action: Action::Finished {
                summary: String::new(),
            },
        };
        mechanic.probe_from(0);
        mechanic
    }

    fn begin_round(&mut self, evidence: &str) {
        self.round += 1;
        self.mended_before = self.mended.len();
        self.broken.clear();
        self.left = words::first_line(evidence)
            .map(|line| format!("verification: {line}"))
            .into_iter()
            .collect();
        self.kept.clone_from(&self.latest);
        self.probe_from(0);
    }

    fn advance(&mut self, result: &ToolResult, output: String) {
        if result.changed {
            self.latest = Some(result.call_id.clone());
        }
        if self.ask_again(&result.ended) {
            return;
        }
        let ended = &result.ended;
        match std::mem::replace(&mut self.step, Step::Ended) {
            Step::Asking(at) => self.asked(at, ended, &output),
            Step::Probing(at) => self.probed(at, ended, &output),
            Step::Reading {
                bench,
                mut group,
                mut contents,
                path,
            } => {
                if ended.is_success() {
                    contents.insert(path.clone(), output);
                } else {
                    group.forget(&path, &mut self.refused[bench.probe]);
                }
                self.read(bench, group, contents);
            }
            Step::Applying { bench, group, plan } if ended.is_success() => {
                let probe = bench.probe;
                self.run_probe(probe, Step::Judging { bench, group, plan });
            }
            Step::Applying { bench, group, .. } => {
                self.refused[bench.probe].refuse(&group);
                if result.changed {
                    self.restore(bench)
                } else {
                    self.select(bench)
                }
            }
            Step::Judging { bench, group, plan } => self.judge(bench, group, &plan, ended, &output),
            Step::Restoring(bench) if ended.is_success() => {
                self.latest.clone_from(&self.kept);
                self.select(bench);
            }
            Step::Restoring(_) => {
                self.stuck(vec![failure("putting the workspace back", ended, &output)])
            }
            Step::Checking(at) => self.checked(at, ended, &output),
            Step::Ended => {}
        }
    }

    /// A read, a probe or a check that was interrupted harms nobody when it is done again.
    fn ask_again(&mut self, ended: &Ended) -> bool {
        let Action::Call(call) = &self.action else {
            return false;
        };
        let repeatable = match self.step {
            Step::Asking(_)
            | Step::Probing(_)
            | Step::Reading { .. }
            | Step::Judging { .. }
            | Step::Checking(_) => true,
            Step::Applying { .. } | Step::Restoring(_) | Step::Ended => false,
        };
        if *ended != Ended::Interrupted || !repeatable || self.interruptions == INTERRUPTIONS {
            return false;
        }
        self.interruptions += 1;
        let call = call.clone();
        self.call(call.title, call.tool);
        true
    }

    fn probe_from(&mut self, first: usize) {
        let broken = |probe: &Probe| self.broken.contains(&probe.language);
        let Some(at) = (first..self.probes.len()).find(|at| !broken(&self.probes[*at])) else {
            return self.check_from(0);
        };
        match self.probes[at].asked_by.clone() {
            Some((path, _)) => {
                self.step = Step::Asking(at);
                self.call(format!("read {path}"), Tool::Read { path });
            }
            None => self.run_probe(at, Step::Probing(at)),
        }
    }

    fn run_probe(&mut self, at: usize, step: Step) {
        self.step = step;
        let probe = &self.probes[at];
        self.call(probe.title.clone(), Tool::Exec(probe.exec()));
    }

    fn asked(&mut self, at: usize, ended: &Ended, output: &str) {
        let uses = self.probes[at]
            .asked_by
            .as_ref()
            .is_some_and(|(_, mark)| output.contains(mark));
        if ended.is_success() && uses {
            self.run_probe(at, Step::Probing(at));
        } else {
            self.probe_from(at + 1);
        }
    }

    fn probed(&mut self, at: usize, ended: &Ended, output: &str) {
        self.kept.clone_from(&self.latest);
        let probe = &self.probes[at];
        let report = probe.read(output, ended, &self.assignment.workspace);
        if report.ran() {
            self.select(Bench {
                probe: at,
                report,
                leap: None,
            });
        } else {
            self.notes.insert(failure(&probe.title, ended, output));
            self.probe_from(at + 1);
        }
    }

    /// Begins the next group, or closes the bench.
    fn select(&mut self, bench: Bench) {
        let refused = &self.refused[bench.probe];
        let mend = bench
            .report
            .mend
            .clone()
            .filter(|_| !refused.has_kind("format"));
        if self.groups >= GROUPS {
            return self.close(bench);
        }
        if let Some(argv) = mend {
            self.groups += 1;
            let title = argv.join(" ");
            self.step = Step::Applying {
                bench,
                group: Group::formatter(),
                plan: Plan::default(),
            };
            return self.call(
                words::short(&title),
                Tool::Exec(Exec {
                    argv,
                    ..Exec::default()
                }),
            );
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
    fn read(&mut self, bench: Bench, mut group: Group, contents: BTreeMap<String, String>) {
        if let Some(path) = group
            .paths()
            .into_iter()
            .find(|path| !contents.contains_key(path))
        {
            self.step = Step::Reading {
                bench,
                group,
                contents,
                path: path.clone(),
            };
            return self.call(format!("read {path}"), Tool::Read { path });
        }
        let plan = group.plan(&contents, &mut self.refused[bench.probe]);
        if plan.edits.is_empty() {
            self.refused[bench.probe].refuse_all(&group);
            return self.select(bench);
        }
        let edits = plan.edits.clone();
        let title = words::apply(plan.suggestions, &group.code);
        self.step = Step::Applying { bench, group, plan };
        self.call(title, Tool::Edit { edits });
    }

    fn judge(&mut self, mut bench: Bench, group: Group, plan: &Plan, ended: &Ended, output: &str) {
        let report = self.probes[bench.probe].read(output, ended, &self.assignment.workspace);
        let new_errors = report.new_errors(&bench.report);
        let beside = |path: &str, line: usize| {
            plan.lines.get(path).is_some_and(|lines| {
                lines
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&line))
            })
        };
        let wrong_guess = !group.sure
            && new_errors
                .iter()
                .any(|problem| beside(&problem.path, problem.line));
        if !report.is_better_than(&bench.report) || wrong_guess {
            self.refused[bench.probe].refuse(&group);
            return self.restore(bench);
        }
        let leaps = !group.sure && !new_errors.is_empty();
        let mended = Mended::new(&group.code, plan);
        let before = std::mem::replace(&mut bench.report, report);
        if leaps && bench.leap.is_none() {
            let leap = Leap {
                group,
                report: before,
                kept: self.kept.clone(),
                mended: self.mended.len(),
            };
            bench.leap = Some(Box::new(leap));
        }
        self.mended.push(mended);
        self.kept.clone_from(&self.latest);
        let report = &bench.report;
        bench.leap = bench
            .leap
            .filter(|leap| !report.new_errors(&leap.report).is_empty());
        self.select(bench);
    }

    fn restore(&mut self, bench: Bench) {
        self.step = Step::Restoring(bench);
        self.call(
            "put the workspace back".to_owned(),
            Tool::Restore {
                after_call: self.kept.clone(),
            },
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

    /// Runs the codebase's own checks, where there is hope that they pass.
    fn check_from(&mut self, at: usize) {
        let in_vain = self.round > 1 && self.mended.len() == self.mended_before;
        let hopeless = at == 0 && (!self.broken.is_empty() || in_vain);
        match self.assignment.checks.get(at) {
            Some(check) if !hopeless => {
                let exec = Exec {
                    argv: check.argv.clone(),
                    network: check.network,
                    timeout_ms: check.timeout_ms,
                    ..Exec::default()
                };
                self.step = Step::Checking(at);
                self.call(check.name.clone(), Tool::Exec(exec));
            }
            Some(_) | None => self.end(in_vain),
        }
    }

    fn checked(&mut self, at: usize, ended: &Ended, output: &str) {
        if !ended.is_success() {
            self.left
                .push(failure(&self.assignment.checks[at].name, ended, output));
        }
        self.check_from(at + 1);
    }

    fn end(&mut self, in_vain: bool) {
        let failed = self
            .left
            .iter()
            .any(|line| !line.starts_with("verification: "));
        if failed || in_vain {
            let mut left = std::mem::take(&mut self.left);
            left.extend(self.notes.iter().cloned());
            return self.stuck(left);
        }
        self.step = Step::Ended;
        self.action = Action::Finished {
            summary: words::summary(&self.mended, self.assignment.checks.len(), &self.notes),
        };
    }

    fn stuck(&mut self, left: Vec<String>) {
        self.step = Step::Ended;
        self.action = Action::Stuck {
            reason: words::reason(&self.mended, left),
        };
    }

    fn call(&mut self, title: String, tool: Tool) {
        self.calls += 1;
        self.action = Action::Call(ToolCall {
            call_id: format!("mechanic-{}", self.calls),
            title,
            tool,
        });
    }
}
