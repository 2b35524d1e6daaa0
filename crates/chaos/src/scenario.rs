//! One scenario: a play in lives that end where its seed says, and the judgement of what is left.

use std::collections::BTreeMap;

use anyhow::Result;
use journeyman_testkit::model::ModelServer;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};

use crate::judge::{self, Findings};
use crate::life::{End, Kind, Lived, Progress, live};
use crate::play::Play;
use crate::record::Recording;
use crate::stage::Stage;
use crate::trouble::Trouble;
use crate::world::World;

/// More lives than these are no recovery.
const MOST_LIVES: usize = 12;

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
    /// The lives that were ended, or how often a trouble struck; an end that was not reached is not counted.
    pub kills: u32,
    /// What is wrong.
    pub findings: Findings,
    /// What a reader needs to see why, where something is wrong: what tasks and journals say, and the daemons' log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

impl Scenario {
    /// The scenario of a seed. Seeds that follow each other walk over the places of a play, so that none is left out;
    /// what comes after the first end is drawn.
    pub fn of(seed: u64, kind: Kind, play: &Play, recording: &Recording) -> Self {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let places = recording.places();
        let place = usize::try_from(seed).unwrap_or_default() % places.len().max(1);
        let mut ends = Vec::new();
        // Some of the real ones end at any moment instead.
        if kind == Kind::Daemon && random.u8(..10) < 3 {
            ends.push(Some(End::Moment { ms: random.u64(20..1_500) }));
        } else if let Some(place) = places.get(place) {
            ends.clone_from(place);
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

    /// Plays it.
    pub fn run(&self, world: &World, play: &Play, recording: &Recording) -> Result<Outcome> {
        let stage = Stage::set(world, play, &format!("s{}", self.seed))?;
        let mut progress = Progress::new((play.acts)());
        let mut findings = Findings::default();
        let mut kills = 0;
        let mut paid = BTreeMap::new();
        let looker = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for life in 0..=MOST_LIVES {
            let lived = if let Some(trouble) = self.trouble.filter(|_| life == 0) {
                let (lived, strikes) = trouble.live(&stage, &mut progress, self.seed)?;
                kills += strikes;
                world.wait_for_database()?;
                lived
            } else {
                let end = self.ends.get(life).and_then(Option::as_ref);
                live(self.kind, &stage, &mut progress, end)?
            };
            match lived {
                Lived::Over => break,
                Lived::Restarts => {}
                Lived::Ended => {
                    kills += 1;
                    paid.extend(looker.block_on(journaled(&stage))?);
                }
                Lived::Stuck(why) => {
                    findings.lost.push(why);
                    break;
                }
            }
            if life == MOST_LIVES {
                findings.lost.push(format!("not over after {life} lives"));
            }
        }
        looker.block_on(self.judge(&stage, recording, &mut findings))?;
        for ((conversation, turn), times) in paid {
            let now = stage.model.as_ref().map_or(0, |model| model.answered(&conversation, turn));
            if now > times {
                findings.repeated.push(format!("turn {turn} of {conversation}"));
            }
        }
        findings.divergent.extend(stage.model.iter().flat_map(ModelServer::violations));
        findings.divergent.extend(stage.forge.iter().flat_map(|(forge, _)| forge.violations()));
        let mut evidence = Vec::new();
        if findings.is_empty() {
            std::fs::remove_dir_all(&stage.repository)?;
        } else {
            evidence = looker.block_on(judge::evidence(&stage))?;
        }
        Ok(Outcome { scenario: self.clone(), kills, findings, evidence })
    }

    async fn judge(
        &self,
        stage: &Stage<'_>,
        recording: &Recording,
        findings: &mut Findings,
    ) -> Result<()> {
        let (found, duplicated) = judge::end_state(stage).await?;
        findings.duplicated.extend(duplicated);
        let differences = if self.trouble.is_some_and(Trouble::hits_work) {
            judge::differences_after_a_hit
        } else {
            judge::differences
        };
        let (lost, divergent) = differences(&recording.end, &found);
        findings.lost.extend(lost);
        findings.divergent.extend(divergent);
        findings.orphans.extend(judge::orphans(stage).await?);
        findings.audit.extend(judge::audit(stage).await?);
        Ok(())
    }
}

/// The turns whose answer is in a journal, and how often each was paid so far.
async fn journaled(stage: &Stage<'_>) -> Result<Vec<((String, usize), usize)>> {
    let Some(model) = &stage.model else { return Ok(Vec::new()) };
    let mut database = PgConnection::connect(&stage.world.url()).await?;
    let answers: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM run_steps s JOIN agent_tasks r ON r.id = s.run_id JOIN tasks t ON t.id = r.task_id \
         WHERE t.title LIKE $1 AND s.kind = 'model_response'",
    )
    .bind(format!("{}%", stage.prefix))
    .fetch_one(&mut database)
    .await?;
    let answers = usize::try_from(answers).unwrap_or_default();
    Ok(model.all_answered().into_iter().filter(|((_, turn), _)| *turn < answers).collect())
}
