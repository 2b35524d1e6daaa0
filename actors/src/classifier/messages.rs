//! What the classifier understands, and the typed way to it.

use std::convert::Infallible;
use std::time::Duration;

use journeyman_domain::failure::{Classification, Evidence, Policy};
use journeyman_domain::ids::{CodebaseId, RunId, TaskId};
use journeyman_store::{StoreError, is_transient};
use journeyman_supervision::Directory;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::support::{AskError, Mailbox, Message, Reply};

/// Where the classifier is.
const PATH: &str = "root/minds/classifier";

/// The shortest and the longest pause between the times that it is asked; each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(4));

/// A failure to judge.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The task.
    pub task: TaskId,
    /// Its codebase.
    pub codebase: Option<CodebaseId>,
    /// The run that it happened in.
    pub run: RunId,
    /// The round of the run, from 1.
    pub round: u32,
    /// What is known.
    pub evidence: Evidence,
}

/// The judgement, which is also a row of `error_reports`.
#[derive(Clone, Debug, PartialEq)]
pub struct Classified {
    /// What it is.
    pub classification: Classification,
    /// What follows.
    pub policy: Policy,
}

/// A message to the classifier.
#[derive(Debug)]
pub enum ClassifierMessage {
    /// Judge a failure and report it.
    Classify {
        /// It.
        failure: Box<Failure>,
        /// Where to.
        reply: Reply<Classified, StoreError>,
    },
    /// What it has done.
    Snapshot {
        /// Where to.
        reply: Reply<ClassifierSnapshot, Infallible>,
    },
}

/// What the classifier has done since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassifierSnapshot {
    /// Failures judged.
    pub classified: u64,
    /// Of them, those that no matcher knew.
    pub unknown: u64,
}

impl Message for ClassifierMessage {
    const ACTOR: &'static str = "classifier";

    fn kind(&self) -> &'static str {
        match self {
            Self::Classify { .. } => "Classify",
            Self::Snapshot { .. } => "Snapshot",
        }
    }
}

/// The typed way to the classifier.
#[derive(Clone, Debug)]
pub struct ClassifierHandle(Mailbox<ClassifierMessage>);

impl ClassifierHandle {
    /// The way from an actor.
    pub fn new(directory: Directory, sender: &'static str) -> Self {
        Self(Mailbox::new(directory, PATH, sender))
    }

    /// Has a failure judged and reported. While the classifier is busy, being restarted or without its database it is
    /// asked again, until `stop` says that nobody waits any more. That is safe: a failure is reported once, however
    /// often it is judged.
    pub async fn classify(
        &self,
        failure: Failure,
        stop: &CancellationToken,
    ) -> Result<Classified, AskError<StoreError>> {
        let about = self.0.about(failure.task);
        let mut pause = PAUSES.0;
        loop {
            let failure = Box::new(failure.clone());
            let message = |reply| ClassifierMessage::Classify { failure, reply };
            let answer = about.ask(Duration::from_secs(20), message).await;
            let passes = answer.as_ref().is_err_and(passes);
            if !passes || stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return answer;
            }
            pause = PAUSES.1.min(pause * 2);
        }
    }

    /// What it has done.
    pub async fn snapshot(&self) -> Result<ClassifierSnapshot, AskError<Infallible>> {
        self.0.ask(Duration::from_secs(2), |reply| ClassifierMessage::Snapshot { reply }).await
    }
}

/// Whether asking again may bring an answer.
fn passes(error: &AskError<StoreError>) -> bool {
    match error {
        AskError::Busy(_) | AskError::Restarting(_) | AskError::TimedOut(_) => true,
        AskError::Refused(error) => is_transient(error),
        AskError::Gone(_) => false,
    }
}
