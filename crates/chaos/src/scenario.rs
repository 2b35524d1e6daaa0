//! One scenario: a play in lives that end where its seed says, and the judgement of what is left.

use anyhow::Result;
use journeyman_testkit::model::ModelServer;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Runtime;

use crate::judge::{self, Findings};
use crate::life::{End, Kind, Lived, Progress, live};
use crate::paid;
use crate::play::Play;
use crate::record::Recording;
use crate::stage::Stage;
use crate::trouble::Trouble;
use crate::world::World;

/// More lives than these are no recovery.
const MOST_LIVES: usize = 12;

/// Of ten daemons, those that end at a moment.
const MOMENTS: u64 = 3;
/// Sooner a daemon has done nothing yet.
const EARLIEST_MS: u64 = 20;

/// A play and where its lives end; a life without an end stops in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// What it follows from.
    pub seed: u64,
    /// What kind of lives it has.
    pub kind: Kind,
    /// The play's name.
    pub play: String,
    /// The end of each life, the first one first.
    pub ends: Vec<Option<End>>,
    /// What its first life is troubled by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario.
    pub scenario: Scenario,
    /// The lives that were ended; an end that was not reached is not counted.
    pub kills: u32,
    /// How often a trouble struck that ends no life of a daemon.
    #[serde(default)]
    pub strikes: u32,
    /// The ends of lives that came about, in order.
    #[serde(default)]
    pub ended: Vec<End>,
    /// What is wrong.
    pub findings: Findings,
    /// What a reader needs to see why, where something is wrong: what tasks and journals say, and the daemons' log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

impl Scenario {
    /// The scenario of a seed. Seeds that follow each other walk over the places of a play, round after round; of ten
    /// daemons three end at a drawn moment instead, anywhere in the play. Ends in recoveries are drawn.
    pub fn of(seed: u64, kind: Kind, play: &Play, recording: &Recording) -> Self {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let places = recording.places();
        let (tens, rest) = (seed / 10, seed % 10);
        let turn = match kind {
            Kind::Daemon => rest.checked_sub(MOMENTS).map(|nth| tens * (10 - MOMENTS) + nth),
            Kind::Inside => Some(seed),
        };
        let mut ends = Vec::new();
        if let Some(turn) = turn {
            let place = usize::try_from(turn).unwrap_or_default() % places.len().max(1);
            ends.extend(places.get(place).cloned().unwrap_or_default());
        } else {
            // A daemon beside others takes longer than the recording did.
            let latest = (recording.took_ms * 2).max(EARLIEST_MS + 1);
            ends.push(Some(End::Moment { ms: random.u64(EARLIEST_MS..latest) }));
        }
        // A recovery that ends, too.
        let again = match random.u8(..10) {
            0..=5 => 0,
            6..=8 => 1,
            _ => 2,
        };
        for _ in 0..again {
            let drawn = places.get(random.usize(..places.len().max(1)));
            let Some(Some(Some(mut end))) = drawn.map(|place| place.last().cloned()) else { break };
            if let End::Point { nth, .. } = &mut end {
                // What a later life meets often it meets early.
                *nth = (*nth).min(random.u32(1..4));
            }
            ends.push(Some(end));
        }
        Self { seed, kind, play: play.name.to_owned(), ends, trouble: None }
    }

    /// The scenario of a seed under a trouble. In one of three the daemon is killed in its midst.
    pub fn under(trouble: Trouble, seed: u64, play: &Play) -> Self {
        let mut random = fastrand::Rng::with_seed(!seed);
        let is_killed = trouble.is_around_one() && random.u8(..3) == 0;
        let end = is_killed.then(|| End::Moment { ms: random.u64(200..1_200) });
        Self {
            seed,
            kind: Kind::Daemon,
            play: play.name.to_owned(),
            ends: vec![end],
            trouble: Some(trouble),
        }
    }

