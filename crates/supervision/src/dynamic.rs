//! Children that come and go at run time.

use tokio::sync::oneshot;

use crate::{
    directory::{Directory, Instance},
    supervisor::Message,
};

/// A handle on a dynamic supervisor; it stays good over restarts of that supervisor.
///
/// Never wait for it in the start of one of its own children: the supervisor above may wait for that start.
#[derive(Debug, Clone)]
pub struct Dynamic {
    directory: Directory,
    path: String,
}

/// A dynamic supervisor refused, or could not do, what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DynamicError {
    /// It is not running, or ended before it answered; a restart may be under way.
    #[error("supervisor {path} is not running")]
    Unavailable {
        /// The supervisor.
        path: String,
    },
    /// The path is not that of a dynamic supervisor.
    #[error("children can be started and terminated only below a dynamic supervisor")]
    NotDynamic,
    /// Ids are 1 to 128 ASCII letters, digits, `_`, `-` or `.`.
    #[error(
        "`{id}` cannot be the id of a child: only letters, digits, `_`, `-` and `.`, at most 128"
    )]
    BadId {
        /// The refused id.
        id: String,
    },
    /// There is a child of this id; it may be waiting for its restart or being stopped.
    #[error("there is a child `{id}` already")]
    Exists {
        /// The id.
        id: String,
    },
    /// There is no child of this id.
    #[error("there is no child `{id}`")]
    Unknown {
        /// The id.
        id: String,
    },
    /// The limit of its spec is reached.
    #[error("the supervisor has {max} children, which is its limit")]
    Full {
        /// The limit.
        max: usize,
    },
    /// The child's start failed; nothing of it is left.
    #[error("{message}")]
    StartFailed {
        /// The error with its sources.
        message: String,
    },
}

impl Directory {
    /// A handle on the dynamic supervisor at `path`, which need not run yet.
    pub fn dynamic(&self, path: impl Into<String>) -> Dynamic {
        Dynamic { directory: self.clone(), path: path.into() }
    }
}

impl Dynamic {
    /// Starts a child of the supervisor's template and returns when it runs.
    pub async fn start_child(&self, id: impl Into<String>) -> Result<Instance, DynamicError> {
        let id = id.into();
        self.ask(|reply| Message::StartChild { id, reply }).await
    }

    /// Stops a child by its spec's `shutdown`, for good, and returns when nothing of it is left.
    pub async fn terminate_child(&self, id: impl Into<String>) -> Result<(), DynamicError> {
        let id = id.into();
        self.ask(|reply| Message::TerminateChild { id, reply }).await
    }

    /// The running children in the order of their start.
    pub fn list(&self) -> Vec<(String, Instance)> {
        self.directory.children(&self.path)
    }

    /// How many children run.
    pub fn count(&self) -> usize {
        self.list().len()
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, DynamicError>>) -> Message,
    ) -> Result<T, DynamicError> {
        let unavailable = || DynamicError::Unavailable { path: self.path.clone() };
        let supervisor = self.directory.resolve(&self.path).ok_or_else(unavailable)?;
        let (reply, answer) = oneshot::channel();
        supervisor.cell.send_message(message(reply)).map_err(|error| match error {
            ractor::MessagingErr::InvalidActorType => DynamicError::NotDynamic,
            ractor::MessagingErr::SendErr(_) | ractor::MessagingErr::ChannelClosed => unavailable(),
        })?;
        answer.await.map_err(|_| unavailable())?
    }
}
