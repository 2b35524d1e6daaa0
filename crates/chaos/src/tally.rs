//! What all scenarios came to, added up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use journeyman_faults::POINTS;
use serde::{Deserialize, Serialize};

use crate::life::{End, Kind, half};
use crate::scenario::Outcome;
use crate::trouble::Trouble;

/// The figures of one kind of lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Scenarios that were played to their end and judged.
    pub scenarios: u64,
    /// Lives that were ended.
    pub kills: u64,
    /// Of those, in a later life of the same scenario: while it recovered, or after that.
    pub kills_in_recovery: u64,
    /// How often a trouble struck that ends no life of a daemon.
    #[serde(default)]
    pub strikes: u64,
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
    /// Daemons in trouble, by its name.
    pub troubles: BTreeMap<String, Figures>,
    /// The halves of failpoints at which a life ended.
    pub places: BTreeSet<String>,
    /// Those of them at which SIGKILL ended a daemon.
    #[serde(default)]
    pub places_of_daemons: BTreeSet<String>,
    /// Players that broke off, with scenarios that nobody judged.
    #[serde(default)]
    pub broken_off: u64,
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
        let mut all = [&self.daemon, &self.inside].into_iter().chain(self.troubles.values());
        self.broken_off == 0 && all.all(Figures::is_clean)
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
        figures.strikes += u64::from(outcome.strikes);
        if outcome.scenario.trouble.is_none() {
            figures.kills_in_recovery += u64::from(outcome.kills.saturating_sub(1));
        }
        figures.lost += any(&findings.lost);
        figures.duplicated += any(&findings.duplicated);
        figures.divergent += any(&findings.divergent);
        figures.orphans += any(&findings.orphans);
        figures.repeated_calls += u64::try_from(findings.repeated.len()).unwrap_or(u64::MAX);
        figures.audit_gaps += any(&findings.audit);
        for end in &outcome.ended {
            if let End::Point { point, after, .. } = end {
                let place = format!("{point} {}", half(*after).word());
                if outcome.scenario.kind == Kind::Daemon {
                    self.places_of_daemons.insert(place.clone());
                }
                self.places.insert(place);
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
            ("of them in a later life of a scenario", a.kills_in_recovery, b.kills_in_recovery),
            ("lost", a.lost, b.lost),
            ("duplicated", a.duplicated, b.duplicated),
            ("divergent", a.divergent, b.divergent),
            ("orphans", a.orphans, b.orphans),
            ("repeated model calls", a.repeated_calls, b.repeated_calls),
            ("gaps in the audit", a.audit_gaps, b.audit_gaps),
        ] {
            writeln!(f, "| {name} | {a} | {b} |")?;
        }
        let (places, all) = (self.places.len(), POINTS.len() * 2);
        let by_kill = self.places_of_daemons.len();
        writeln!(
            f,
            "\nFailpoint halves at which a life ended: {places} of {all}; by SIGKILL: {by_kill}."
        )?;
        if self.broken_off > 0 {
            writeln!(f, "\nPlayers that broke off: {}.", self.broken_off)?;
        }
        if self.troubles.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\n| trouble | scenarios | strikes | SIGKILLs of daemons | lost | duplicated | divergent | orphans | repeated model calls | gaps in the audit |"
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
        for (name, of) in &self.troubles {
            let (scenarios, strikes, kills, lost) = (of.scenarios, of.strikes, of.kills, of.lost);
            let (duplicated, divergent) = (of.duplicated, of.divergent);
            let (orphans, gaps) = (of.orphans, of.audit_gaps);
            let repeated = if asks_a_model(name) {
                of.repeated_calls.to_string()
            } else {
                "no model".to_owned()
            };
            writeln!(
                f,
                "| {name} | {scenarios} | {strikes} | {kills} | {lost} | {duplicated} | {divergent} | {orphans} | {repeated} | {gaps} |"
            )?;
        }
        Ok(())
    }
}

/// Whether anybody asks a model under the trouble of this name.
fn asks_a_model(trouble: &str) -> bool {
    Trouble::from_str(trouble, true).is_ok_and(|trouble| trouble.suits("model"))
}

/// Seeds, as ranges that follow each other with gaps between them: first and last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seeds(Vec<(u64, u64)>);

impl Seeds {
    /// Whether a seed is among them.
    pub fn contains(&self, seed: u64) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&seed))
    }

    /// Adds one.
    pub fn insert(&mut self, seed: u64) {
        if self.contains(seed) {
            return;
        }
        self.0.push((seed, seed));
        self.0.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (first, last) in self.0.drain(..) {
            match joined.last_mut() {
                Some(before) if before.1 + 1 == first => before.1 = last,
                _ => joined.push((first, last)),
            }
        }
        self.0 = joined;
    }
}

/// The seeds that were played, by their series.
pub type Played = BTreeMap<String, Seeds>;

/// The name of the seeds of a play in one kind of lives or trouble.
pub fn series(kind: Kind, trouble: Option<Trouble>, play: &str) -> String {
    let lives = match (trouble, kind) {
        (Some(trouble), _) => trouble.name(),
        (None, Kind::Daemon) => "daemon",
        (None, Kind::Inside) => "inside",
    };
    format!("{lives} {play}")
}

/// How strict the judge is: a number that grows with what it looks at. What was judged less strictly is not added to.
pub const JUDGE: u32 = 2;

/// What campaigns write down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The [`JUDGE`] of all of it.
    #[serde(default = "first_judge")]
    pub judge: u32,
    /// What all came to.
    pub tally: Tally,
    /// What was played.
    pub played: Played,
}

const fn first_judge() -> u32 {
    1
}

impl Default for Record {
    fn default() -> Self {
        Self { judge: JUDGE, tally: Tally::default(), played: Played::default() }
    }
}

impl Record {
    /// Reads what earlier ones wrote; nothing where there is no file.
    pub fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds a scenario; one that was played before counts once.
    pub fn add(&mut self, outcome: &Outcome) {
        let of = &outcome.scenario;
        let seeds = self.played.entry(series(of.kind, of.trouble, &of.play)).or_default();
        if !seeds.contains(of.seed) {
            seeds.insert(of.seed);
            self.tally.add(outcome);
        }
    }

    /// Writes it, whole or not at all; nothing where there is no path.
    pub fn write(&self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let temporary = path.with_extension("new");
        std::fs::write(&temporary, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(std::fs::rename(temporary, path)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_player_that_broke_off_is_a_finding() {
        let tally = Tally { broken_off: 1, ..Tally::default() };
        assert!(!tally.is_clean() && Tally::default().is_clean());
        assert!(tally.to_string().contains("broke off: 1"), "{tally}");
    }

    #[test]
    fn seeds_join() {
        let mut seeds = Seeds::default();
        for seed in [3, 1, 2, 7, 2, 6] {
            seeds.insert(seed);
        }
        assert_eq!(seeds, Seeds(vec![(1, 3), (6, 7)]));
        assert!(seeds.contains(2) && !seeds.contains(4));
    }
}
