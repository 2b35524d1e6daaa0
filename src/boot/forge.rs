//! The forge that the settings name, with its token.

use journeyman_actors::context::Forge;
use journeyman_domain::failure::sentence;
use journeyman_domain::forge::host_of_api;
use journeyman_integrations::Token;
use journeyman_integrations::github::GitHub;

use crate::config::{self, resolve_secret};
use crate::failure::{Exit, Failure};

/// Reads it. `works` says whether this process will send anything: only then is a program run that prints a
/// token.
pub(super) fn load(settings: &config::GitHub, works: bool) -> Result<Forge, Failure> {
    let wrong = |reason: String| Failure::new(Exit::Usage, "config", format!("[github]: {reason}"));
    let api_url = settings.api_url.trim();
    let is_address = api_url.starts_with("https://") || api_url.starts_with("http://");
    let Some(host) = host_of_api(api_url).filter(|_| is_address) else {
        return Err(wrong(format!(
            "api_url '{api_url}' is no address that begins with https:// or http://"
        )));
    };
    let reference = settings.token.as_str();
    let is_reference =
        ["env:", "file:", "command:", "keyring:"].iter().any(|kind| reference.starts_with(kind));
    if !reference.is_empty() && !is_reference {
        // What it is must not be said: it may be the token.
        return Err(wrong(
            "token is no reference; write env:NAME, file:PATH or command:CMD".into(),
        ));
    }
    let client = match token(reference, works) {
        Ok(token) => Ok(GitHub::new(api_url, token).map_err(Failure::from_error)?),
        Err(reason) => Err(format!("there is no token for {host}: {reason}")),
    };
    Ok(Forge { host, client })
}

/// What the settings come to, in one line.
pub fn describe(settings: &config::GitHub) -> Result<String, Failure> {
    let Forge { host, client } = load(settings, false)?;
    Ok(match client {
        Ok(_) => format!("pull requests on {host}, with the token at {}", settings.token),
        Err(reason) => format!("no pull requests: {reason}"),
    })
}

/// The token behind a reference, unspeakable from here on; or why there is none.
fn token(reference: &str, works: bool) -> Result<Token, String> {
    if reference.is_empty() {
        return Err("github.token is empty".to_owned());
    }
    if !works && reference.starts_with("command:") {
        return Err("it comes from a program, which only `up` and `run` start".to_owned());
    }
    let value = resolve_secret(reference).map_err(|error| sentence(&error))?;
    if value.trim().is_empty() {
        return Err(format!("github.token is '{reference}', which is empty"));
    }
    journeyman_telemetry::redact::register(value.trim());
    Ok(Token::new(&value))
}
