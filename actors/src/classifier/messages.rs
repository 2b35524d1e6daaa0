//! What the classifier understands, and the typed way to it.

use std::convert::Infallible;
use std::time::Duration;

use journeyman_domain::failure::{Classification, Evidence, Policy};
use journeyman_domain::ids::{CodebaseId, RunId, TaskId};
use journeyman_store::StoreError;
use journeyman_supervision::Directory;
use serde::{Deserialize, Serialize};

use crate::support::{AskError, Mailbox, Message, Reply};

/// Where the classifier is.
const PATH: &str = "root/minds/classifier";

/// The pauses between the times that it is asked: as long as a restart may take.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

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

    /// Has a failure judged and reported. While the classifier is busy or being restarted it is asked
    /// again a few times, which is safe: a failure is reported once, however often it is judged.
    pub async fn classify(&self, failure: Failure) -> Result<Classified, AskError<StoreError>> {
        let about = self.0.about(failure.task);
        let mut pauses = PAUSES.iter();
        loop {
            let failure = Box::new(failure.clone());
            let message = |reply| ClassifierMessage::Classify { failure, reply };
            let answer = about.ask(Duration::from_secs(20), message).await;
            match (&answer, pauses.next()) {
                (Err(AskError::Busy(_) | AskError::Restarting(_)), Some(pause)) => {
                    tokio::time::sleep(*pause).await;
                }
                _ => return answer,
            }
        }
    }

    /// What it has done.
    pub async fn snapshot(&self) -> Result<ClassifierSnapshot, AskError<Infallible>> {
        self.0.ask(Duration::from_secs(2), |reply| ClassifierMessage::Snapshot { reply }).await
    }
}
