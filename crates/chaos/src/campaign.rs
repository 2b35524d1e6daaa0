//! Many scenarios: in chunks of seeds, each in a process of its own, several at once; what was played before is not
//! played again, and adds up.

mod turns;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use journeyman_faults::{Half, POINTS};
use journeyman_testkit::database::{self, URL_VARIABLE};

use crate::life::{End, Kind, half};
use crate::play::{PLAYS, Play};
use crate::record::{self, Recording};
use crate::scenario::{Outcome, Scenario};
use crate::tally::{JUDGE, Record, Tally};
use crate::trouble::Trouble;
use crate::world::{Options, World};

use turns::Turns;

/// Ends of one process in the short campaign.
const ENDS: usize = 10;
/// How often the short campaign tries to end a life at a half of a failpoint: some are met at certain times alone.
const TRIES: usize = 4;

/// What is asked of a campaign.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// `journeyman`, built with failpoints.
    pub program: PathBuf,
    /// `chaos` itself.
    pub player: PathBuf,
    /// Where the database is kept.
    pub folder: PathBuf,
    /// Where it is written down what was played, and what it came to; adds up over campaigns.
    pub results: PathBuf,
    /// What kinds of lives.
    pub kinds: Vec<Kind>,
    /// Which troubles.
    pub troubles: Vec<Trouble>,
    /// Which plays; all where none is named.
    pub plays: Vec<String>,
    /// Scenarios at the most, of each kind and trouble; none: as many as the time allows.
    pub scenarios: Option<u64>,
    /// After so long nothing new is begun.
    pub time: Duration,
    /// Processes at once.
    pub jobs: usize,
}

impl Default for Campaign {
    fn default() -> Self {
        Self {
            program: PathBuf::new(),
            player: PathBuf::new(),
            folder: PathBuf::new(),
            results: PathBuf::new(),
            kinds: vec![Kind::Daemon, Kind::Inside],
            troubles: Vec::new(),
            plays: Vec::new(),
            scenarios: None,
            time: Duration::from_hours(1),
            jobs: 1,
        }
    }
}

/// Scenarios of one play that one process plays.
#[derive(Clone, Debug)]
struct Chunk {
    kind: Kind,
    play: &'static str,
    orders: Orders,
}

impl Campaign {
    /// Plays, and says what all of it came to, what was played before included, and what could not be played.
    pub async fn run(&self) -> Result<(Tally, Vec<String>)> {
        for name in &self.plays {
            Play::named(name).with_context(|| format!("there is no play '{name}'"))?;
        }
        std::fs::create_dir_all(&self.folder)?;
        database::init(&self.program);
        let cluster =
            database::cluster_in(self.folder.join("cluster"), &self.program, true).await?;
        let url = cluster.url();
        let mut record = Record::read(&self.results)?;
        if record.judge != JUDGE {
            tell("what is written down was judged less strictly: it is begun anew");
            record = Record::default();
        }
        let turns = Turns::of(self, &record.played);
        database::init_url(&url);
        for play in PLAYS.iter().filter(|play| turns.have(play.name)) {
            self.record(play).await?;
        }
        let (record, failed) = self.play_all(record, turns, &url);
        Ok((record.tally, failed))
    }

