//! The models that the settings name: providers with their keys, prices, prompts of the user's own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use journeyman_actors::models::{Models, Served};
use journeyman_domain::failure::sentence;
use journeyman_domain::model::{ToolMode, nanousd};
use journeyman_models::pricing::Prices;
use journeyman_models::{Client, Key};

use crate::config::{Provider, Settings, resolve_secret};
use crate::failure::{Exit, Failure};
use crate::session::Context;

/// Providers that need no entry.
const BUILT_IN: [&str; 3] = ["openai", "anthropic", "ollama"];
/// Seconds until an answer must begin, that it may be silent, and that all of it may take.
const HEADER_TIMEOUT_S: u64 = 120;
const IDLE_TIMEOUT_S: u64 = 120;
const ANSWER_TIMEOUT_S: u64 = 3_600;
/// Tries after the first one, as the official client libraries have it.
const RETRIES: u32 = 2;
/// Calls to a provider at once.
const MAX_CONCURRENT: u32 = 16;

/// Reads them. `with_keys` says whether this process will work: only then is a program run that prints
/// a key.
pub(super) fn load(
    context: &Context,
    settings: &Settings,
    with_keys: bool,
) -> Result<Models, Failure> {
    let wrong = |message: String| Failure::new(Exit::Usage, "config", message);
    let mut providers = BTreeMap::new();
    let own = settings.providers.iter().map(|(name, own)| (name.as_str(), Some(own)));
    let built_in = BUILT_IN.into_iter().filter(|name| !settings.providers.contains_key(*name));
    for (name, own) in own.chain(built_in.map(|name| (name, None))) {
        let served = served(name, own, with_keys)
            .map_err(|reason| wrong(format!("[providers.{name}]: {reason}")))?;
        providers.insert(name.to_owned(), served);
    }
    if let Some(name) = providers.keys().find(|name| name.contains(['.', '/'])) {
        return Err(wrong(format!("[providers.{name}]: a provider's name has no '.' and no '/'")));
    }
    let daily = settings.model.daily_budget_usd;
    Ok(Models {
        client: Client::new().map_err(Failure::from_error)?,
        providers,
        default: settings.model.default.clone(),
        prices: prices(&context.paths.config).map_err(wrong)?,
        daily_nanousd: (daily > 0.0).then(|| nanousd(daily)),
    })
}

fn served(name: &str, own: Option<&Provider>, with_keys: bool) -> Result<Served, String> {
    let built_in = Provider::built_in(name, |name| std::env::var(name).ok());
    let whole = own.cloned().unwrap_or_default().over(built_in.unwrap_or_default());
    let Some(wire) = whole.wire else {
        return Err("wire is missing: openai_chat, openai_responses or anthropic_messages".into());
    };
    let Some(base_url) = whole.base_url.as_deref().filter(|url| !url.is_empty()) else {
        return Err("base_url is missing".into());
    };
    if !base_url.starts_with("http://") && !base_url.starts_with("https://") {
        return Err(format!("base_url '{base_url}' does not begin with http:// or https://"));
    }
    let reference = whole.key.as_deref().unwrap_or_default();
    let is_reference =
        ["env:", "file:", "command:", "keyring:"].iter().any(|kind| reference.starts_with(kind));
    if !reference.is_empty() && !is_reference {
        // What it is must not be said: it may be the key.
        return Err("key is no reference; write env:NAME, file:PATH or command:CMD".into());
    }
    let seconds = |own: Option<u64>, usual: u64| Duration::from_secs(own.unwrap_or(usual).max(1));
    let key = key(reference, with_keys);
    let is_set_up = own.is_some() || (!reference.is_empty() && key.is_ok());
    let provider = key.map(|key| journeyman_models::Provider {
        key,
        header_timeout: seconds(whole.header_timeout_s, HEADER_TIMEOUT_S),
        idle_timeout: seconds(whole.idle_timeout_s, IDLE_TIMEOUT_S),
        answer_timeout: seconds(whole.answer_timeout_s, ANSWER_TIMEOUT_S),
        ..journeyman_models::Provider::new(name, wire, base_url)
    });
    Ok(Served {
        provider,
        retries: whole.retries.unwrap_or(RETRIES),
        max_concurrent: whole.max_concurrent.unwrap_or(MAX_CONCURRENT).max(1),
        tool_mode: whole.tool_mode.unwrap_or(ToolMode::Native),
        context_window: whole.context_window,
        max_output_tokens: whole.max_output_tokens,
        temperature: whole.temperature,
        wire,
        is_set_up,
    })
}

/// The key behind a reference, unspeakable from here on; or why there is none.
fn key(reference: &str, with_keys: bool) -> Result<Option<Key>, String> {
    if reference.is_empty() {
        return Ok(None);
    }
    if !with_keys && reference.starts_with("command:") {
        return Err("its key comes from a program, which only `up` and `run` start".to_owned());
    }
    let value = resolve_secret(reference).map_err(|error| sentence(&error))?;
    if value.trim().is_empty() {
        return Err(format!("the key at {reference} is empty"));
    }
    journeyman_telemetry::redact::register(value.trim());
    Ok(Some(Key::new(&value)))
}

/// The shipped prices, with the user's own lines over them.
fn prices(folder: &Path) -> Result<Prices, String> {
    let shipped = Prices::shipped().map_err(|error| sentence(&error))?;
    let file = folder.join("pricing.toml");
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let own = Prices::parse(&text)
                .map_err(|error| format!("{}: {}", file.display(), sentence(&error)))?;
            Ok(shipped.with(own))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(shipped),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
    }
}

/// The user's own system prompts: `prompts/ROLE.md` in the folder of settings.
pub(super) fn prompts(folder: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let folder = folder.join("prompts");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Failure::from_error(error)),
    };
    let mut prompts = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(Failure::from_error)?.path();
        let role = path.file_stem().and_then(|stem| stem.to_str());
        if let Some(role) = role.filter(|_| path.extension().is_some_and(|end| end == "md")) {
            let text = std::fs::read_to_string(&path).map_err(|error| {
                let message = format!("{} cannot be read: {error}", path.display());
                Failure::new(Exit::Usage, "config", message)
            })?;
            prompts.insert(role.to_owned(), text);
        }
    }
    Ok(prompts)
}
