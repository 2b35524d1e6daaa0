//! Prints the figures that the design sets a bar for, measured on this machine with the program of
//! the release build. Nothing in here is a test: a figure beyond its bar is printed, not an error.
//!
//! `cargo bench --bench figures` prints all of them, words after `--` choose: `journal`,
//! `first-step`, `list`, `classifier`, `model`, `snapshots`, `recovery`, `queue`, `pages`, `idle`. `--idle-seconds N` shortens the look at
//! the idle daemon; `--ready 1000,1000000`, `--finished 5000000` and `--listed 1000000` choose the sizes of
//! `queue` and `pages`, which are small where nothing is said.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

mod classifier;
mod durability;
mod first_step;
mod idle;
mod instant;
mod journal;
mod list;
mod machine;
mod model;
mod queue;

use std::time::Duration;

use anyhow::{Context as _, Result};

/// One line of the table.
struct Figure {
    what: String,
    value: String,
    bar: &'static str,
}

impl Figure {
    fn new(what: impl Into<String>, value: String, bar: &'static str) -> Self {
        Self { what: what.into(), value, bar }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut wanted = Vec::new();
    let mut idle_for = Duration::from_mins(5);
    let mut sizes = queue::Sizes::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--idle-seconds" => {
                let seconds = arguments.next().context("--idle-seconds needs a number")?;
                idle_for = Duration::from_secs(seconds.parse()?);
            }
            "--ready" => sizes.ready = numbers(arguments.next())?,
            "--finished" => sizes.finished = numbers(arguments.next())?,
            "--listed" => {
                sizes.listed = arguments.next().context("--listed needs a number")?.parse()?;
            }
            // From cargo.
            "--bench" => {}
            _ => wanted.push(argument),
        }
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|other| other == name);
    if is_wanted("journal") {
        print("journaling a step: its intent and its result", &journal::figures().await?);
    }
    if is_wanted("first-step") {
        print("from a task's addition to the first step of its run", &first_step::figures().await?);
    }
    if is_wanted("list") {
        print("`journeyman task list` against a running daemon", &list::figures().await?);
    }
    if is_wanted("classifier") {
        print("the classifier", &classifier::figures()?);
    }
    if is_wanted("model") {
        print("the native loop, with a model that answers at once", &model::figures().await?);
    }
    if is_wanted("snapshots") {
        print("a step that changed one file, its snapshot", &durability::snapshots().await?);
    }
    if is_wanted("recovery") {
        print("a recovery", &durability::recovery().await?);
    }
    if is_wanted("queue") {
        print("a claim, by what is ready and what is finished", &queue::claims(&sizes).await?);
    }
    if is_wanted("pages") {
        print("a page of tasks through the API of a daemon", &queue::lists(&sizes).await?);
    }
    if is_wanted("idle") {
        print("the idle daemon, PostgreSQL apart", &idle::figures(idle_for).await?);
    }
    Ok(())
}

/// Numbers with commas between them; none where the word is empty.
fn numbers(words: Option<String>) -> Result<Vec<u32>> {
    let words = words.context("a list of numbers is needed, such as 1000,10000")?;
    let words = words.split(',').filter(|word| !word.is_empty());
    Ok(words.map(str::parse).collect::<Result<_, _>>()?)
}

fn print(title: &str, figures: &[Figure]) {
    println!("{title}");
    for Figure { what, value, bar } in figures {
        println!("  {what:<58} {value:>12}   {bar}");
    }
}

/// The value below which this part of the values lies; `part` is in 0..=1.
fn quantile(values: &mut [Duration], part: f64) -> Duration {
    values.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among at most thousands of values"
    )]
    let rank = (part * values.len() as f64).ceil().max(1.0) as usize;
    values.get(rank - 1).copied().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
