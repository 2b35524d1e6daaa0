//! `.journeyman.toml`: what a repository says of its own checks and limits.

use std::path::Path;

use serde::Deserialize;

use super::ConfigError;
use super::layers::parse;

/// The file's name, at the root of a repository.
pub const FILE: &str = ".journeyman.toml";

/// What a repository says of itself. It is untrusted text: it can narrow limits, not widen them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Repository {
    /// Replaces the checks that would be found; shell command lines.
    pub checks: Vec<String>,
    /// Replaces the commands that fetch what checks need; shell command lines.
    pub prepare: Vec<String>,
    /// Ignored folders that may be kept between steps ("target").
    pub caches: Vec<String>,
    /// Whether checks may use the network.
    pub network: bool,
    /// Seconds that one check may take.
    pub check_timeout_s: Option<u64>,
    /// Rounds of acting and verifying.
    pub rounds: Option<u32>,
    /// Paths that a change must not touch, as prefixes.
    pub forbidden: Vec<String>,
}

impl Repository {
    /// Parses the file's text; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        parse(path, text)
    }
}
