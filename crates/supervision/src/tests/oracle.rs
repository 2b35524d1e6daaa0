//! What a tree must look like after one failure at a time: the rules once more, as short as they can be said, without
//! messages, backoff or burials.

use std::collections::{BTreeMap, BTreeSet};

use super::forest::{Branch, Node, Twig, path_of};
use crate::{AutoShutdown, Restart, Strategy};

const PERIOD_MS: u64 = 5_000;

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Normal,
    Abnormal,
}

pub(super) struct Oracle {
    root: Supervisor,
    starts: BTreeMap<String, u64>,
}

struct Supervisor {
    spec: Branch,
    restarts_ms: Vec<u64>,
    members: Vec<Member>,
}

struct Member {
    twig: Twig,
    place: Vec<usize>,
    runs: bool,
    below: Option<Supervisor>,
}

impl Oracle {
    pub(super) fn new(tree: &Branch) -> Self {
        let mut starts = BTreeMap::new();
        Self { root: Supervisor::up(tree, &[], &mut starts), starts }
    }

    /// The child at a place ends; how the whole tree then ended, if it did.
    pub(super) fn ends(&mut self, place: &[usize], how: End, now_ms: u64) -> Option<End> {
        self.root.ends(place, how, now_ms, &mut self.starts)
    }

    pub(super) fn starts(&self) -> &BTreeMap<String, u64> {
        &self.starts
    }

    /// The leaves that run.
    pub(super) fn alive(&self) -> BTreeSet<String> {
        let mut alive = BTreeSet::new();
        self.root.alive(&mut alive);
        alive
    }
}

impl Supervisor {
    fn up(spec: &Branch, place: &[usize], starts: &mut BTreeMap<String, u64>) -> Self {
        let members = spec.twigs.iter().enumerate().map(|(id, twig)| {
            let place = [place, &[id]].concat();
            let mut member = Member { twig: twig.clone(), place, runs: false, below: None };
            member.up(starts);
            member
        });
        Self { spec: spec.clone(), restarts_ms: Vec::new(), members: members.collect() }
    }

    fn ends(
        &mut self,
        place: &[usize],
        how: End,
        now_ms: u64,
        starts: &mut BTreeMap<String, u64>,
    ) -> Option<End> {
        let (id, rest) = place.split_first()?;
        let member = self.members.get_mut(*id).filter(|member| member.runs)?;
        let how = match &mut member.below {
            Some(below) if !rest.is_empty() => below.ends(rest, how, now_ms, starts)?,
            _ => how,
        };
        member.down();
        let is_restarted = match member.twig.restart {
            Restart::Permanent => true,
            Restart::Transient => how == End::Abnormal,
            Restart::Temporary => false,
        };
        if !is_restarted {
            let is_last = !self.members.iter().any(|other| other.twig.significant && other.runs);
            let is_over = match self.spec.auto {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => is_last,
            };
            return (self.members[*id].twig.significant && is_over).then_some(End::Normal);
        }
        self.restarts_ms.retain(|at_ms| now_ms - at_ms < PERIOD_MS);
        self.restarts_ms.push(now_ms);
        if self.restarts_ms.len() > self.spec.intensity as usize {
            return Some(End::Abnormal);
        }
        let concerned = match self.spec.strategy {
            Strategy::OneForOne | Strategy::Dynamic => *id..=*id,
            Strategy::OneForAll => 0..=self.members.len() - 1,
            Strategy::RestForOne => *id..=self.members.len() - 1,
        };
        for member in &mut self.members[concerned] {
            member.down();
            if member.twig.restart != Restart::Temporary {
                member.up(starts);
            }
        }
        None
    }

    fn alive(&self, alive: &mut BTreeSet<String>) {
        for member in self.members.iter().filter(|member| member.runs) {
            match &member.below {
                Some(below) => below.alive(alive),
                None => drop(alive.insert(path_of(&member.place))),
            }
        }
    }
}

impl Member {
    fn up(&mut self, starts: &mut BTreeMap<String, u64>) {
        self.runs = true;
        match &self.twig.node {
            Node::Leaf(_) => *starts.entry(path_of(&self.place)).or_default() += 1,
            Node::Branch(branch) => self.below = Some(Supervisor::up(branch, &self.place, starts)),
        }
    }

    fn down(&mut self) {
        self.runs = false;
        self.below = None;
    }
}
