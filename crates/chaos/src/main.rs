//! `chaos`: plays scenarios and prints what they came to.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use journeyman_chaos::campaign::{self, Campaign, Orders};
use journeyman_chaos::life::half;
use journeyman_chaos::soak::Soak;
use journeyman_chaos::tally::Record;
use journeyman_chaos::trouble::Trouble;
use journeyman_chaos::world::Options;
use journeyman_chaos::{Kind, Play, World, record};

/// Kills the runtime everywhere and judges what is left.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plays scenarios that were not played yet, and prints what all came to.
    Run {
        /// `journeyman`, built with failpoints.
        #[arg(long)]
        program: PathBuf,
        /// Where the database is kept.
        #[arg(long)]
        folder: PathBuf,
        /// Where it is written down what was played, and what it came to.
        #[arg(long)]
        results: PathBuf,
        /// The kinds of lives that are ended.
        #[arg(long)]
        kind: Vec<Kind>,
        /// Troubles.
        #[arg(long)]
        trouble: Vec<Trouble>,
        /// The plays; all where none is given.
        #[arg(long)]
        play: Vec<String>,
        /// Scenarios of each kind and trouble at the most; as many as the minutes allow where it is left out.
        #[arg(long)]
        scenarios: Option<u64>,
        /// Minutes after which nothing new is begun.
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// Processes at once.
        #[arg(long, default_value_t = 3)]
        jobs: usize,
    },
    /// Plays seeds of one play, and prints an outcome a line.
    Play(Box<Played>),
    /// Prints what all campaigns came to.
    Table {
        /// Where that is written down.
        #[arg(long)]
        results: PathBuf,
    },
    /// Ends a life at each half of each failpoint once, and prints what that came to as JSON.
    Short {
        /// `journeyman`, built with failpoints.
        #[arg(long)]
        program: PathBuf,
        /// Where recordings are kept.
        #[arg(long)]
        folder: PathBuf,
    },
    /// A long time under load with random kills: nothing may grow, and nothing may be left.
    Soak {
        /// `journeyman`.
        #[arg(long)]
        program: PathBuf,
        /// Minutes.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// Runs at once.
        #[arg(long, default_value_t = 200)]
        runs: u32,
        /// What the kills follow from.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Plays each play undisturbed, and prints which failpoints it meets.
    Points {
        /// `journeyman`, built with failpoints.
        #[arg(long)]
        program: PathBuf,
    },
}

