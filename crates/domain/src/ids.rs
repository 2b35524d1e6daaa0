//! Identifiers: one type for each kind of row, all of them UUIDs that sort by time (version 7).
//!
//! Fresh ones are made where the clock is, at the edge; this crate only carries them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
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
    /// A row of `error_reports`.
    ErrorReportId;
    /// A row of `learning_patterns`.
    PatternId;
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
    fn short_is_the_tail_since_the_head_is_the_time() {
        let id: TaskId = "0193a2f0-1111-7abc-8def-0123456789ab".parse().unwrap();
        assert_eq!(id.short(), "456789ab");
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"0193a2f0-1111-7abc-8def-0123456789ab\"");
    }
}
