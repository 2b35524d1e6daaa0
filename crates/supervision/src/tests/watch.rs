//! The watch over a random tree: it holds each start and stop against what is promised.

use std::collections::{BTreeMap, BTreeSet};

use ractor::{ActorCell, ActorStatus};

use super::forest::{Branch, Node, Twig, path_of};
use crate::{ChildPath, Directory, Restart, Status, Strategy as Policy};

/// What the actors of one tree did, held against what is promised.
pub(super) struct Watch {
    tree: Branch,
    born: Vec<Born>,
    starts: BTreeMap<String, u64>,
    /// By supervisor and its generation, the children that it has started.
    firsts: BTreeMap<(String, u64), BTreeSet<usize>>,
    /// By supervisor, its generation and a child, the generations of that child.
    temporaries: BTreeMap<(String, u64, usize), BTreeSet<u64>>,
    faults: Vec<String>,
}

pub(super) struct Born {
    pub(super) path: String,
    cell: ActorCell,
    /// The generations of everything above it.
    above: Vec<u64>,
}

impl Watch {
    pub(super) fn new(tree: Branch) -> Self {
        Self {
            tree,
            born: Vec::new(),
            starts: BTreeMap::new(),
            firsts: BTreeMap::new(),
            temporaries: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    /// What was not as promised.
    pub(super) fn faults(&self) -> &[String] {
        &self.faults
    }

    /// How often each leaf was started.
    pub(super) fn starts(&self) -> &BTreeMap<String, u64> {
        &self.starts
    }

    /// An actor that belongs to another one.
    pub(super) fn adopted(&mut self, path: String, cell: ActorCell) {
        self.born.push(Born { path, cell, above: Vec::new() });
    }

    /// An actor begins its start.
    pub(super) fn born(&mut self, directory: &Directory, path: &str, cell: &ActorCell) {
        let place: Vec<usize> = path.split('/').skip(1).filter_map(|id| id.parse().ok()).collect();
        let above: Vec<u64> = (0..place.len())
            .map(|depth| directory.generation(&ChildPath::from(path_of(&place[..depth]))))
            .collect();
        let mut faults = Vec::new();
        for other in self.alive() {
            if other.path == path || other.path.starts_with(&format!("{path}/")) {
                faults.push(format!("{path} was started while {} lived", other.path));
            }
            let mut shared =
                path.split('/').zip(other.path.split('/')).take_while(|(a, b)| a == b).count();
            shared = shared.min(above.len()).min(other.above.len());
            if above[..shared] != other.above[..shared] {
                faults.push(format!(
                    "{path} was started while {} of an earlier life lived",
                    other.path
                ));
            }
            let in_groups = |strategy| strategy != Policy::OneForOne;
            if let Some(level) = self.later(&place, &other.path, in_groups)
                && self.is_moved(directory, &place, &level)
            {
                faults.push(format!("{path} was started below a living {} of {level}", other.path));
            }
        }
        for depth in 0..place.len() {
            let (level, id) = (path_of(&place[..depth]), place[depth]);
            let firsts = self.firsts.entry((level.clone(), above[depth])).or_default();
            if firsts.iter().any(|first| *first > id) && !firsts.contains(&id) {
                faults.push(format!("{path} was started out of order below {level}"));
            }
            firsts.insert(id);
            let child = ChildPath::from(path_of(&place[..=depth]));
            let is_temporary = |twig: &Twig| twig.restart == Restart::Temporary;
            if self.tree.twig(&place[..=depth]).is_some_and(is_temporary) {
                let lives = self.temporaries.entry((level, above[depth], id)).or_default();
                lives.insert(directory.generation(&child));
                if lives.len() > 1 {
                    faults.push(format!("{child} is temporary and was restarted"));
                }
            }
        }
        self.faults.extend(faults);
        *self.starts.entry(path.to_owned()).or_default() += 1;
        self.born.push(Born { path: path.to_owned(), cell: cell.clone(), above });
    }

    /// An actor was asked to stop by its supervisor.
    pub(super) fn stopped(&mut self, directory: &Directory, path: &str) {
        let place: Vec<usize> = path.split('/').skip(1).filter_map(|id| id.parse().ok()).collect();
        let mut faults = Vec::new();
        for other in self.alive() {
            if let Some(level) = self.later(&place, &other.path, |_| true)
                && self.is_moved(directory, &place, &level)
            {
                faults.push(format!("{path} was stopped before {} of {level}", other.path));
            }
        }
        self.faults.extend(faults);
    }

    /// Whether it is the supervisor at `level` that starts or stops what is on the way to `place`: its own one always,
    /// one further up only where it starts or stops the one below. (A rebirth that fails stops what it has started;
    /// with `one_for_one` nobody else is concerned.)
    fn is_moved(&self, directory: &Directory, place: &[usize], level: &str) -> bool {
        let depth = level.matches('/').count();
        let is_group = self.strategy(&place[..depth]) != Some(Policy::OneForOne);
        depth + 1 == place.len()
            || match directory.status(&path_of(&place[..=depth])) {
                Some(Status::Starting | Status::Stopping) => true,
                Some(Status::Restarting) => is_group,
                Some(Status::Running | Status::BackingOff { .. } | Status::Stopped) | None => false,
            }
    }

    fn strategy(&self, place: &[usize]) -> Option<Policy> {
        match place {
            [] => Some(self.tree.strategy),
            place => match &self.tree.twig(place)?.node {
                Node::Branch(branch) => Some(branch.strategy),
                Node::Leaf(_) => None,
            },
        }
    }

    /// The supervisor below which `other` comes later than `place`, if its strategy is one of those that are meant.
    fn later(
        &self,
        place: &[usize],
        other: &str,
        meant: impl Fn(Policy) -> bool,
    ) -> Option<String> {
        let other: Vec<usize> = other.split('/').skip(1).filter_map(|id| id.parse().ok()).collect();
        let shared = place.iter().zip(&other).take_while(|(a, b)| a == b).count();
        let strategy = self.strategy(&place[..shared])?;
        let is_later = other.get(shared)? > place.get(shared)?;
        (is_later && meant(strategy)).then(|| path_of(&place[..shared]))
    }

    /// All that live.
    pub(super) fn alive(&self) -> impl Iterator<Item = &Born> {
        self.born.iter().filter(|born| born.cell.get_status() != ActorStatus::Stopped)
    }
}
