//! What a refused request is told: a status, a code, one sentence with its causes, what to do.
//!
//! Whatever goes wrong leaves this crate as a [`Refusal`], without secrets.

use std::convert::Infallible;
use std::error::Error;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use journeyman_actors::support::AskError;
use journeyman_domain::failure::sentence;
use journeyman_domain::status::UnknownWord;
use journeyman_store::StoreError;
use journeyman_workspace::{GitError, WorkspaceError};

use crate::types::{Problem, ProblemDetail};

/// A request that is not done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) detail: ProblemDetail,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let message = journeyman_telemetry::redact::clean(&message.into()).into_owned();
        Self { status, detail: ProblemDetail { code: code.to_owned(), message, hint: None } }
    }

    /// The call was wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "usage", message)
    }

    /// Something that the request needs is not set up, or does not answer.
    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "missing", message)
    }

    /// The state of what is asked for stands against it.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// Something that should work did not.
    pub(crate) fn internal(error: &dyn Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", sentence(error))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.detail.hint = Some(hint.into());
        self
    }

    /// The same, said of a part of the request.
    pub(crate) fn about(mut self, part: &str) -> Self {
        self.detail.message = format!("{part}: {}", self.detail.message);
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, detail } = self;
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::warn!(code = detail.code, reason = detail.message, "a request failed");
        }
        (status, Json(Problem { error: detail })).into_response()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let text = sentence(&error);
        match &error {
            StoreError::Unavailable(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", text)
                    .hint("journeyman doctor  says what is missing")
            }
            StoreError::NewerDatabase { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_newer", text)
                    .hint("use the newer journeyman that made this database")
            }
            StoreError::OlderDatabase { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_older", text)
                    .hint("bring it up to date with: journeyman db migrate")
            }
            StoreError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", text),
            StoreError::Ambiguous { .. } => Self::new(StatusCode::BAD_REQUEST, "ambiguous", text)
                .hint("give more of its digits"),
            StoreError::Conflict(_) | StoreError::Fenced => Self::conflict(text),
            StoreError::Cycle(_) => Self::new(StatusCode::BAD_REQUEST, "cycle", text),
            StoreError::Damaged(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "damaged", text)
                .hint("it was changed or removed in the database; a backup may have it"),
            StoreError::Sql(_) | StoreError::Migration(_) => {
                refused_by_sqlstate(error.sqlstate().as_deref(), text)
            }
        }
    }
}

/// A refused statement: what PostgreSQL cannot store is the caller's (classes 22 and 23), what it
/// has no room for is the machine's (53), all else is ours.
fn refused_by_sqlstate(sqlstate: Option<&str>, text: String) -> Refusal {
    match sqlstate.map(|state| state.get(..2).unwrap_or_default()) {
        Some("22" | "23") => Refusal::usage(text),
        Some("53") => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "database_full", text)
            .hint("free space where the database is; nothing is lost"),
        _ => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text),
    }
}

impl From<UnknownWord> for Refusal {
    fn from(error: UnknownWord) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<Infallible> for Refusal {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl<E: Into<Self>> From<AskError<E>> for Refusal {
    fn from(error: AskError<E>) -> Self {
        let error = match error {
            AskError::Refused(refusal) => return refusal.into(),
            AskError::Busy(actor) => AskError::<Infallible>::Busy(actor),
            AskError::Restarting(actor) => AskError::Restarting(actor),
            AskError::Gone(actor) => AskError::Gone(actor),
            AskError::TimedOut(actor) => AskError::TimedOut(actor),
        };
        unanswered(&error)
    }
}

fn unanswered(error: &AskError<Infallible>) -> Refusal {
    let text = format!("the {error}");
    let (status, code, hint) = match error {
        AskError::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy", "try again"),
        AskError::Restarting(_) => (StatusCode::SERVICE_UNAVAILABLE, "restarting", "try again"),
        AskError::Gone(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "stopped",
            "start the runtime again with: journeyman up",
        ),
        AskError::TimedOut(_) => (
            StatusCode::GATEWAY_TIMEOUT,
            "timed_out",
            "it may have been done; look before you try again",
        ),
        AskError::Refused(never) => match *never {},
    };
    Refusal::new(status, code, text).hint(hint)
}

impl From<WorkspaceError> for Refusal {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not for the caller to mend is ours, also what is added later"
    )]
    fn from(error: WorkspaceError) -> Self {
        let text = sentence(&error);
        let wrong = |code| Self::new(StatusCode::BAD_REQUEST, code, text.clone());
        match &error {
            WorkspaceError::NoSuchFolder(_) => wrong("no_such_folder"),
            WorkspaceError::NotARepository(_) => {
                wrong("not_a_repository").hint("make one there with: git init")
            }
            WorkspaceError::Bare(_) => wrong("bare_repository"),
            WorkspaceError::Empty(_) => wrong("empty_repository"),
            WorkspaceError::NoSuchRevision { .. } => wrong("no_such_revision"),
            WorkspaceError::SubmoduleMissing(_) => wrong("submodule_missing"),
            WorkspaceError::NotEmpty(_)
            | WorkspaceError::NotClean(_)
            | WorkspaceError::InTheWay(_)
            | WorkspaceError::Conflict(_) => Self::conflict(text),
            WorkspaceError::Git(GitError::NotStarted(_)) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "missing", text)
                    .hint("install git, then try again")
            }
            _ => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn seen(refusal: impl Into<Refusal>) -> (u16, String, String) {
        let Refusal { status, detail } = refusal.into();
        (status.as_u16(), detail.code, detail.message)
    }

    #[test]
    fn a_refusal_of_the_store_passes_through_an_ask() {
        let missing = || StoreError::NotFound { what: "task", id: "abc".into() };
        let direct = seen(missing());
        assert_eq!(direct, (404, "not_found".into(), "there is no task abc".into()));
        assert_eq!(seen(AskError::Refused(missing())), direct);
        let restarting: AskError<StoreError> = AskError::Restarting("scheduler");
        let (status, code, message) = seen(restarting);
        assert_eq!((status, code.as_str()), (503, "restarting"));
        assert_eq!(message, "the scheduler is being restarted");
    }

    #[test]
    fn what_postgresql_cannot_store_is_the_callers_fault() {
        let status = |state| refused_by_sqlstate(state, String::new()).status.as_u16();
        let statuses = [Some("22021"), Some("23514"), Some("53100"), Some("42P01"), None];
        assert_eq!(statuses.map(status), [400, 400, 503, 500, 500]);
    }

    #[test]
    fn repositories_that_cannot_be_used_have_codes_of_their_own() {
        let path = || PathBuf::from("/r");
        let codes = [
            WorkspaceError::NotARepository(path()),
            WorkspaceError::Bare(path()),
            WorkspaceError::Empty(path()),
        ]
        .map(|error| seen(error).1);
        assert_eq!(codes, ["not_a_repository", "bare_repository", "empty_repository"]);
        let io = WorkspaceError::Io {
            doing: "write the file x".into(),
            source: std::io::Error::other("disk full"),
        };
        let (status, code, message) = seen(io);
        assert_eq!((status, code.as_str()), (500, "internal"));
        assert_eq!(message, "cannot write the file x: disk full");
    }
}
