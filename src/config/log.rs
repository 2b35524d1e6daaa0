//! Settings `[log]`: what goes to standard error.

use serde::{Deserialize, Serialize};

/// What goes to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, or a filter by target.
    pub filter: String,
    /// How a line looks.
    pub format: Format,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For a person.
    Human,
    /// One JSON object.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "warn".to_owned(), format: Format::Human }
    }
}
