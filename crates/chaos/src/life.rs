//! One life of the runtime, to its end: in order, or where it is killed.

pub(crate) mod daemon;
mod drive;
mod inside;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use journeyman_faults::Half;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::play::Act;
use crate::stage::Stage;

/// What kind of lives a scenario has.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The real daemon; its end is a real SIGKILL.
    Daemon,
    /// A runtime in this process; from its end on no durable write and no effect of it passes, and all of its actors
    /// are dropped. PostgreSQL, git and children are real.
    Inside,
}

/// Where a life ends before its time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// At a failpoint.
    Point {
        /// Its name.
        point: String,
        /// Whether before or after its work.
        after: bool,
        /// At which time that it is reached in this life, from 1.
        nth: u32,
    },
    /// So many milliseconds after its start; a daemon whose work was over by then, after its stop began.
    Moment {
        /// Milliseconds.
        ms: u64,
    },
}

/// The half of a point, as records have it.
pub fn half(after: bool) -> Half {
    if after { Half::After } else { Half::Before }
}

/// Waits until the moment of an end that is one.
pub(crate) async fn moment(end: Option<&End>) {
    match end {
        Some(End::Moment { ms }) => sleep(Duration::from_millis(*ms)).await,
        Some(End::Point { .. }) | None => std::future::pending().await,
    }
}

impl End {
    /// A half of a point.
    pub fn at(point: &str, half: Half, nth: u32) -> Self {
        Self::Point { point: point.to_owned(), after: half == Half::After, nth }
    }
}

/// How a life went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lived {
    /// Everything was done, and it stopped in order.
    Over,
    /// It was ended where it was to end.
    Ended,
    /// It stopped in order, and goes on in a new life.
    Restarts,
    /// What should have come about did not.
    Stuck(String),
}

/// How far the user is with a play.
#[derive(Debug)]
pub struct Progress {
    acts: Vec<Act>,
    next: usize,
    /// What runs that are over have left behind while the runtime lived on.
    pub left: Vec<String>,
}

impl Progress {
    /// At the first act.
    pub const fn new(acts: Vec<Act>) -> Self {
        Self { acts, next: 0, left: Vec::new() }
    }
}

/// Lives once on a stage; `end` is where it is ended, if it gets there.
pub fn live(
    kind: Kind,
    stage: &Stage<'_>,
    progress: &mut Progress,
    end: Option<&End>,
) -> Result<Lived> {
    match kind {
        Kind::Daemon => daemon::live(stage, progress, end),
        Kind::Inside => inside::live(stage, progress, end),
    }
}
