//! Hints between processes. A hint may be lost: every listener also looks by itself now and then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _};
use journeyman_domain::ids::TaskId;
use sqlx::postgres::PgListener;

use crate::{Store, StoreError};

/// Something about tasks changed: the payload is a task's id.
pub const TASKS_CHANNEL: &str = "tasks";

/// The least time between two hints that were not waited for.
const APART: Duration = Duration::from_millis(5);

/// Hints that go out by themselves.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    is_due: AtomicBool,
    last: Mutex<Option<Instant>>,
}

const NOTIFY: &str = "SELECT pg_notify($1, $2)";

pub(crate) const ALL: &[&str] = &[NOTIFY];

impl Store {
    /// The payloads that arrive on a channel from now on. Holds one connection; reconnects by
    /// itself, and what came meanwhile is lost. An item is an error when reconnecting failed.
    pub async fn listen(
        &self,
        channel: &str,
    ) -> Result<impl Stream<Item = Result<String, StoreError>> + Send + use<>, StoreError> {
        let mut listener = PgListener::connect_with(self.pool()).await?;
        listener.listen(channel).await?;
        Ok(listener.into_stream().map(|item| match item {
            Ok(notification) => Ok(notification.payload().to_owned()),
            Err(error) => Err(error.into()),
        }))
    }

    /// The same without waiting for it, and not more often than every few milliseconds: a hint costs
    /// its writer no commit.
    pub(crate) fn hint_soon(&self, channel: &'static str, task: TaskId) {
        if self.hints.is_due.swap(true, Ordering::AcqRel) {
            return;
        }
        let store = self.clone();
        tokio::spawn(async move {
            let last = *store.hints.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(rest) = last.and_then(|last| APART.checked_sub(last.elapsed())) {
                tokio::time::sleep(rest).await;
            }
            *store.hints.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            store.hints.is_due.store(false, Ordering::Release);
            store.hint(channel, task).await;
        });
    }

    /// Sends a hint, after the commit that it is about and outside of it. A failure is only logged:
    /// the change itself is durable.
    pub(crate) async fn hint(&self, channel: &str, payload: impl ToString) {
        let sent =
            sqlx::query(NOTIFY).bind(channel).bind(payload.to_string()).execute(self.pool()).await;
        if let Err(error) = sent {
            tracing::debug!(channel, %error, "hint not sent");
        }
    }
}
