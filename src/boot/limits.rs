//! Limits and maintenance mode while the daemon runs: looked at every few seconds, so that a change holds without a
//! restart, whoever made it and wherever it stands.

use std::path::Path;
use std::time::{Duration, SystemTime};

use journeyman_domain::schedule;
use journeyman_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::database;
use crate::config::Settings;
use crate::failure::Failure;
use crate::session::Context;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// A file that changed within this time may change once more without looking different.
const SETTLED: Duration = Duration::from_secs(2);

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

    /// Looks at them again and again until it is told to stop.
    pub(super) async fn watch(self, context: Context, store: Store, stop: CancellationToken) {
        let mut source = Source { context, seen: None };
        let mut is_told = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            match source.again(&store).await {
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
                    tracing::warn!(
                        error = failure.message,
                        "the settings cannot be read again; they stay as they were"
                    );
                }
                Err(_) => {}
            }
        }
    }
}

/// Where the settings come from: the file, read again when it looks different, and the table.
struct Source {
    context: Context,
    /// How the file looked when it was read; none where that says nothing.
    seen: Option<Look>,
}

impl Source {
    async fn again(&mut self, store: &Store) -> Result<schedule::Settings, Failure> {
        // Before the file is read: a change while it is read is seen the next time.
        let look = look(&self.context.paths.settings_file(), SystemTime::now());
        if look.is_none() || look != self.seen {
            self.seen = None;
            self.context = Context::load(self.context.json)?;
            self.seen = look;
        }
        Ok(decisions(&database::settings(&self.context, store).await?))
    }
}

/// How a file looks from outside; `Missing` is a look, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Missing,
    File { modified: SystemTime, bytes: u64 },
}

/// None where it cannot be told, or where the file changed just now.
fn look(file: &Path, now: SystemTime) -> Option<Look> {
    let metadata = match std::fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(Look::Missing),
        Err(_) => return None,
    };
    let modified = metadata.modified().ok()?;
    let is_settled = now.duration_since(modified).is_ok_and(|age| age >= SETTLED);
    is_settled.then_some(Look::File { modified, bytes: metadata.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_looks_the_same_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("journeyman.toml");
        let later = SystemTime::now() + Duration::from_secs(10);
        assert_eq!(look(&file, later), Some(Look::Missing));
        std::fs::write(&file, "[run]\n").unwrap();
        let first = look(&file, later);
        assert!(first.is_some() && first == look(&file, later + Duration::from_secs(10)));
        assert_eq!(look(&file, SystemTime::now()), None, "it changed just now");
        std::fs::write(&file, "[run]\nbudget_usd = 1\n").unwrap();
        assert_ne!(look(&file, later), first);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(look(&file, later), Some(Look::Missing));
    }
}