    /// Plays one scenario for each half of each failpoint, in the first play that meets it, inside; what they came to,
    /// and the halves at which no life ended.
    pub async fn short(&self) -> Result<(Tally, Vec<String>)> {
        std::fs::create_dir_all(&self.folder)?;
        database::init(&self.program);
        let mut places: BTreeMap<String, Vec<(&str, Place)>> = BTreeMap::new();
        for play in PLAYS.iter().filter(|play| play.weight > 0) {
            for place in self.record(play).await?.places() {
                if let Some(Some(End::Point { point, after, .. })) = place.last() {
                    let half = format!("{point} {}", half(*after).word());
                    places.entry(half).or_default().push((play.name, place));
                }
            }
        }
        let cluster = database::url().await?;
        let mut record = Record::default();
        for nth in 0..TRIES {
            let reached = &record.tally.places;
            let open = places.iter().filter(|(half, _)| !reached.contains(*half));
            // Another place at each try, as far as there are any.
            let tries = open.filter_map(|(_, places)| places.get(nth % places.len()));
            let mut ends: BTreeMap<&str, Vec<Place>> = BTreeMap::new();
            for (play, place) in tries {
                ends.entry(*play).or_default().push(place.clone());
            }
            let chunk = |play, ends: &[Place]| {
                let orders = Orders::Ends(ends.to_vec());
                Chunk { kind: Kind::Inside, play, orders }
            };
            let chunks = ends
                .iter()
                .flat_map(|(play, ends)| ends.chunks(ENDS).map(|ends| chunk(*play, ends)));
            let turns = Turns::given(chunks.collect());
            let failed;
            (record, failed) = self.play_all(record, turns, &cluster);
            anyhow::ensure!(failed.is_empty(), "what was not played to its end: {failed:#?}");
        }
        let all = POINTS.iter().flat_map(|point| {
            [Half::Before, Half::After].map(|half| format!("{} {}", point.name, half.word()))
        });
        let missed = all.filter(|half| !record.tally.places.contains(half)).collect();
        Ok((record.tally, missed))
    }

    /// Records a play, for those who play it under a disturbance.
    async fn record(&self, play: &'static Play) -> Result<Recording> {
        let world = World::new(&self.program, Options::default()).await?;
        let recording =
            tokio::task::block_in_place(|| record::record(&world, play, "undisturbed"))?;
        std::fs::write(self.recording(play.name), serde_json::to_vec(&recording)?)?;
        Ok(recording)
    }

    fn recording(&self, play: &str) -> PathBuf {
        self.folder.join(format!("{play}.json"))
    }

    /// Plays these; what they came to together with what is recorded, and what could not be played.
    fn play_all(&self, record: Record, turns: Turns, url: &str) -> (Record, Vec<String>) {
        let (turns, record) = (Mutex::new(turns), Mutex::new(record));
        let failed = Mutex::new(Vec::new());
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while began.elapsed() < self.time {
                        let next = turns.lock().ok().and_then(|mut turns| turns.next());
                        let Some(chunk) = next else { return };
                        let Err(error) = self.play(&chunk, url, &record) else { continue };
                        self.broke_off(&record);
                        // The next one of its series would fail, too.
                        if let (Ok(mut turns), Ok(mut failed)) = (turns.lock(), failed.lock()) {
                            turns.give_up(&chunk);
                            failed.push(format!("{chunk:?}: {error:#}"));
                        }
                    }
                });
            }
        });
        let record = record.into_inner().unwrap_or_else(PoisonError::into_inner);
        (record, failed.into_inner().unwrap_or_default())
    }

    /// Writes down that a player broke off.
    fn broke_off(&self, record: &Mutex<Record>) {
        let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
        record.tally.broken_off += 1;
        if let Err(error) = record.write(&self.results) {
            tell(&format!("{error:#}"));
        }
    }

    /// Has a chunk played by a process of its own, and takes its outcomes as they come.
    fn play(&self, chunk: &Chunk, url: &str, record: &Mutex<Record>) -> Result<()> {
        let kind = serde_json::to_value(chunk.kind)?;
        let mut command = Command::new(&self.player);
        match &chunk.orders {
            Orders::Seeds(seeds) => {
                let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
                command.args(["play", "--seeds", &seeds.join(",")]);
            }
            Orders::Trouble(trouble, seeds) => {
                let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
                command.args(["play", "--trouble", trouble.name(), "--seeds", &seeds.join(",")]);
            }
            Orders::Ends(all) => {
                command.arg("play");
                for ends in all {
                    command.args(["--ends", &serde_json::to_string(ends)?]);
                }
            }
        }
        let mut child = command
            .args(["--kind", kind.as_str().unwrap_or_default(), "--play", chunk.play])
            .arg("--recording")
            .arg(self.recording(chunk.play))
            .arg("--program")
            .arg(&self.program)
            .env(URL_VARIABLE, url)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("its output")?;
        for line in BufReader::new(output).lines() {
            let line = line?;
            let outcome: Outcome = serde_json::from_str(&line).context("an outcome")?;
            let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
            match &chunk.orders {
                Orders::Seeds(_) | Orders::Trouble(..) => record.add(&outcome),
                Orders::Ends(_) => record.tally.add(&outcome),
            }
            record.write(&self.results)?;
            if !outcome.findings.is_empty() {
                tell(&format!("{outcome:#?}"));
            }
        }
        anyhow::ensure!(child.wait()?.success(), "it failed");
        Ok(())
    }
}

