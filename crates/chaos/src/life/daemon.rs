//! A life of the real daemon, and its real end. Beside it there may be others on the same database, and trouble.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
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
            exited = daemon.wait() => return Ok(died(stage, exited?, end)),
            () = moment(end) => {
                let killed = kill(&mut daemon).await?;
                return Ok(if is_killed(killed) { Lived::Ended } else { died(stage, killed, None) });
            }
            lived = at_work(stage, &data, progress) => lived?,
        };
        stop(stage, &mut daemon, end, lived).await
    })
}

/// Whether a signal 9 ended it.
pub(crate) fn is_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

/// What a life came to whose process ended without an order: at its failpoint, or as none should.
pub(crate) fn died(stage: &Stage<'_>, status: ExitStatus, end: Option<&End>) -> Lived {
    if matches!(end, Some(End::Point { .. })) && is_killed(status) {
        return Lived::Ended;
    }
    Lived::Stuck(format!("the daemon ended by itself, {status}: {}", last_words(stage)))
}

/// The last line of the daemons' log.
fn last_words(stage: &Stage<'_>) -> String {
    let log = std::fs::read_to_string(stage.world.log()).unwrap_or_default();
    log.lines().last().unwrap_or_default().to_owned()
}

/// Kills it, and says how it ended: it may have been over already.
pub(crate) async fn kill(daemon: &mut Child) -> Result<ExitStatus> {
    let _ = daemon.start_kill();
    Ok(daemon.wait().await?)
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
    match answers(stage, data).await {
        Some(client) => drive(stage, &client, progress).await,
        None => Ok(Lived::Stuck("the daemon does not answer".to_owned())),
    }
}

/// Waits until the daemon of a data folder answers; none where it does not in time.
pub(crate) async fn answers(stage: &Stage<'_>, data: &Path) -> Option<Client> {
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
    timeout(stage.world.options().patience, answers).await.ok()
}

/// Sends a signal; the process may be ending just now.
pub(crate) fn signal(daemon: &Child, signal: Signal) {
    let pid = daemon.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let _ = pid.map(|pid| kill_process(pid, signal));
}

/// Ends a daemon whose life came to this so far: in order, but where it is stuck already. What the life then came to:
/// the same only where the daemon stopped as ordered.
pub(crate) async fn stop(
    stage: &Stage<'_>,
    daemon: &mut Child,
    end: Option<&End>,
    lived: Lived,
) -> Result<Lived> {
    if matches!(lived, Lived::Stuck(_)) {
        kill(daemon).await?;
        return Ok(lived);
    }
    signal(daemon, Signal::TERM);
    let status = tokio::select! {
        stopped = timeout(STOP, daemon.wait()) => {
            let Ok(status) = stopped else {
                kill(daemon).await?;
                let said = last_words(stage);
                return Ok(Lived::Stuck(format!("the daemon does not stop in {STOP:?}: {said}")));
            };
            status?
        }
        () = moment(end) => {
            let killed = kill(daemon).await?;
            if is_killed(killed) {
                return Ok(Lived::Ended);
            }
            killed
        }
    };
    Ok(if status.success() { lived } else { died(stage, status, end) })
}
