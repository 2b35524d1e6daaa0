//! How far this data folder has seen the database: a small file beside it, `seen.json`.
//!
//! A database that was restored from a backup cannot know what it lacks. Branches, patches and folders of runs
//! are of a later day then; whoever starts says so, and looks at them before work is done again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use journeyman_domain::failure::sentence;
use journeyman_faults::{around, points};
use journeyman_store::audit::Seen;
use journeyman_store::{Acting, Store, StoreError};
use serde_json::json;

use super::database;
use crate::failure::Failure;

/// Between two looks: what a backup misses of less is not noticed.
const EVERY: Duration = Duration::from_secs(5);

/// The file of a data folder.
#[derive(Clone, Debug)]
pub struct File(PathBuf);

impl File {
    /// That of this folder.
    pub fn of(data: &Path) -> Self {
        Self(data.join("seen.json"))
    }

    /// What was seen; nothing where there is no file, or none that can be read.
    pub fn read(&self) -> Seen {
        let text = std::fs::read(&self.0).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    async fn write(&self, seen: &Seen) {
        around(points::SEEN, async { self.replace(seen) }).await;
    }

    fn replace(&self, seen: &Seen) {
        let temporary = self.0.with_extension("json.new");
        let written = serde_json::to_vec(seen)
            .map_err(std::io::Error::other)
            .and_then(|text| std::fs::write(&temporary, text))
            .and_then(|()| std::fs::rename(&temporary, &self.0));
        if let Err(error) = written {
            tracing::debug!(error = %sentence(&error), "how far the audit was seen is not written down");
        }
    }

    /// Whether the database is older than this folder; then it is said, and recorded. Another database says nothing of
    /// what is here.
    pub(super) async fn is_ahead_of(&self, store: &Store) -> Result<bool, Failure> {
        let look = async {
            let seen = self.read();
            let last = store.audit().last().await?;
            if seen.is_of_another(&last) {
                tracing::warn!(
                    "this data folder was used with another database before; what that one left here is left alone"
                );
                return Ok(false);
            }
            let lacking = store.audit().lacks(&seen).await?;
            if lacking.is_empty() {
                return Ok(false);
            }
            let place =
                |mark: Option<journeyman_store::audit::Mark>| mark.map_or(0, |it| it.position);
            tracing::warn!(
                seen.rows = place(seen.rows),
                seen.events = place(seen.events),
                has.rows = place(last.rows),
                has.events = place(last.events),
                "the database is older than what this data folder has seen, as after a restore; \
                 branches of tasks that it does not know to be done are looked for, and folders of runs that it \
                 does not know are removed"
            );
            let attributes = json!({ "seen": seen, "has": last });
            let acting = Acting::now("boot");
            store
                .audit()
                .record(&acting, "database_older", "runtime_nodes", &[], &attributes)
                .await?;
            Ok::<bool, StoreError>(true)
        };
        look.await.map_err(|error| database::failure(&error))
    }

    /// Writes down again and again how far the audit is, until it is dropped.
    pub(super) async fn follow(self, store: Store) {
        let (mut written, mut earlier) = (Seen::default(), None);
        loop {
            let last = store.audit().last().await.ok();
            // Of a look ago: what a crash of the database takes back by its own leave is not seen.
            if let Some(seen) = earlier.filter(|seen| *seen != written) {
                self.write(&seen).await;
                written = seen;
            }
            earlier = last.or(earlier);
            tokio::time::sleep(EVERY).await;
        }
    }

    /// The same once, at an ordered end.
    pub(super) async fn note(&self, store: &Store) {
        if let Ok(last) = store.audit().last().await {
            self.write(&last).await;
        }
    }
}
