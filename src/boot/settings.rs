//! The user's settings as the actors take them.

use std::path::{Path, PathBuf};

use journeyman_actors::context;

use super::environment;
use crate::config::{Namespaces, Settings};
use crate::failure::Failure;
use crate::session::Context;

/// Translates. `works` says whether this process will start children.
pub(super) fn actors(
    context: &Context,
    settings: &Settings,
    works: bool,
) -> Result<context::Settings, Failure> {
    let git = &settings.git;
    let author = (!git.author_name.is_empty() || !git.author_email.is_empty())
        .then(|| (git.author_name.clone(), git.author_email.clone()));
    Ok(context::Settings {
        limits: settings.run.limits(),
        allow_unverified: settings.run.allow_unverified,
        author,
        forge: super::forge::load(&settings.github, works)?,
        sandbox: sandbox(context, settings, works)?,
        host: super::node::host(),
        boot_id: super::node::boot_id(),
        runs: context.paths.runs(),
        prepared: context.paths.data.join("prepared"),
        patches: context.paths.patches(),
        prompts: super::models::prompts(&context.paths.config)?,
        environment: environment::allowed(),
    })
}

fn sandbox(
    context: &Context,
    settings: &Settings,
    works: bool,
) -> Result<context::Sandbox, Failure> {
    let capable = || journeyman_launcher::probe(&context.program).namespaces();
    let namespaces = match settings.sandbox.namespaces {
        Namespaces::Off => false,
        // It takes several processes to find out; who starts no child need not know.
        Namespaces::Auto => works && capable(),
        Namespaces::Required if capable() => true,
        Namespaces::Required => {
            return Err(Failure::missing(
                "sandbox.namespaces is 'required', and this machine does not permit them",
                "journeyman doctor  says which part is refused",
            ));
        }
    };
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let mut hidden = journeyman_launcher::hidden_by_default(&home);
    hidden.extend(settings.sandbox.hidden.iter().map(|path| match path.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None => PathBuf::from(path),
    }));
    // Neither the database nor other runs are a child's business; its own folder stays visible.
    hidden.push(context.paths.data.clone());
    hidden.push(context.paths.config.clone());
    let keys = settings.providers.values().filter_map(|provider| provider.key.as_deref());
    let own = [settings.database.url.as_str(), settings.github.token.as_str()];
    let references = keys.chain(own);
    hidden.extend(references.flat_map(crate::config::secret_files));
    hidden.extend(context.socket().and_then(|socket| socket.parent().map(Path::to_owned)));
    hidden.extend(environment::sockets(&home, |name| std::env::var_os(name)));
    hidden.sort();
    hidden.dedup();
    let caches = if works { environment::caches() } else { Vec::new() };
    Ok(context::Sandbox { namespaces, hidden, caches })
}
