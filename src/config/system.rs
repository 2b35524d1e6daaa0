//! Settings `[system]`: the runtime as a whole.

use serde::{Deserialize, Serialize};

/// The runtime as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct System {
    /// Task executions at once on this machine.
    pub max_concurrent_tasks: u32,
    /// While true, nothing new is started.
    pub maintenance_mode: bool,
}

impl Default for System {
    fn default() -> Self {
        Self { max_concurrent_tasks: 10, maintenance_mode: false }
    }
}
