//! How a command fails: one sentence, what to do, and the exit status.

use std::fmt;

use journeyman_domain::failure::sentence;
use journeyman_web::types::{Problem, ProblemDetail};

/// The exit statuses of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The work failed.
    Failed = 1,
    /// The call was wrong.
    Usage = 2,
    /// Not configured, or something is missing.
    Missing = 3,
    /// Waits for the user, is parked, or could not be verified.
    Waiting = 4,
    /// Interrupted.
    Interrupted = 130,
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit status.
    pub exit: Exit,
    /// One word; each has a page in `docs/errors/`.
    pub code: String,
    /// One sentence with its cause.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Failure {
    /// Any failure.
    pub fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self { exit, code: code.to_owned(), message: message.into(), hint: None }
    }

    /// The call was wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// Something is missing.
    pub fn missing(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Missing, "missing", message).hint(hint)
    }

    /// Something that should work did not.
    pub fn broken(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, "internal", message)
    }

    /// An error with its causes, as one sentence.
    pub fn from_error(error: impl std::error::Error) -> Self {
        Self::broken(sentence(&error))
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// An error answer of the API.
    pub fn from_problem(status: u16, problem: ProblemDetail) -> Self {
        let exit = match status {
            400..=499 if problem.code == "waiting" => Exit::Waiting,
            400..=499 => Exit::Usage,
            503 => Exit::Missing,
            _ => Exit::Failed,
        };
        Self { exit, code: problem.code, message: problem.message, hint: problem.hint }
    }

    /// As the document that `--json` prints.
    pub fn to_json(&self) -> String {
        let problem = Problem {
            error: ProblemDetail {
                code: self.code.clone(),
                message: self.message.clone(),
                hint: self.hint.clone(),
            },
        };
        serde_json::to_string(&problem).unwrap_or_default()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
