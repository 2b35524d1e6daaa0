//! Whether a pull request could be opened for a repository, before any work is begun.

use std::path::Path;

use axum::http::StatusCode;
use journeyman_actors::context::{Mode, Runtime};
use journeyman_domain::forge;

use crate::problem::Refusal;

/// Refuses a repository without a remote, a remote on no known forge, and a runtime without a token.
pub(super) async fn check(runtime: &Runtime, repository: &Path) -> Result<(), Refusal> {
    let Some(remote) = journeyman_workspace::remote(repository).await? else {
        let root = repository.display();
        let message = format!(
            "{root} has no remote that a pull request could be opened on: neither 'origin' nor a single other one"
        );
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "no_remote", message)
            .hint("git remote add origin ADDRESS  gives it one"));
    };
    let settings = &runtime.settings.forge;
    if let Err(error) = forge::repository(&remote.address, &settings.host) {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "unknown_forge", error.to_string()).hint(
            "--deliver branch  leaves the change in the repository; github.api_url names another server",
        ));
    }
    match (&settings.client, runtime.mode) {
        // Who does not send need not have the token.
        (Ok(_), _) | (Err(_), Mode::Observer) => Ok(()),
        (Err(reason), Mode::Daemon | Mode::Foreground(_)) => {
            Err(Refusal::missing(reason.clone()).hint(
                "set GITHUB_TOKEN, or github.token to where it is, for the process that works (`up` or `run`)",
            ))
        }
    }
}
