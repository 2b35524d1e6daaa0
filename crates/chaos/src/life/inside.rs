//! A life in this process: a whole runtime, cut off where it is to end, and dropped.

use std::time::Duration;

use anyhow::{Result, anyhow};
use journeyman_faults::{Action, Arm};
use journeyman_runtime::boot;
use journeyman_runtime::client::Client;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::drive::drive;
use super::{End, Lived, Progress, half, moment};
use crate::stage::Stage;

/// What a start and a stop may take.
const LIMIT: Duration = Duration::from_mins(1);

pub(super) fn live(stage: &Stage<'_>, progress: &mut Progress, end: Option<&End>) -> Result<Lived> {
    let context = stage.world.context()?;
    let (tell, cut) = oneshot::channel();
    let mut tell = Some(tell);
    let armed = match end {
        Some(End::Point { point, after, nth }) => {
            let cut: Option<Box<dyn FnOnce() + Send>> = tell.take().map(|tell| {
                Box::new(move || {
                    // The life may be over by itself.
                    let _ = tell.send(());
                }) as Box<dyn FnOnce() + Send>
            });
            vec![Arm {
                point: point.clone(),
                half: half(*after),
                nth: *nth,
                action: Action::Cut,
                cut,
            }]
        }
        Some(End::Moment { .. }) | None => Vec::new(),
    };
    journeyman_faults::arm(armed);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let lived = runtime.block_on(async {
        let work = Box::pin(async {
            let started = timeout(LIMIT, boot::start(&context, boot::Mode::Daemon)).await;
            let Ok(running) = started else { return Ok(stuck("start")) };
            let running = running.map_err(|failure| anyhow!("{failure}"))?;
            let client = Client::Process(running.api());
            let lived = drive(stage, &client, progress).await?;
            drop(client);
            let stopped = timeout(LIMIT, running.stop()).await;
            let is_known = stopped.is_ok() || matches!(lived, Lived::Stuck(_));
            Ok(if is_known { lived } else { stuck("stop") })
        });
        tokio::select! {
            biased;
            Ok(()) = cut => Ok(Lived::Ended),
            () = moment(end) => {
                journeyman_faults::cut();
                Ok(Lived::Ended)
            }
            lived = work => lived,
        }
    });
    // Nothing of it passes a point any more; all of it goes now.
    runtime.shutdown_timeout(Duration::from_secs(10));
    lived
}

fn stuck(at: &str) -> Lived {
    Lived::Stuck(format!("the runtime does not {at} in {LIMIT:?}"))
}
