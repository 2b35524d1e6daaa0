//! `.journeyman.toml`: what a repository says of its own checks and limits.
//!
//! It is read from the base commit, never from a changed workspace, and it is untrusted text: it
//! can narrow the user's limits, not widen them.

use serde::Deserialize;

/// The file's name, at the root of a repository.
pub const FILE: &str = ".journeyman.toml";

/// What a repository says of itself.
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

/// Why the file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{FILE}:{line}: {message}")]
pub struct RepositoryError {
    /// From 1.
    pub line: usize,
    /// What is wrong, with the key.
    pub message: String,
}

impl Repository {
    /// Parses the file's text.
    pub fn parse(text: &str) -> Result<Self, RepositoryError> {
        toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start).min(text.len());
            let line = text[..offset].matches('\n').count() + 1;
            RepositoryError { line, message: error.message().replace('\n', " ") }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = Repository::parse("rounds = 2\ncheks = []\n").unwrap_err();
        assert!(
            error.to_string().starts_with(".journeyman.toml:2: unknown field `cheks`"),
            "{error}"
        );
        let own = Repository::parse("checks = ['make test']\nforbidden = ['ci/']\n").unwrap();
        assert_eq!((own.checks.len(), own.forbidden.len(), own.rounds), (1, 1, None));
    }
}
