//! A play that nobody disturbs: what it comes to, and which failpoints it meets on its way.

use std::time::Instant;

use anyhow::{Result, ensure};
use journeyman_faults::{Half, Point, points};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};

use crate::judge::{self, EndState};
use crate::life::{End, Kind, Lived, Progress, live};
use crate::play::Play;
use crate::stage::Stage;
use crate::world::World;

/// The play whose recovery is recorded from one more death than that in its middle: a program is at work, which the next
/// life finds.
const AT_WORK: &str = "command";

/// A half of a point, and how often one life met it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Met {
    /// The ends of the lives before that life.
    pub before: Vec<Option<End>>,
    /// The point's name.
    pub point: String,
    /// Whether after its work.
    pub after: bool,
    /// How often.
    pub times: u32,
}

/// A play without a disturbance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recording {
    /// What it comes to.
    pub end: EndState,
    /// What its lives meet, and what a life meets that goes on with it after one was ended in the middle.
    pub met: Vec<Met>,
    /// Milliseconds that it takes.
    pub took_ms: u64,
}

impl Recording {
    /// Every place where a life of it may end: the ends of its lives up to that one. At first each half of each point
    /// once, so that few scenarios are at all of them.
    pub fn places(&self) -> Vec<Vec<Option<End>>> {
        let each = |met: &Met| {
            let met = met.clone();
            (1..=met.times).map(move |nth| {
                let end = End::Point { point: met.point.clone(), after: met.after, nth };
                (nth, met.before.iter().cloned().chain([Some(end)]).collect())
            })
        };
        let mut places: Vec<(u32, _)> = self.met.iter().flat_map(each).collect();
        places.sort_by_key(|(nth, _)| *nth);
        places.into_iter().map(|(_, place)| place).collect()
    }
}

/// Plays it in this process: once undisturbed, once with an end in its middle.
pub fn record(world: &World, play: &Play, name: &str) -> Result<Recording> {
    let began = Instant::now();
    let (mut met, end) = lives(world, play, name, None)?;
    let took_ms = u64::try_from(began.elapsed().as_millis())?;
    let mut deaths: Vec<End> = middle(&met).into_iter().collect();
    if play.name == AT_WORK {
        deaths.push(End::at(points::CHILD_STARTED.name, Half::After, 1));
    }
    for (nth, death) in deaths.iter().enumerate() {
        let (recovered, found) = lives(world, play, &format!("{name}-again{nth}"), Some(death))?;
        ensure!(found == end, "{} ends otherwise after {death:?}: {found:#?}", play.name);
        let recovered = recovered.into_iter().filter(|met| !met.before.is_empty());
        let is_known = |other: &Met| {
            met.iter().any(|met| (&met.point, met.after) == (&other.point, other.after))
        };
        // After the first one, what no recovery meets otherwise.
        let new: Vec<Met> = recovered.filter(|met| nth == 0 || !is_known(met)).collect();
        met.extend(new);
    }
    met.sort();
    Ok(Recording { end, met, took_ms })
}

/// Where work is under way: a step in the middle of the journal, else the middle of what is added.
fn middle(met: &[Met]) -> Option<End> {
    let of = |point: Point| {
        let mut halves = met.iter().filter(|met| met.before.is_empty() && !met.after);
        halves
            .find(|met| met.point == point.name)
            .map(|met| End::at(point.name, Half::Before, met.times.div_ceil(2)))
    };
    of(points::APPEND)
        .filter(|end| !matches!(end, End::Point { nth: 1, .. }))
        .or_else(|| of(points::COMPLETE_BATCH))
}

/// Plays it with this end of its first life, where there is one; what its lives met, and what it came to.
fn lives(
    world: &World,
    play: &Play,
    name: &str,
    end: Option<&End>,
) -> Result<(Vec<Met>, EndState)> {
    let stage = Stage::set(world, play, name)?;
    let mut progress = Progress::new((play.acts)());
    let (mut met, mut before) = (Vec::new(), Vec::new());
    loop {
        let end = end.filter(|_| before.is_empty());
        let lived = live(Kind::Inside, &stage, &mut progress, end)?;
        met.extend(journeyman_faults::hits().into_iter().map(|(point, half, times)| Met {
            before: before.clone(),
            point: point.to_owned(),
            after: half == Half::After,
            times,
        }));
        match lived {
            Lived::Over => break,
            Lived::Restarts | Lived::Ended => before.push(end.cloned()),
            Lived::Stuck(_) => ensure!(false, "{} does not end: {lived:?}", play.name),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut database = runtime.block_on(PgConnection::connect(&world.url()))?;
    let (end, duplicated) = runtime.block_on(judge::end_state(&stage, &mut database))?;
    ensure!(duplicated.is_empty(), "{}: {duplicated:?}", play.name);
    let mut wrong = progress.left;
    wrong.extend(judge::repository(&stage, false)?);
    wrong.extend(runtime.block_on(judge::orphans(&stage, &mut database))?);
    wrong.extend(runtime.block_on(judge::audit(&stage, &mut database))?);
    ensure!(wrong.is_empty(), "{}: {wrong:?}", play.name);
    Ok((met, end))
}