/// The ends of lives up to one.
type Place = Vec<Option<End>>;

/// Which scenarios of a play.
#[derive(Clone, Debug)]
pub enum Orders {
    /// Those of these seeds.
    Seeds(Vec<u64>),
    /// Those whose lives end there.
    Ends(Vec<Place>),
    /// Those of these seeds under a trouble.
    Trouble(Trouble, Vec<u64>),
}

/// Plays scenarios of one play in one world, without these mechanisms, and prints an outcome a line. They are held
/// against what the play came to undisturbed; it is played so first where that was not recorded.
pub async fn play(
    program: &Path,
    kind: Kind,
    play: &'static Play,
    orders: &Orders,
    recording: Option<&Path>,
    without: &[String],
    options: Options,
) -> Result<()> {
    database::init(program);
    let trouble = if let Orders::Trouble(trouble, _) = orders { Some(*trouble) } else { None };
    // What shuts PostgreSQL down must not meet others.
    let mut own = None;
    let folder = tempfile::Builder::new().prefix("chaos-cluster").tempdir()?;
    if trouble == Some(Trouble::Database) {
        let cluster = database::cluster_in(folder.path().to_owned(), program, true).await?;
        database::init_url(&cluster.url());
        own = Some(cluster);
    }
    let mut world = World::new(program, options).await?;
    if let Some(trouble) = trouble {
        world.prepare(trouble, own.as_ref().map(|own| own.folder().to_owned()))?;
    }
    let played = tokio::task::block_in_place(|| {
        let recording = match recording {
            Some(path) => serde_json::from_slice(&std::fs::read(path)?)?,
            None => record::record(&world, play, "undisturbed")?,
        };
        let scenarios: Vec<Scenario> = match orders {
            Orders::Seeds(seeds) => {
                seeds.iter().map(|seed| Scenario::of(*seed, kind, play, &recording)).collect()
            }
            Orders::Trouble(trouble, seeds) => {
                seeds.iter().map(|seed| Scenario::under(*trouble, *seed, play)).collect()
            }
            Orders::Ends(all) => (0..)
                .zip(all)
                .map(|(seed, ends)| Scenario {
                    seed,
                    kind,
                    play: play.name.to_owned(),
                    ends: ends.clone(),
                    trouble: None,
                })
                .collect(),
        };
        world.take_out(without);
        let mut is_clean = true;
        for scenario in scenarios {
            let outcome = scenario.run(&world, play, &recording)?;
            is_clean &= outcome.findings.is_empty();
            writeln!(std::io::stdout(), "{}", serde_json::to_string(&outcome)?)?;
        }
        anyhow::Ok(is_clean)
    });
    match played {
        Ok(is_clean) => {
            if !is_clean && options.keep {
                tell(&format!("its folder is {}", world.keep().display()));
            }
            Ok(())
        }
        Err(error) => Err(error.context(format!("in {}", world.keep().display()))),
    }
}

fn tell(text: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}
