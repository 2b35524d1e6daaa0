//! A life of the real daemon, and its real end. Beside it there may be others on the same database, and trouble.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use journeyman_runtime::client::Client;
use journeyman_runtime::socket;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use super::drive::drive;
use super::{End, Lived, Progress, half, moment};
use crate::stage::Stage;

/// How long an ordered stop may take.
const STOP: Duration = Duration::from_mins(1);

pub(super) fn live(stage: &Stage<'_>, progress: &mut Progress, end: Option<&End>) -> Result<Lived> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let data = stage.world.data();
        let mut daemon = start(stage, &data, end)?;
        let lived = tokio::select! {
            exited = daemon.wait() => { exited?; return Ok(Lived::Ended) }
            () = moment(end) => { daemon.kill().await?; return Ok(Lived::Ended) }
            lived = at_work(stage, &data, progress) => lived?,
        };
        if matches!(lived, Lived::Stuck(_)) {
            daemon.kill().await?;
            return Ok(lived);
        }
        if !stop(&mut daemon, end).await? {
            return Ok(Lived::Ended);
        }
        Ok(lived)
    })
}

/// Starts a daemon of a data folder, and does not wait until it answers.
pub(crate) fn start(stage: &Stage<'_>, data: &Path, end: Option<&End>) -> Result<Child> {
    let log = File::options().create(true).append(true).open(stage.world.log())?;
    let mut command = stage.world.command(&["up"]);
    command.env("JOURNEYMAN_DATA", data);
    if let Some(End::Point { point, after, nth }) = end {
        let half = half(*after).word();
        command.env("JOURNEYMAN_FAILPOINT", format!("{point}:{half}:{nth}=kill"));
    }
    command.stdout(Stdio::null()).stderr(log);
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).spawn().context("the daemon")
}

/// The user at the daemon of a data folder.
pub(crate) async fn at_work(
    stage: &Stage<'_>,
    data: &Path,
    progress: &mut Progress,
) -> Result<Lived> {
    let answers = async {
        loop {
            if let Ok(socket) = socket::path(data)
                && let Some(client) = Client::connect(&socket).await
            {
                return client;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    match timeout(stage.world.options().patience, answers).await {
        Ok(client) => drive(stage, &client, progress).await,
        Err(_) => Ok(Lived::Stuck("the daemon does not answer".to_owned())),
    }
}

/// Sends a signal; the process may be ending just now.
pub(crate) fn signal(daemon: &Child, signal: Signal) {
    let pid = daemon.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let _ = pid.map(|pid| kill_process(pid, signal));
}

/// Stops it in order; false where it was ended meanwhile.
pub(crate) async fn stop(daemon: &mut Child, end: Option<&End>) -> Result<bool> {
    signal(daemon, Signal::TERM);
    tokio::select! {
        stopped = timeout(STOP, daemon.wait()) => {
            let stopped = stopped.context("it does not stop")??;
            Ok(stopped.success())
        }
        () = moment(end) => { daemon.kill().await?; Ok(false) }
    }
}
