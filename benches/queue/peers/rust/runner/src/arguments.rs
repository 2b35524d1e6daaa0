//! The command line that every runner of the benchmark has.

use std::time::Duration;

use anyhow::{Context, Result, bail};

pub const USAGE: &str = "\
usage, with DATABASE_URL of an empty database:
  drain --tasks N | enqueue --callers C --seconds T | enqueue-batch --size N --seconds T [--callers C]
  latency --samples N | steps --workflows W --steps S | wal --tasks N
  each also: --limit SECONDS";

/// What is measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    Drain { tasks: usize },
    Enqueue { callers: usize, duration: Duration },
    EnqueueBatch { size: usize, duration: Duration, callers: Option<usize> },
    Latency { samples: usize },
    Steps { workflows: usize, steps: usize },
    Wal { tasks: usize },
}

/// The whole command line and the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Arguments {
    pub mode: Mode,
    pub limit: Duration,
    pub url: String,
}

impl Arguments {
    /// Reads the mode, its options and `DATABASE_URL`.
    pub fn read(words: impl Iterator<Item = String>) -> Result<Self> {
        let words: Vec<String> = words.collect();
        let (mode, options) = words.split_first().context("no mode")?;
        let value = |name: &str| -> Result<Option<f64>> {
            let Some(at) = options.iter().position(|word| word == name) else { return Ok(None) };
            let word = options.get(at + 1).with_context(|| format!("{name} needs a number"))?;
            Ok(Some(word.parse::<f64>().with_context(|| format!("{name} {word}"))?))
        };
        let number = |name: &str, default: usize| {
            Ok::<_, anyhow::Error>(value(name)?.map_or(default, |n| n as usize))
        };
        let duration =
            || Ok::<_, anyhow::Error>(Duration::from_secs_f64(value("--seconds")?.unwrap_or(5.0)));
        let mode = match mode.as_str() {
            "drain" => Mode::Drain { tasks: number("--tasks", 20_000)? },
            "enqueue" => {
                Mode::Enqueue { callers: number("--callers", 1)?.max(1), duration: duration()? }
            }
            "enqueue-batch" => Mode::EnqueueBatch {
                size: number("--size", 1000)?,
                duration: duration()?,
                callers: value("--callers")?.map(|n| (n as usize).max(1)),
            },
            "latency" => Mode::Latency { samples: number("--samples", 200)?.max(1) },
            "steps" => {
                Mode::Steps { workflows: number("--workflows", 32)?, steps: number("--steps", 10)? }
            }
            "wal" => Mode::Wal { tasks: number("--tasks", 20_000)? },
            other => bail!("unknown mode {other}"),
        };
        Ok(Self {
            mode,
            limit: Duration::from_secs_f64(value("--limit")?.unwrap_or(120.0)),
            url: std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?,
        })
    }
}
