//! A token, which leaves this crate in one header only.

use std::fmt;

use reqwest::header::HeaderValue;

/// A service's token. Shows itself nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token as the user stored it; space around it is cut.
    pub fn new(token: &str) -> Self {
        Self(token.trim().to_owned())
    }

    /// The header that carries it; `None` where it has characters that no header can carry.
    pub(crate) fn bearer(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// A text without the token.
    pub(crate) fn redact(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, "***") }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let token = Token::new(" ghp_secret\n");
        assert_eq!(format!("{token:?}"), "Token(..)");
        let header = token.bearer().unwrap();
        assert!(!format!("{header:?}").contains("secret"));
        assert_eq!(header.to_str().unwrap(), "Bearer ghp_secret");
        assert_eq!(token.redact("bad ghp_secret!"), "bad ***!");
        assert_eq!(Token::new("a\u{7f}b").bearer(), None);
    }
}
