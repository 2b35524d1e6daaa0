//! The address of a child in its tree: the ids from the root down, joined by `/`, such as `root/minds/classifier`.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The address of a child; it stays the same over all restarts. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct ChildPath(Arc<str>);

impl ChildPath {
    pub(crate) fn root() -> Self {
        Self(Arc::from(crate::spec::ROOT))
    }

    pub(crate) fn join(&self, id: &str) -> Self {
        Self(format!("{}/{id}", self.0).into())
    }

    /// The whole path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part: the child's id among its siblings.
    pub fn id(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

/// Whether a text may be the id of a child: 1 to 128 ASCII letters, digits, `_`, `-` or `.`.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

impl fmt::Display for ChildPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for ChildPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<String> for ChildPath {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<ChildPath> for String {
    fn from(path: ChildPath) -> Self {
        path.0.as_ref().to_owned()
    }
}
