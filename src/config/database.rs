//! Settings `[database]`: which PostgreSQL.

use serde::{Deserialize, Serialize};

/// Which PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// A URL or a reference to one (`env:NAME`, `file:PATH`); empty for the private cluster.
    pub url: String,
    /// The folder of the server programs; empty to look for them.
    pub bin_dir: String,
    /// Connections that one process may hold.
    pub max_connections: u32,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: String::new(), bin_dir: String::new(), max_connections: 10 }
    }
}
