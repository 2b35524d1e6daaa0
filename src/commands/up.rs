//! `journeyman up`: the daemon.

use crate::boot;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::Context;
use crate::shutdown;

/// Runs until a signal, or until the tree gives up.
pub async fn execute(context: &Context) -> Result<Exit, Failure> {
    let running = boot::start(context, boot::Mode::Daemon).await?;
    let server = running.serve()?;
    output::text(&format!(
        "journeyman is up; tasks are added with: journeyman task add --repo PATH \"PROMPT\"\n\
         database  {}\nsocket    {}\n",
        running.database_description(),
        server.socket().display(),
    ))?;
    let ended = tokio::select! {
        signal = shutdown::signal() => Ok(signal),
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
