//! Settings `[github]`: where pull requests are opened.

use serde::{Deserialize, Serialize};

/// Where pull requests are opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GitHub {
    /// Its REST API; `https://HOST/api/v3` for an enterprise server.
    pub api_url: String,
    /// Where its token is: `env:NAME`, `file:PATH` or `command:CMD`.
    pub token: String,
}

impl Default for GitHub {
    fn default() -> Self {
        Self { api_url: "https://api.github.com".into(), token: "env:GITHUB_TOKEN".into() }
    }
}
