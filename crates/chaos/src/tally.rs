//! What all scenarios came to, added up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::life::{End, Kind};
use crate::scenario::Outcome;

/// The figures of one kind of lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Scenarios that were played to their end and judged.
    pub scenarios: u64,
    /// Lives that were ended.
    pub kills: u64,
    /// Of those, after another one of the same scenario: while it recovered.
    pub kills_in_recovery: u64,
    /// Scenarios with something lost.
    pub lost: u64,
    /// Scenarios with something done twice.
    pub duplicated: u64,
    /// Scenarios that ended otherwise than undisturbed.
    pub divergent: u64,
    /// Scenarios with a process or a folder left over.
    pub orphans: u64,
    /// Journaled answers of a model that were asked for again.
    pub repeated_calls: u64,
    /// Scenarios whose audit has a gap or a broken chain.
    pub audit_gaps: u64,
}

/// What a campaign came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The real daemon, killed by SIGKILL.
    pub daemon: Figures,
    /// A runtime in this process, cut off.
    pub inside: Figures,
    /// Daemons in trouble, by its name; `kills` is how often it struck.
    pub troubles: BTreeMap<String, Figures>,
    /// The halves of failpoints at which a life was to end.
    pub places: BTreeSet<String>,
}

impl Figures {
    fn is_clean(&self) -> bool {
        let found = [
            self.lost,
            self.duplicated,
            self.divergent,
            self.orphans,
            self.repeated_calls,
            self.audit_gaps,
        ];
        found.iter().all(|count| *count == 0)
    }
}

impl Tally {
    /// Whether nothing was found wrong.
    pub fn is_clean(&self) -> bool {
        [&self.daemon, &self.inside]
            .into_iter()
            .chain(self.troubles.values())
            .all(Figures::is_clean)
    }

    /// Adds a scenario.
    pub fn add(&mut self, outcome: &Outcome) {
        let figures = match (outcome.scenario.trouble, outcome.scenario.kind) {
            (Some(trouble), _) => self.troubles.entry(trouble.name().to_owned()).or_default(),
            (None, Kind::Daemon) => &mut self.daemon,
            (None, Kind::Inside) => &mut self.inside,
        };
        let findings = &outcome.findings;
        let any = |found: &[String]| u64::from(!found.is_empty());
        figures.scenarios += 1;
        figures.kills += u64::from(outcome.kills);
        if outcome.scenario.trouble.is_none() {
            figures.kills_in_recovery += u64::from(outcome.kills.saturating_sub(1));
        }
        figures.lost += any(&findings.lost);
        figures.duplicated += any(&findings.duplicated);
        figures.divergent += any(&findings.divergent);
        figures.orphans += any(&findings.orphans);
        figures.repeated_calls += u64::try_from(findings.repeated.len()).unwrap_or(u64::MAX);
        figures.audit_gaps += any(&findings.audit);
        for end in outcome.scenario.ends.iter().flatten() {
            if let End::Point { point, after, .. } = end {
                self.places.insert(format!("{point} {}", if *after { "after" } else { "before" }));
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | real SIGKILL of the daemon | cut inside the test process |")?;
        writeln!(f, "|---|---:|---:|")?;
        let (a, b) = (&self.daemon, &self.inside);
        for (name, a, b) in [
            ("scenarios", a.scenarios, b.scenarios),
            ("kills", a.kills, b.kills),
            ("of them during a recovery", a.kills_in_recovery, b.kills_in_recovery),
            ("lost", a.lost, b.lost),
            ("duplicated", a.duplicated, b.duplicated),
            ("divergent", a.divergent, b.divergent),
            ("orphans", a.orphans, b.orphans),
            ("repeated model calls", a.repeated_calls, b.repeated_calls),
            ("gaps in the audit", a.audit_gaps, b.audit_gaps),
        ] {
            writeln!(f, "| {name} | {a} | {b} |")?;
        }
        if self.troubles.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\n| trouble | scenarios | strikes | lost | duplicated | divergent | orphans | repeated model calls |"
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---:|---:|")?;
        for (name, of) in &self.troubles {
            let (scenarios, kills, lost) = (of.scenarios, of.kills, of.lost);
            let (duplicated, divergent) = (of.duplicated, of.divergent);
            let (orphans, repeated) = (of.orphans, of.repeated_calls);
            writeln!(
                f,
                "| {name} | {scenarios} | {kills} | {lost} | {duplicated} | {divergent} | {orphans} | {repeated} |"
            )?;
        }
        Ok(())
    }
}
