//! Settings `[sandbox]`: how children are confined.

use serde::{Deserialize, Serialize};

/// How children are confined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sandbox {
    /// Whether children get namespaces of their own.
    pub namespaces: Namespaces,
    /// Files and folders that no child may see; a leading `~` is the user's home.
    pub hidden: Vec<String>,
}

/// Whether children get namespaces of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespaces {
    /// Where the machine permits them.
    Auto,
    /// No child starts without them.
    Required,
    /// Never.
    Off,
}

impl Default for Sandbox {
    fn default() -> Self {
        let hidden = ["~/.ssh", "~/.aws", "~/.gnupg", "~/.config/gh", "~/.netrc", "~/.docker"];
        Self { namespaces: Namespaces::Auto, hidden: hidden.map(str::to_owned).to_vec() }
    }
}
