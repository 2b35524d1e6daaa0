//! The driver `mechanic`: no model, only what compilers and linters themselves propose.
//!
//! It probes the workspace with each tool that the codebase uses, applies the proposals of one
//! kind, probes again, keeps what made the tool's verdict better and has everything else put
//! back. A proposal that the tool does not vouch for is a guess: it is kept when an error goes
//! and none comes, or, where it only uncovers errors that it had hidden, when those go as well.
//!
//! It owns what was tried and what was kept. It must never change what a test expects, and never
//! end "finished" while a check fails.

mod bench;
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
use bench::Bench;
use group::{Group, Plan, Refused};
use probe::Probe;
use words::Mended;

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

impl Driver for Mechanic {
    fn next(&mut self) -> Action {
        self.action.clone()
    }

    fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::CallEnded { result, output } => {
                let asked = match &self.action {
                    Action::Call(call) => call.call_id == result.call_id,
                    Action::Reads { .. }
                    | Action::Ask(_)
                    | Action::Exhausted { .. }
                    | Action::Finished { .. }
                    | Action::Stuck { .. } => false,
                };
                if asked {
                    self.advance(&result, output);
                }
            }
            Observation::RoundFailed { evidence } => self.begin_round(&evidence),
            // It knows no model, and limits are the runtime's.
            Observation::ModelAnswered { .. }
            | Observation::ModelFailed { .. }
            | Observation::Resumed { .. } => {}
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
            action: Action::Finished { summary: String::new() },
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
            Step::Reading { bench, mut group, mut contents, path } => {
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
                    self.restore(bench);
                } else {
                    self.select(bench);
                }
            }
            Step::Judging { bench, group, plan } => self.judge(bench, group, &plan, ended, &output),
            Step::Restoring(bench) if ended.is_success() => {
                self.latest.clone_from(&self.kept);
                self.select(bench);
            }
            Step::Restoring(_) => {
                self.stuck(vec![failure("putting the workspace back", ended, &output)]);
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
        let uses = self.probes[at].asked_by.as_ref().is_some_and(|(_, mark)| output.contains(mark));
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
            self.select(Bench { probe: at, report, leap: None });
        } else {
            self.notes.insert(failure(&probe.title, ended, output));
            self.probe_from(at + 1);
        }
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
            self.left.push(failure(&self.assignment.checks[at].name, ended, output));
        }
        self.check_from(at + 1);
    }

    fn end(&mut self, in_vain: bool) {
        let failed = self.left.iter().any(|line| !line.starts_with("verification: "));
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
        self.action = Action::Stuck { reason: words::reason(&self.mended, left) };
    }

    fn call(&mut self, title: String, tool: Tool) {
        self.calls += 1;
        self.action =
            Action::Call(ToolCall { call_id: format!("mechanic-{}", self.calls), title, tool });
    }
}
