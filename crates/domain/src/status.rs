//! States, priorities and what a waiting task waits for: the closed vocabularies of the schema.

/// A word that is not in a closed vocabulary.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{word}' is no {vocabulary}; known are {known}")]
pub struct UnknownWord {
    /// What was given.
    pub word: String,
    /// What it should have been one of.
    pub vocabulary: &'static str,
    /// All its words, for the message.
    pub known: String,
}

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// Every word, in its order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word as the schema, the CLI and JSON spell it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::status::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(crate::status::UnknownWord {
                        word: word.to_owned(),
                        vocabulary: $what,
                        known: [$($word),*].join(", "),
                    }),
                }
            }
        }
    };
}
pub(crate) use vocabulary;

vocabulary! {
    /// `status_type`. Tasks go pending, ready, running, completed, failed, cancelled or timeout,
    /// with waiting, paused and parked on the way.
    Status, "status" {
        /// Configuration rows only: in use.
        Active = "active",
        /// Configuration rows only: put aside.
        Inactive = "inactive",
        /// Inserted, its readiness not yet judged.
        Pending = "pending",
        /// May be claimed.
        Ready = "ready",
        /// An execution with a lease works on it.
        Running = "running",
        /// Cannot go on yet; `waiting_for` says why.
        Waiting = "waiting",
        /// Executions only: this attempt ended, another one follows.
        Retrying = "retrying",
        /// Held by the user.
        Paused = "paused",
        /// Reclaimed again and again without a new step; a person must look.
        Parked = "parked",
        /// Done; whether verified stands apart.
        Completed = "completed",
        /// Given up, with its error reports.
        Failed = "failed",
        /// Stopped by the user.
        Cancelled = "cancelled",
        /// Out of its time.
        Timeout = "timeout",
    }
}

impl Status {
    /// Whether a task in this state will never change by itself again.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Timeout)
    }
}

vocabulary! {
    /// What a waiting task waits for.
    WaitingFor, "reason to wait" {
        /// A task before it.
        Dependency = "dependency",
        /// The user's consent.
        Approval = "approval",
        /// The user's answer.
        Input = "input",
        /// More budget.
        Budget = "budget",
        /// A provider's limit to reset.
        RateLimit = "rate_limit",
        /// The time of the next attempt.
        RetryAt = "retry_at",
        /// A provider that is down.
        Provider = "provider",
        /// Files that another task works on.
        Lock = "lock",
    }
}

vocabulary! {
    /// `priority_level`, from the least to the most urgent; error reports use it as severity.
    Priority, "priority" {
        /// When nothing else is to do.
        Low = "low",
        /// The default.
        Normal = "normal",
        /// Before the normal ones.
        High = "high",
        /// Before the high ones.
        Urgent = "urgent",
        /// Before all.
        Critical = "critical",
    }
}

vocabulary! {
    /// How an agent acts.
    DriverKind, "driver" {
        /// No model: machine-applicable suggestions of compilers and linters.
        Mechanic = "mechanic",
        /// Any program.
        Command = "command",
        /// Our own loop on a model.
        Native = "native",
        /// No agent: the task only stands for others, and is completed when it is its turn.
        None = "none",
    }
}

vocabulary! {
    /// What becomes of a task when one that it waits for does not complete.
    AfterFailure, "answer to a failure" {
        /// It waits on, until that one is tried again and completes.
        Wait = "wait",
        /// It fails, too.
        Fail = "fail",
        /// It is cancelled.
        Skip = "skip",
        /// It begins all the same, once all that it waits for has ended.
        Run = "run",
    }
}

vocabulary! {
    /// What a schedule does about the times that passed while nobody could add its task.
    Missed, "answer to missed times" {
        /// Nothing.
        Skip = "skip",
        /// One task for all of them together.
        Once = "once",
        /// A task for each.
        All = "all",
    }
}

vocabulary! {
    /// What a schedule does while its last task has not ended.
    Overlap, "answer to an overlap" {
        /// It leaves this time out.
        Skip = "skip",
        /// It adds another one.
        Allow = "allow",
    }
}

vocabulary! {
    /// What becomes of a verified change.
    Delivery, "delivery" {
        /// A commit on a branch of its own in the user's repository.
        Branch = "branch",
        /// The same, pushed to the repository's remote, with a pull request there.
        Pr = "pr",
        /// A patch file in the data folder; the repository is not touched.
        Patch = "patch",
        /// Nothing leaves the runtime; `task diff` shows it.
        None = "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_and_foreign_ones_are_named() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
        }
        assert_eq!(
            "soon".parse::<Priority>().unwrap_err().to_string(),
            "'soon' is no priority; known are low, normal, high, urgent, critical"
        );
        assert!(Priority::Critical > Priority::Urgent && Priority::Normal > Priority::Low);
    }
}
