//! Limits and maintenance mode while the daemon runs: read again every few seconds, so that a change holds without a
//! restart, whoever made it and wherever it stands.

use std::time::Duration;

use journeyman_domain::schedule;
use journeyman_store::Store;
use tokio::sync::watch;

use super::database;
use crate::config::Settings;
use crate::session::Context;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);

/// The settings of scheduling as they are now.
pub(super) struct Limits(watch::Sender<schedule::Settings>);

fn decisions(settings: &Settings) -> schedule::Settings {
    settings.scheduler.decisions(&settings.system)
}

impl Limits {
    /// Those of the start.
    pub(super) fn new(settings: &Settings) -> Self {
        Self(watch::Sender::new(decisions(settings)))
    }

    /// Where they can be read.
    pub(super) fn now(&self) -> watch::Receiver<schedule::Settings> {
        self.0.subscribe()
    }

    /// Looks at them again and again until nobody reads them any more.
    pub(super) fn watch(self, context: Context, store: Store) {
        tokio::spawn(async move {
            let mut is_told = false;
            loop {
                tokio::select! {
                    () = self.0.closed() => return,
                    () = tokio::time::sleep(EVERY) => {}
                }
                match again(&context, &store).await {
                    Ok(settings) => {
                        is_told = false;
                        self.0.send_if_modified(|now| {
                            let is_new = *now != settings;
                            if is_new {
                                tracing::info!(?settings, "limits have changed");
                                *now = settings;
                            }
                            is_new
                        });
                    }
                    Err(failure) if !is_told => {
                        is_told = true;
                        tracing::warn!(error = %failure, "the settings cannot be read again; they stay as they were");
                    }
                    Err(_) => {}
                }
            }
        });
    }
}

async fn again(
    context: &Context,
    store: &Store,
) -> Result<schedule::Settings, crate::failure::Failure> {
    let fresh = Context::load(context.json)?;
    Ok(decisions(&database::settings(&fresh, store).await?))
}