    /// Plays it. Whatever of it cannot be played or looked at to its end is lost.
    pub fn run(&self, world: &World, play: &Play, recording: &Recording) -> Result<Outcome> {
        let stage = Stage::set(world, play, &format!("s{}", self.seed))?;
        let looker = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut outcome = Outcome {
            scenario: self.clone(),
            kills: 0,
            strikes: 0,
            ended: Vec::new(),
            findings: Findings::default(),
            evidence: Vec::new(),
        };
        if let Err(error) = self.play(&stage, play, &mut outcome) {
            outcome.findings.lost.push(format!("it broke off: {error:#}"));
        }
        if let Err(error) = self.judge(&looker, &stage, recording, &mut outcome) {
            outcome.findings.lost.push(format!("it cannot be judged: {error:#}"));
        }
        if outcome.findings.is_empty() {
            std::fs::remove_dir_all(&stage.repository)?;
        } else {
            let evidence = looker.block_on(judge::evidence(&stage));
            outcome.evidence = evidence.unwrap_or_else(|error| vec![format!("{error:#}")]);
        }
        Ok(outcome)
    }

    fn play(&self, stage: &Stage<'_>, play: &Play, outcome: &mut Outcome) -> Result<()> {
        let mut progress = Progress::new((play.acts)());
        for life in 0..=MOST_LIVES {
            stage.world.begin(life);
            let end = self.ends.get(life).and_then(Option::as_ref);
            let lived = if let Some(trouble) = self.trouble.filter(|_| life == 0) {
                let (lived, strikes) = trouble.live(stage, &mut progress, end, self.seed)?;
                if trouble == Trouble::Nodes {
                    outcome.kills += strikes;
                } else {
                    outcome.strikes += strikes;
                }
                stage.world.wait_for_database()?;
                lived
            } else {
                live(self.kind, stage, &mut progress, end)?
            };
            match lived {
                Lived::Over => {
                    outcome.findings.orphans.append(&mut progress.left);
                    return Ok(());
                }
                Lived::Restarts => {}
                Lived::Ended => {
                    outcome.kills += 1;
                    outcome.ended.extend(end.cloned());
                }
                Lived::Stuck(why) => {
                    outcome.findings.lost.push(why);
                    return Ok(());
                }
            }
        }
        outcome.findings.lost.push(format!("not over after {MOST_LIVES} lives"));
        Ok(())
    }

    fn judge(
        &self,
        looker: &Runtime,
        stage: &Stage<'_>,
        recording: &Recording,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let (disturbances, strikes) = (outcome.kills + outcome.strikes, outcome.strikes);
        let findings = &mut outcome.findings;
        findings.divergent.extend(stage.model.iter().flat_map(ModelServer::violations));
        findings.divergent.extend(stage.forge.iter().flat_map(|(forge, _)| forge.violations()));
        looker.block_on(async {
            let mut database = PgConnection::connect(&stage.world.url()).await?;
            findings.repeated.extend(paid::repeated(stage, &mut database, disturbances).await?);
            self.compare(stage, &mut database, recording, strikes, findings).await
        })
    }

    async fn compare(
        &self,
        stage: &Stage<'_>,
        database: &mut PgConnection,
        recording: &Recording,
        strikes: u32,
        findings: &mut Findings,
    ) -> Result<()> {
        let (found, duplicated) = judge::end_state(stage, database).await?;
        findings.duplicated.extend(duplicated);
        let hits_work = self.trouble.is_some_and(Trouble::hits_work);
        let (lost, divergent) = if hits_work {
            // A program that is killed fails its own task; a disk is full for all of them.
            let most = if self.trouble == Some(Trouble::Agent) { strikes } else { u32::MAX };
            judge::differences_after_a_hit(&recording.end, &found, most)
        } else {
            judge::differences(&recording.end, &found)
        };
        findings.lost.extend(lost);
        findings.divergent.extend(divergent);
        findings.divergent.extend(judge::repository(stage, hits_work)?);
        findings.orphans.extend(judge::orphans(stage, database).await?);
        findings.audit.extend(judge::audit(stage, database).await?);
        Ok(())
    }
}
