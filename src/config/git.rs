//! Settings `[git]`: who delivered commits are by.

use serde::{Deserialize, Serialize};

/// Who delivered commits are by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Git {
    /// Empty: the repository's `user.name`.
    pub author_name: String,
    /// Empty: the repository's `user.email`.
    pub author_email: String,
}
