//! What can be wrong with settings.

use std::path::PathBuf;

/// Why settings cannot be used. Each one is a sentence that names the place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that is not valid TOML, or has an unknown key or a value of a wrong type.
    #[error("{path}:{line}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, with the key.
        message: String,
    },
    /// An environment variable that names no key or has a value of a wrong type.
    #[error("the environment variable {name}: {message}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// `config get` or `set` of something that does not exist.
    #[error("there is no setting '{0}'; `journeyman config list` shows all of them")]
    UnknownKey(String),
    /// `config set` of a value that does not fit.
    #[error("the setting {key} does not take '{value}': {message}")]
    BadValue {
        /// The key.
        key: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        message: String,
    },
    /// A secret's reference that leads nowhere.
    #[error("the secret {reference} cannot be read: {reason}")]
    Secret {
        /// The reference, which is no secret.
        reference: String,
        /// Why not.
        reason: String,
    },
    /// A file that cannot be read or written.
    #[error("{path} cannot be {action}")]
    Io {
        /// The file.
        path: PathBuf,
        /// "read" or "written".
        action: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// Neither a home folder nor the variables that stand in for it.
    #[error("no home folder is known; set JOURNEYMAN_DATA and JOURNEYMAN_CONFIG")]
    NoHome,
}
