//! Who acts, and in which trace: every transaction that writes says it, and the audit records it.

use journeyman_faults::{Mechanism, is_out};
use journeyman_telemetry::TraceContext;
use sqlx::{PgConnection, Postgres, Transaction};

use crate::{Store, StoreError};

/// On whose behalf something is written.
#[derive(Clone, Copy, Debug)]
pub struct Acting<'a> {
    /// "scheduler", "agent:General Assistant", "cli".
    pub actor: &'a str,
    /// The span that the write belongs to.
    pub trace: Option<TraceContext>,
}

impl<'a> Acting<'a> {
    /// An actor within the active span's trace.
    pub fn now(actor: &'a str) -> Self {
        Self { actor, trace: TraceContext::current() }
    }
}

const SET: &str = "SELECT set_config('journeyman.actor', $1, true), \
    set_config('journeyman.trace_id', $2, true), set_config('journeyman.span_id', $3, true)";

/// What a test takes the audit out with.
const NO_TRIGGERS: &str = "SET LOCAL session_replication_role = 'replica'";

pub(crate) const ALL: &[&str] = &[SET, NO_TRIGGERS];

impl Store {
    /// A transaction whose audit rows bear the actor and the trace.
    pub(crate) async fn begin(
        &self,
        acting: &Acting<'_>,
    ) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.pool().begin().await?;
        say(&mut transaction, acting).await?;
        if is_out(Mechanism::Audit) {
            sqlx::query(NO_TRIGGERS).execute(&mut *transaction).await?;
        }
        Ok(transaction)
    }
}

/// Says in a transaction who acts.
pub(crate) async fn say(
    connection: &mut PgConnection,
    acting: &Acting<'_>,
) -> Result<(), StoreError> {
    let (trace, span) = acting
        .trace
        .map(|context| (context.trace_id_hex(), context.span_id_hex()))
        .unwrap_or_default();
    sqlx::query(SET).bind(acting.actor).bind(trace).bind(span).execute(connection).await?;
    Ok(())
}
