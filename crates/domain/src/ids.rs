//! Identifiers: one type for each kind of row, UUIDs that sort by time (version 7).
//!
//! Fresh ones are made where the clock is, at the edge; this crate only carries them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

macro_rules! identifier {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Takes a UUID for an identifier of this kind.
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The UUID itself.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }

            /// The last eight digits: what displays and branch names show, since the first ones
            /// repeat within a minute.
            pub fn short(self) -> String {
                short(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }
    )*};
}

identifier! {
    /// A row of `tasks`: what the user asked for.
    TaskId;
    /// A row of `task_executions`: one attempt at a task, and the lease on it.
    ExecutionId;
    /// A row of `agent_tasks`: one agent's run within an execution; its journal bears this id.
    RunId;
    /// A row of `codegen_agents`.
    AgentId;
    /// A row of `codebases`.
    CodebaseId;
    /// A row of `runtime_nodes`: one life of a runtime process.
    NodeId;
    /// A row of `error_reports`; made of what it reports, so that a repeat is the same row.
    ErrorReportId;
    /// A row of `learning_patterns`.
    PatternId;
    /// A row of `task_schedules`.
    ScheduleId;
    /// A row of `outbox`.
    EffectId;
}

impl ErrorReportId {
    /// The id of one failure of a round: reported again after a crash, it is the same.
    pub fn derived(run: RunId, round: u32, source: &str, fingerprint: &str) -> Self {
        let mut digest = Sha256::new();
        for part in [run.to_string().as_str(), &round.to_string(), source, fingerprint] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.finalize()[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

/// The last eight hexadecimal digits of a UUID.
pub fn short(id: Uuid) -> String {
    let digits = id.simple().to_string();
    digits[digits.len() - 8..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_id_of_what_it_reports() {
        let run: RunId = "0193a2f0-1111-7abc-8def-0123456789ab".parse().unwrap();
        let id = ErrorReportId::derived(run, 1, "cargo test", "f");
        assert_eq!(id, ErrorReportId::derived(run, 1, "cargo test", "f"));
        assert_eq!(id.as_uuid().get_version_num(), 8);
        for other in [
            ErrorReportId::derived(run, 2, "cargo test", "f"),
            ErrorReportId::derived(run, 1, "cargo testf", ""),
            ErrorReportId::derived(run, 1, "cargo test", "g"),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn short_is_the_tail_since_the_head_is_the_time() {
        let id: TaskId = "0193a2f0-1111-7abc-8def-0123456789ab".parse().unwrap();
        assert_eq!(id.short(), "456789ab");
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"0193a2f0-1111-7abc-8def-0123456789ab\"");
    }
}
