//! `journeyman up`: the daemon.

use std::pin::{Pin, pin};
use std::time::Duration;

use crate::boot;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::Context;
use crate::shutdown;

/// Runs until a signal, or until the tree gives up.
pub async fn execute(context: &Context) -> Result<Exit, Failure> {
    // From the first moment on one listener: a signal that comes while another one is made would be lost.
    let mut signal = pin!(shutdown::signal());
    let Some(running) = start(context, signal.as_mut()).await? else { return Ok(Exit::Done) };
    let server = running.serve()?;
    output::text(&format!(
        "journeyman is up; tasks are added with: journeyman task add --repo PATH \"PROMPT\"\n\
         database  {}\nsocket    {}\n",
        running.database_description(),
        server.socket().display(),
    ))?;
    let ended = tokio::select! {
        signal = signal => Ok(signal),
        reason = running.ended() => Err(reason),
    };
    if let Ok(signal) = &ended {
        tracing::info!(signal, "stopping");
    }
    server.stop().await;
    running.stop().await;
    match ended {
        Ok(_) => Ok(Exit::Done),
        Err(reason) => Err(Failure::broken(format!("the runtime gave up: {reason}"))),
    }
}

/// Between two tries to start.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Starts; none where a signal came first. A database that answered and then went away is waited for, as a daemon
/// that runs waits for it; one that never answered is the user's to look at.
async fn start(
    context: &Context,
    mut signal: Pin<&mut impl Future<Output = &'static str>>,
) -> Result<Option<boot::Running>, Failure> {
    let mut was_there = false;
    loop {
        let failure = tokio::select! {
            started = boot::start(context, boot::Mode::Daemon) => match started {
                Ok(running) => return Ok(Some(running)),
                Err(failure) => failure,
            },
            _ = &mut signal => return Ok(None),
        };
        was_there |= boot::is_database_lost(&failure);
        if !(was_there && boot::is_database_away(&failure)) {
            return Err(failure);
        }
        tracing::warn!(
            error = failure.message,
            "the database went away while the runtime started; it is tried again"
        );
        tokio::select! {
            () = tokio::time::sleep(AGAIN_AFTER) => {}
            _ = &mut signal => return Ok(None),
        }
    }
}
