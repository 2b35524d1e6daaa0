//! Secrets by reference: settings hold where a secret is, never the secret.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ConfigError;

/// The value behind `env:NAME`, `file:PATH` or `command:CMD`; anything else is the value itself.
pub fn resolve(reference: &str) -> Result<String, ConfigError> {
    let fail = |reason: String| ConfigError::Secret { reference: reference.to_owned(), reason };
    let value = match reference.split_once(':') {
        Some(("env", name)) => {
            std::env::var(name).map_err(|_| fail(format!("{name} is not set")))?
        }
        Some(("file", path)) => {
            std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?
        }
        Some(("command", line)) => {
            let output = Command::new("sh")
                .args(["-c", line])
                .output()
                .map_err(|error| fail(error.to_string()))?;
            if !output.status.success() {
                return Err(fail(format!("the command ended with {}", output.status)));
            }
            String::from_utf8(output.stdout).map_err(|error| fail(error.to_string()))?
        }
        Some(("keyring", _)) => {
            let reason = "keyrings are not supported; `command:` with the keyring's own program is";
            return Err(fail(reason.to_owned()));
        }
        _ => return Ok(reference.to_owned()),
    };
    Ok(value.trim_end_matches(['\r', '\n']).to_owned())
}

/// Where the secret behind a reference lies in a file: under its own name, and where links lead to.
pub fn files(reference: &str) -> Vec<PathBuf> {
    let Some(("file", path)) = reference.split_once(':') else { return Vec::new() };
    let named = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    let real = std::fs::canonicalize(Path::new(path)).ok().filter(|real| *real != named);
    [Some(named), real].into_iter().flatten().collect()
}
