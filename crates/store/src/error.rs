//! What can go wrong between us and the database, told apart by what a caller can do about it.

use journeyman_domain::ids::TaskId;
use sqlx::error::DatabaseError;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No server answers, or it went away: trying again later may help.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The schema was made by a newer version of this program.
    #[error("the database has schema version {found}, this program knows {known} at the most")]
    NewerDatabase {
        /// The newest migration that the database has.
        found: i64,
        /// The newest migration of this binary.
        known: i64,
    },
    /// The schema was made by an older version, and nobody has migrated it.
    #[error("the database has schema version {found}, this program needs {known}")]
    OlderDatabase {
        /// The newest migration that the database has; 0 where it has none.
        found: i64,
        /// The newest migration of this binary.
        known: i64,
    },
    /// A migration failed, or a migration that ran before was changed since.
    #[error("the database could not be migrated")]
    Migration(#[source] Box<sqlx::migrate::MigrateError>),
    /// There is no such row.
    #[error("there is no {what} {id}")]
    NotFound {
        /// The kind of row.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// A part of an id that several rows share.
    #[error("several {what}s match {part}")]
    Ambiguous {
        /// The kind of row.
        what: &'static str,
        /// What was asked for.
        part: String,
    },
    /// The row's state, a read-only setting, or another row with the same key stands against it.
    #[error("{0}")]
    Conflict(String),
    /// The lease is lost: another owner holds the execution, or it has ended. Stop working on it.
    #[error("the execution's lease is held by another owner or has ended")]
    Fenced,
    /// What was stored is not there any more, or is not what was stored.
    #[error("{0}")]
    Damaged(String),
    /// The dependencies would form a cycle: each of these waits for the next, the last is the first.
    #[error("the dependencies form a cycle: {}", name_cycle(.0))]
    Cycle(Vec<TaskId>),
    /// PostgreSQL refused a statement, or an answer could not be read.
    #[error("the database refused a statement")]
    Sql(#[source] sqlx::Error),
}

impl StoreError {
    /// The SQLSTATE that the server gave, for classification ("53100" is a full disk).
    pub fn sqlstate(&self) -> Option<String> {
        match self {
            Self::Unavailable(source) | Self::Sql(source) => {
                Some(source.as_database_error()?.code()?.into_owned())
            }
            Self::NewerDatabase { .. }
            | Self::OlderDatabase { .. }
            | Self::Migration(_)
            | Self::NotFound { .. }
            | Self::Ambiguous { .. }
            | Self::Conflict(_)
            | Self::Fenced
            | Self::Damaged(_)
            | Self::Cycle(_) => None,
        }
    }

    pub(crate) fn not_found(what: &'static str, id: impl ToString + Copy) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }
}

/// Whether the same call may succeed when it is made again: no server, a serialisation failure, a
/// deadlock, a lock that was not free in time, a time limit of the server's, a server that only reads
/// for a while, a server without room, memory or whatever else it lacks (class 53), an error of its disk.
pub fn is_transient(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_))
        || error.sqlstate().is_some_and(|state| {
            state.starts_with("53")
                || ["40001", "40P01", "55P03", "57014", "25006", "58030"].contains(&&*state)
        })
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows")]
        match &error {
            _ if is_away(&error) => Self::Unavailable(error),
            sqlx::Error::Database(database) => match database.code().as_deref() {
                Some("JM001") => Self::Cycle(cycle_of(database.as_ref())),
                Some("23505") if database.constraint() == Some("task_keys_unique_key") => {
                    let key = detail_of(database.as_ref());
                    let key = key.strip_prefix("Key (unique_key)=(").unwrap_or_default();
                    let key = key.strip_suffix(") already exists.").unwrap_or(key);
                    Self::Conflict(format!("an unfinished task has the unique key '{key}' already"))
                }
                Some("23505") => Self::Conflict(database.message().to_owned()),
                _ => Self::Sql(error),
            },
            _ => Self::Sql(error),
        }
    }
}

/// Whether no server answers, or it went away.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows")]
pub(crate) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // An answer that was cut off while the connection was made; any other one is a fault of ours.
        sqlx::Error::Protocol(message) => message.contains("SSLRequest") || message.contains("EOF"),
        // Connection failures, a transaction that stood still for too long, shutdown of the server, too many
        // clients.
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            code.starts_with("08")
                || code.starts_with("57P")
                || matches!(&*code, "25P03" | "25P04" | "53300")
        }),
        _ => false,
    }
}

fn detail_of<'a>(error: &'a (dyn DatabaseError + 'static)) -> &'a str {
    error
        .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
        .and_then(sqlx::postgres::PgDatabaseError::detail)
        .unwrap_or_default()
}

fn cycle_of(error: &(dyn DatabaseError + 'static)) -> Vec<TaskId> {
    detail_of(error).split(' ').filter_map(|id| id.parse().ok()).collect()
}

fn name_cycle(tasks: &[TaskId]) -> String {
    let names: Vec<String> = tasks.iter().map(|task| task.short()).collect();
    names.join(" -> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_cut_off_is_a_server_that_went_away() {
        let cut = sqlx::Error::Protocol("unexpected response from SSLRequest: 0x00".to_owned());
        assert!(is_transient(&StoreError::from(cut)));
        let fault = sqlx::Error::Protocol("unknown message type: '\\u{7}'".to_owned());
        let fault = StoreError::from(fault);
        assert!(matches!(fault, StoreError::Sql(_)) && !is_transient(&fault), "{fault:?}");
    }
}
