//! Whose turn it is: seeds that were not played yet, without an end, and plays by their weights.

use crate::life::Kind;
use crate::play::{PLAYS, Play};
use crate::tally::{self, Played, Seeds};
use crate::trouble::Trouble;

use super::{Campaign, Chunk, Orders};

/// Seeds of one process.
const CHUNK: usize = 20;
/// The weight of each play under each trouble.
const TROUBLE: u32 = 10;

/// The seeds of a play in one kind of lives or trouble.
struct Series {
    kind: Kind,
    trouble: Option<Trouble>,
    play: &'static Play,
    weight: u32,
    played: Seeds,
    /// The next one, where it was not played.
    seed: u64,
    /// How many more at the most.
    left: u64,
    /// How many were given out.
    given: u64,
}

/// What is to be played.
pub(super) struct Turns {
    series: Vec<Series>,
    given: Vec<Chunk>,
}

impl Turns {
    /// Those of a campaign.
    pub(super) fn of(campaign: &Campaign, played: &Played) -> Self {
        let names = &campaign.plays;
        let wanted = |play: &&Play| names.is_empty() || names.iter().any(|name| name == play.name);
        let weights: u64 = PLAYS.iter().map(|play| u64::from(play.weight)).sum();
        let series = |kind, trouble, play: &'static Play, weight, left| Series {
            kind,
            trouble,
            play,
            weight,
            played: played
                .get(&tally::series(kind, trouble, play.name))
                .cloned()
                .unwrap_or_default(),
            seed: 0,
            left,
            given: 0,
        };
        let mut all = Vec::new();
        for kind in &campaign.kinds {
            for play in PLAYS.iter().filter(wanted).filter(|play| play.weight > 0) {
                let share = |scenarios| scenarios * u64::from(play.weight) / weights;
                let left = campaign.scenarios.map_or(u64::MAX, share);
                all.push(series(*kind, None, play, play.weight, left));
            }
        }
        for trouble in &campaign.troubles {
            for play in PLAYS.iter().filter(wanted).filter(|play| trouble.suits(play.name)) {
                let left = campaign.scenarios.unwrap_or(u64::MAX);
                all.push(series(Kind::Daemon, Some(*trouble), play, TROUBLE, left));
            }
        }
        Self { series: all, given: Vec::new() }
    }

    /// These alone.
    pub(super) fn given(chunks: Vec<Chunk>) -> Self {
        Self { series: Vec::new(), given: chunks }
    }

    /// Whether a play is among them.
    pub(super) fn have(&self, play: &str) -> bool {
        self.series.iter().any(|series| series.play.name == play && series.left > 0)
    }

    /// Plays no more of what a chunk is of.
    pub(super) fn give_up(&mut self, chunk: &Chunk) {
        let trouble =
            if let Orders::Trouble(trouble, _) = &chunk.orders { Some(*trouble) } else { None };
        self.series.retain(|series| {
            (series.kind, series.trouble, series.play.name) != (chunk.kind, trouble, chunk.play)
        });
    }
}

impl Iterator for Turns {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if let Some(chunk) = self.given.pop() {
            return Some(chunk);
        }
        let open = self.series.iter_mut().filter(|series| series.left > 0);
        open.min_by_key(|series| series.given * 1_000 / u64::from(series.weight)).map(Series::chunk)
    }
}

impl Series {
    /// Its next seeds.
    fn chunk(&mut self) -> Chunk {
        // A trouble takes its time.
        let size = if self.trouble.is_some() { CHUNK / 2 } else { CHUNK };
        let mut seeds = Vec::new();
        while seeds.len() < size && self.left > 0 {
            if !self.played.contains(self.seed) {
                seeds.push(self.seed);
                self.left -= 1;
                self.given += 1;
            }
            self.seed += 1;
        }
        let orders = match self.trouble {
            Some(trouble) => Orders::Trouble(trouble, seeds),
            None => Orders::Seeds(seeds),
        };
        Chunk { kind: self.kind, play: self.play.name, orders }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn seeds(chunk: &Chunk) -> &[u64] {
        match &chunk.orders {
            Orders::Seeds(seeds) | Orders::Trouble(_, seeds) => seeds,
            Orders::Ends(_) => &[],
        }
    }

    #[test]
    fn plays_take_turns_by_their_weights_and_never_end() {
        let campaign = Campaign { kinds: vec![Kind::Inside], ..Campaign::default() };
        let mut given: BTreeMap<&str, usize> = BTreeMap::new();
        for chunk in Turns::of(&campaign, &Played::new()).take(10_000) {
            *given.entry(chunk.play).or_default() += seeds(&chunk).len();
        }
        let of = |name: &str| given.get(name).copied().unwrap_or_default();
        assert_eq!(given.values().sum::<usize>(), 200_000);
        assert!(of("graph").abs_diff(of("command") * 2) < 100, "{given:?}");
        assert!(of("command").abs_diff(of("schedules") * 2) < 100, "{given:?}");
        assert!(of("upkeep") > 1_000 && of("steady") == 0, "{given:?}");
    }

    #[test]
    fn a_share_of_what_was_not_played_yet() {
        let mut played = Played::new();
        let of_graph = played.entry(tally::series(Kind::Daemon, None, "graph")).or_default();
        (0..30).for_each(|seed| of_graph.insert(seed));
        let campaign = Campaign {
            kinds: vec![Kind::Daemon],
            plays: vec!["graph".to_owned()],
            scenarios: Some(100),
            ..Campaign::default()
        };
        let all: Vec<u64> =
            Turns::of(&campaign, &played).flat_map(|chunk| seeds(&chunk).to_vec()).collect();
        // 80 of the sum of all weights, 278.
        assert_eq!(all, (30..58).collect::<Vec<_>>());
    }

    #[test]
    fn what_failed_is_given_up() {
        let campaign = Campaign {
            kinds: Vec::new(),
            troubles: vec![Trouble::Disk, Trouble::Nodes],
            ..Campaign::default()
        };
        let mut turns = Turns::of(&campaign, &Played::new());
        let Some(first) = turns.next() else { panic!("nothing to play") };
        turns.give_up(&first);
        assert!(turns.have("steady"));
        let others =
            turns.take(3).all(|chunk| matches!(chunk.orders, Orders::Trouble(Trouble::Nodes, _)));
        assert!(others);
    }
}
