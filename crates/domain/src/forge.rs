//! Where a remote's address leads: which host, whose repository, and whether it is a forge that is known.
//!
//! An address may carry a password or a token. It is cut off here, and nothing that this module gives has it.

use serde::{Deserialize, Serialize};

/// A repository on a forge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgeRepository {
    /// The forge's host, in lower case.
    pub host: String,
    /// Whose it is.
    pub owner: String,
    /// Its name, without `.git`.
    pub name: String,
}

impl std::fmt::Display for ForgeRepository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.host, self.owner, self.name)
    }
}

/// Why no pull request can be made for a remote: one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgeError {
    /// It is on a host that is none of a known forge.
    #[error("the remote {address} is on no forge that is known; pull requests are made on {known}")]
    Unknown {
        /// The address, without what is secret in it.
        address: String,
        /// The hosts that are known.
        known: String,
    },
    /// The host is known, the path is no repository of it.
    #[error("the remote {address} names no repository on {host}; its path must be OWNER/NAME")]
    NoRepository {
        /// The address, without what is secret in it.
        address: String,
        /// The forge.
        host: String,
    },
}

/// An address taken apart.
struct Parts<'a> {
    /// With `://`, or empty where it is written as `host:path`.
    scheme: &'a str,
    /// Before the `@`; a secret, perhaps.
    user: &'a str,
    host: &'a str,
    port: &'a str,
    path: &'a str,
}

/// `None` where it is a path on this machine.
fn parts(address: &str) -> Option<Parts<'_>> {
    if let Some((scheme, rest)) = address.split_once("://") {
        if scheme == "file" {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let bracket = host.rfind(']').unwrap_or(0);
        let (host, port) = match host[bracket..].find(':') {
            Some(colon) => (&host[..bracket + colon], &host[bracket + colon + 1..]),
            None => (host, ""),
        };
        let scheme = &address[..scheme.len() + 3];
        return Some(Parts { scheme, user, host, port, path: path.trim_start_matches('/') });
    }
    // As git has it: a colon before the first slash makes it an address.
    let (before, path) = address.split_once(':')?;
    if before.contains('/') || before.is_empty() {
        return None;
    }
    let (user, host) = before.rsplit_once('@').unwrap_or(("", before));
    Some(Parts { scheme: "", user, host, port: "", path: path.trim_start_matches('/') })
}

/// An address without user, password and token.
pub fn shown(address: &str) -> String {
    match parts(address) {
        Some(Parts { scheme: "", host, path, .. }) => format!("{host}:{path}"),
        Some(Parts { scheme, host, port: "", path, .. }) => format!("{scheme}{host}/{path}"),
        Some(Parts { scheme, host, port, path, .. }) => format!("{scheme}{host}:{port}/{path}"),
        None => address.to_owned(),
    }
}

/// What is secret in an address: the password, or a token in the place of a user.
pub fn secret_of(address: &str) -> Option<&str> {
    let parts = parts(address)?;
    if !parts.scheme.starts_with("http") {
        return None;
    }
    let secret = parts.user.split_once(':').map_or(parts.user, |(_, password)| password);
    Some(secret).filter(|secret| !secret.is_empty())
}

/// The host of repositories that an API belongs to: `github.com` for `https://api.github.com`, else the API's
/// own, as an enterprise server has it.
pub fn host_of_api(api_url: &str) -> Option<String> {
    let parts = parts(api_url)?;
    let host = parts.host.to_ascii_lowercase();
    let host = host.strip_prefix("api.").map_or(host.clone(), str::to_owned);
    Some(host).filter(|host| !host.is_empty())
}

/// The repository that a remote's address names on this forge.
pub fn repository(address: &str, forge: &str) -> Result<ForgeRepository, ForgeError> {
    let unknown = || ForgeError::Unknown { address: shown(address), known: forge.to_owned() };
    let parts = parts(address).ok_or_else(unknown)?;
    let host = parts.host.to_ascii_lowercase();
    // GitHub answers SSH on the port of HTTPS under a name of its own.
    let host = host.strip_prefix("ssh.").unwrap_or(&host);
    if host.strip_prefix("www.").unwrap_or(host) != forge {
        return Err(unknown());
    }
    let path = parts.path.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    match path.split_once('/') {
        Some((owner, name)) if is_name(owner) && is_name(name) => Ok(ForgeRepository {
            host: forge.to_owned(),
            owner: owner.to_owned(),
            name: name.to_owned(),
        }),
        Some(_) | None => {
            Err(ForgeError::NoRepository { address: shown(address), host: forge.to_owned() })
        }
    }
}

/// What stands unchanged in the path of a request.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(plain) && text != "." && text != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_repository_however_it_is_written() {
        let expected = ForgeRepository {
            host: "github.com".into(),
            owner: "acme".into(),
            name: "notes.js".into(),
        };
        for address in [
            "https://github.com/acme/notes.js.git",
            "https://GitHub.com/acme/notes.js/",
            "https://me:hunter22@github.com/acme/notes.js.git",
            "https://ghp_x@www.github.com:443/acme/notes.js",
            "git@github.com:acme/notes.js.git",
            "github.com:/acme/notes.js",
            "ssh://git@ssh.github.com:443/acme/notes.js.git",
        ] {
            assert_eq!(repository(address, "github.com"), Ok(expected.clone()), "{address}");
        }
    }

    #[test]
    fn what_is_no_repository_of_the_forge_is_named_without_its_secrets() {
        let said = |address: &str| repository(address, "github.com").unwrap_err().to_string();
        for address in ["/srv/notes.git", "../notes", "file:///github.com/acme/notes", "./a:b/c"] {
            let expected = "is on no forge that is known; pull requests are made on github.com";
            assert_eq!(said(address), format!("the remote {address} {expected}"));
        }
        assert_eq!(
            said("https://me:hunter22@gitlab.com/acme/notes"),
            "the remote https://gitlab.com/acme/notes is on no forge that is known; pull requests are made on \
             github.com"
        );
        for path in ["acme", "acme/notes/more", "acme/..", "a%2Fb/c", ""] {
            let said = said(&format!("https://ghp_x@github.com/{path}"));
            assert!(said.ends_with("on github.com; its path must be OWNER/NAME"), "{said}");
            assert!(!said.contains("ghp_x"), "{said}");
        }
    }

    #[test]
    fn a_secret_in_an_address_is_known() {
        assert_eq!(secret_of("https://me:hunter22@h/x"), Some("hunter22"));
        assert_eq!(secret_of("https://ghp_x@h:1/x"), Some("ghp_x"));
        for none in ["https://h/x", "git@h:x", "ssh://git@h/x", "/x", "https://@h/x"] {
            assert_eq!(secret_of(none), None, "{none}");
        }
    }

    #[test]
    fn an_api_belongs_to_a_host() {
        let host = |url| host_of_api(url).unwrap();
        assert_eq!(host("https://api.github.com"), "github.com");
        assert_eq!(host("https://git.acme.example/api/v3"), "git.acme.example");
        assert_eq!(host("https://api.acme.ghe.com/"), "acme.ghe.com");
        assert_eq!(host("http://127.0.0.1:8080"), "127.0.0.1");
        assert_eq!(host("http://[::1]:8080"), "[::1]");
        assert_eq!(host_of_api("http://"), None);
    }
}
