//! What durability costs: a snapshot after a step that changed one file, in repositories of three sizes, and the time from
//! a daemon's start until all runs that its last life was interrupted in are at work again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use journeyman_domain::ids::RunId;
use journeyman_domain::model::Wire;
use journeyman_store::{PoolOptions, Store};
use journeyman_testkit::model::{ModelServer, Reply, Script};
use journeyman_workspace::reap::Owner;
use serde_json::json;
use uuid::Uuid;

use crate::machine::{Home, git};
use crate::{Figure, journal, milliseconds, model, quantile};

/// Files of the repositories.
const FILES: [usize; 3] = [100, 10_000, 100_000];
/// Files of one folder.
const OF_A_FOLDER: usize = 100;
/// Steps of each.
const ROUNDS: usize = 60;

pub(crate) async fn snapshots() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for files in FILES {
        figures.extend(snapshot(files).await?);
    }
    Ok(figures)
}

async fn snapshot(files: usize) -> Result<Vec<Figure>> {
    let home = Home::new()?;
    let cluster = home.cluster()?;
    let store = Store::connect(&cluster.url, PoolOptions::default()).await?;
    store.migrate().await?;
    let claim = journal::claim(&store).await?;
    let folder = tempfile::tempdir()?;
    let repository = folder.path().join("repository");
    fill(&repository, files)?;
    let base = journeyman_workspace::resolve(&repository, "HEAD").await?;
    let owner = Owner { run: RunId::from_uuid(Uuid::now_v7()), epoch: 1 };
    let place = folder.path().join("run");
    let workspace = journeyman_workspace::create(&repository, &base, owner, &place).await?;
    let mut current = workspace.base();
    let touched = [PathBuf::from("folder-0/file-0.txt")];
    let changed = workspace.tree().join(&touched[0]);
    // Without a snapshot, after a program, after an edit.
    let mut times: [Vec<Duration>; 3] = Default::default();
    for round in 0..3 * ROUNDS {
        let kind = round % 3;
        std::fs::write(&changed, format!("round {round}\n"))?;
        let seq = u64::try_from(round + 1)?;
        let began = Instant::now();
        if kind > 0 {
            current = match kind {
                1 => journeyman_workspace::take(&workspace, seq, &current).await?,
                _ => {
                    journeyman_workspace::take_touched(&workspace, seq, &current, &touched).await?
                }
            };
            ensure!(current.changed, "nothing changed");
        }
        let taken = began.elapsed();
        let pack = (kind > 0).then_some(current.pack.as_slice());
        times[kind].push(taken + journal::step(&store, &claim, round, pack).await?);
    }
    store.close().await;
    let [plain, program, edit] = times.map(|mut times| quantile(&mut times, 0.5));
    let bar = if files == 10_000 { "at most 15" } else { "" };
    let adds = |whole: Duration| milliseconds(whole.saturating_sub(plain));
    Ok(vec![
        Figure::new(format!("{files} files: a step without a snapshot"), milliseconds(plain), ""),
        Figure::new(format!("{files} files: the snapshot after a program"), adds(program), bar),
        Figure::new(format!("{files} files: the snapshot after an edit"), adds(edit), bar),
    ])
}

fn fill(repository: &Path, files: usize) -> Result<()> {
    for number in 0..files {
        let folder = repository.join(format!("folder-{}", number / OF_A_FOLDER));
        if number % OF_A_FOLDER == 0 {
            std::fs::create_dir_all(&folder)?;
        }
        let text = format!("file {number}\n").repeat(20);
        std::fs::write(folder.join(format!("file-{}.txt", number % OF_A_FOLDER)), text)?;
    }
    git(repository, &["init", "-q", "-b", "main"])?;
    git(repository, &["add", "-A"])?;
    git(repository, &["commit", "-q", "-m", "first"])
}

/// Runs that are interrupted.
const RUNS: usize = model::RUNS;

pub(crate) async fn recovery() -> Result<Vec<Figure>> {
    let script = Script::by(|seen| match seen.turn {
        0 => Reply::call("read", &json!({ "path": "Cargo.toml" })),
        _ => Reply::text("Read.").wait_before_headers(Duration::from_mins(10)),
    });
    let server = ModelServer::start(script)?;
    let wire = Wire::OpenAiResponses;
    let home = model::home(&server.base_url(wire), wire)?;
    let asked = |times: usize| {
        let begun = move |seen: &[std::sync::Arc<journeyman_testkit::model::Seen>]| {
            seen.iter().filter(|one| one.turn == 1).count() >= times
        };
        server.wait_until(Duration::from_mins(5), begun)
    };
    let daemon = home.daemon().await?;
    let repository = home.repository()?;
    for number in 0..RUNS {
        model::add(&daemon, &repository, &format!("Read on {number}")).await?;
    }
    ensure!(asked(RUNS), "the runs do not come about");
    // The cluster stays: it is the daemon that is killed.
    let _cluster = home.cluster()?;
    daemon.kill()?;
    let began = Instant::now();
    let daemon = home.daemon().await?;
    let answers = began.elapsed();
    ensure!(asked(2 * RUNS), "the runs do not go on");
    let resumed = began.elapsed();
    drop(server);
    drop(daemon);
    Ok(vec![
        Figure::new("after kill -9: the daemon answers", milliseconds(answers), ""),
        Figure::new(
            format!("after kill -9: all of {RUNS} runs ask their model again"),
            milliseconds(resumed),
            "at most 5000",
        ),
    ])
}
