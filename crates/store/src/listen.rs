//! Hints between processes. A hint may be lost: every listener also looks by itself now and then.

use futures_util::{Stream, StreamExt as _};
use sqlx::postgres::PgListener;

use crate::{Store, StoreError};

/// Something about tasks changed: the payload is a task's id.
pub const TASKS_CHANNEL: &str = "tasks";

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
