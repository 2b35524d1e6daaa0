//! Why a sandbox could not be made.

use std::io;
use std::path::PathBuf;

/// Why a sandbox could not be made or its program not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The call of the launcher itself is wrong.
    #[error("{0}")]
    Usage(String),
    /// The policy is no valid JSON of a [`crate::Policy`].
    #[error("the policy cannot be read")]
    Policy(#[source] serde_json::Error),
    /// A step of the set-up was refused by the system.
    #[error("cannot {step}")]
    Step {
        /// What was tried, as "enter namespaces".
        step: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The parent ended before the launcher was bound to its life.
    #[error("the parent process is gone")]
    Orphaned,
    /// The program could not be started.
    #[error("cannot start {}", program.display())]
    Program {
        /// As it was given.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Landlock refused the rules.
    #[error("cannot confine writes")]
    Landlock(#[source] landlock::RulesetError),
}

impl LaunchError {
    /// The exit status by the convention of `env` and `timeout`.
    pub(crate) fn exit_status(&self) -> i32 {
        match self {
            Self::Program { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Program { .. } => 126,
            Self::Usage(_)
            | Self::Policy(_)
            | Self::Step { .. }
            | Self::Orphaned
            | Self::Landlock(_) => crate::EXIT_NOT_LAUNCHED,
        }
    }
}

/// Names the step that failed.
pub(crate) trait Step<T> {
    /// `step` completes the sentence "cannot …".
    fn step(self, step: impl Into<String>) -> Result<T, LaunchError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, LaunchError> {
        self.map_err(|error| LaunchError::Step { step: step.into(), source: error.into() })
    }
}