/// `chaos play`.
#[derive(Args)]
struct Played {
    /// `journeyman`, built with failpoints.
    #[arg(long)]
    program: PathBuf,
    /// The kind of lives.
    #[arg(long, default_value = "daemon")]
    kind: Kind,
    /// The play.
    #[arg(long)]
    play: String,
    /// The seeds.
    #[arg(long, value_delimiter = ',')]
    seeds: Vec<u64>,
    /// The seeds are of scenarios under this trouble.
    #[arg(long)]
    trouble: Option<Trouble>,
    /// Instead of seeds: the ends of a scenario's lives, a list as JSON, which may be given several times.
    #[arg(long, conflicts_with = "seeds")]
    ends: Vec<String>,
    /// What it came to undisturbed, where that was recorded.
    #[arg(long)]
    recording: Option<PathBuf>,
    /// Mechanisms of the runtime that are taken out.
    #[arg(long)]
    without: Vec<String>,
    /// The life from which on they are out, the first one being 0.
    #[arg(long, default_value_t = 0)]
    without_from: usize,
    /// Seconds that a life may take.
    #[arg(long, default_value_t = 90)]
    patience: u64,
    /// Take-overs without a new step after which a task is parked.
    #[arg(long, default_value_t = 20)]
    reclaims: u32,
    /// Seconds that a lease is good for.
    #[arg(long, default_value_t = 3)]
    lease: u32,
    /// Children get no namespaces.
    #[arg(long)]
    no_namespaces: bool,
    /// The folder stays where something is wrong.
    #[arg(long)]
    keep: bool,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    ensure!(
        journeyman_faults::ARE_THERE,
        "this build has no failpoints; build it with --profile chaos"
    );
    // Spans as the daemon has them, though nobody collects them.
    let _telemetry = journeyman_telemetry::setup::init(&journeyman_telemetry::setup::Settings {
        log_filter: "off".to_owned(),
        log_format: journeyman_telemetry::setup::LogFormat::Human,
        otlp: journeyman_telemetry::export::Otlp::from_env(),
        service_version: env!("CARGO_PKG_VERSION").to_owned(),
        resource: Vec::new(),
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(execute(cli.command))
}

async fn execute(command: Command) -> Result<ExitCode> {
    let mut out = std::io::stdout();
    match command {
        Command::Run {
            program,
            folder,
            results,
            kind,
            trouble,
            play,
            scenarios,
            minutes,
            jobs,
        } => {
            let (troubles, impossible): (Vec<_>, Vec<_>) =
                trouble.into_iter().partition(|trouble| trouble.is_possible());
            for trouble in impossible {
                writeln!(
                    std::io::stderr(),
                    "only root can play '{}'; it is left out",
                    trouble.name()
                )?;
            }
            let campaign = Campaign {
                program: std::path::absolute(program)?,
                player: std::env::current_exe()?,
                folder: std::path::absolute(folder)?,
                results,
                kinds: kind,
                troubles,
                plays: play,
                scenarios,
                time: Duration::from_mins(minutes),
                jobs,
            };
            let (tally, failed) = campaign.run().await?;
            write!(out, "{tally}")?;
            ensure!(failed.is_empty(), "what was not played to its end: {failed:#?}");
            let is_clean = tally.is_clean();
            return Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Play(played) => played.play().await?,
        Command::Table { results } => write!(out, "{}", Record::read(&results)?.tally)?,
        Command::Short { program, folder } => {
            let campaign = Campaign {
                program: std::path::absolute(program)?,
                player: std::env::current_exe()?,
                folder,
                jobs: 3,
                ..Campaign::default()
            };
            let (tally, missed) = campaign.short().await?;
            let document = serde_json::json!({ "tally": tally, "missed": missed });
            writeln!(out, "{document}")?;
        }
        Command::Soak { program, minutes, runs, seed } => {
            let soak = Soak { time: Duration::from_mins(minutes), runs, seed };
            if !soak.run(&std::path::absolute(program)?).await? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Points { program } => {
            journeyman_testkit::database::init(&program);
            let world = World::new(&std::path::absolute(program)?, Options::default()).await?;
            for play in journeyman_chaos::play::PLAYS {
                let recorded = tokio::task::block_in_place(|| {
                    record::record(&world, play, &format!("points-{}", play.name))
                })?;
                writeln!(out, "{} ({} places)", play.name, recorded.places().len())?;
                for met in &recorded.met {
                    let half = half(met.after).word();
                    writeln!(out, "  {:?} {} {half} {}", met.before, met.point, met.times)?;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Played {
    async fn play(self) -> Result<()> {
        let Self {
            program,
            kind,
            play,
            seeds,
            trouble,
            ends,
            recording,
            without,
            without_from,
            patience,
            reclaims,
            lease,
            no_namespaces,
            keep,
        } = self;

        let play = Play::named(&play).context("no such play")?;
        let ends = ends.iter().map(|ends| serde_json::from_str(ends));
        let orders = match trouble {
            Some(trouble) => Orders::Trouble(trouble, seeds),
            None if seeds.is_empty() => Orders::Ends(ends.collect::<Result<_, _>>()?),
            None => Orders::Seeds(seeds),
        };
        let lease = if trouble.is_some() { 2 } else { lease };
        let options = Options {
            patience: Duration::from_secs(patience),
            max_reclaims: reclaims,
            lease_s: lease,
            namespaces: !no_namespaces,
            without_from,
            keep,
            concurrent: trouble.map_or(Options::default().concurrent, Trouble::concurrent),
        };
        let program = std::path::absolute(program)?;
        let recording = recording.as_deref();
        campaign::play(&program, kind, play, &orders, recording, &without, options).await
    }
}
