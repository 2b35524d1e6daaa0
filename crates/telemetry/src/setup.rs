//! Start and end of telemetry in a process.
//!
//! Owns: the process's one subscriber. Must never: be called by a library or a test that shares
//! its process; those take [`Providers::layer`].

use std::io::IsTerminal as _;
use std::time::Duration;

use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use crate::export::{self, Otlp, Providers};
use crate::log::{Form, LogLayer};
use crate::{metrics, panic};

/// The longest that the end may take.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// Libraries that speak only when the user's filter names them.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,opentelemetry=off,ractor=warn,reqwest=warn,rustls=warn,tonic=warn,tower=warn";

/// What a process wants.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which events become log lines, such as `info` or `info,journeyman_store=debug`.
    pub log_filter: String,
    /// How a log line looks.
    pub log_format: LogFormat,
    /// What is exported; usually [`Otlp::from_env`].
    pub otlp: Otlp,
    /// The version of the program.
    pub service_version: String,
    /// Further resource attributes, such as `service.instance.id`.
    pub resource: Vec<(String, String)>,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For eyes, coloured on a terminal unless `NO_COLOR` is set.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The filter is not understood.
    #[error("the log filter {filter:?} is not understood")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The process has a subscriber already.
    #[error("telemetry was set up before in this process")]
    AlreadySet(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Ends telemetry when it goes: what waits is sent, for at most [`SHUTDOWN_LIMIT`].
#[derive(Debug)]
#[must_use = "telemetry ends when the guard is dropped"]
pub struct Guard(Option<Providers>);

/// Starts log lines on stderr, traces, metrics and the panic hook.
///
/// A collector that is away or badly named is told in a warning and is no error.
pub fn init(settings: &Settings) -> Result<Guard, SetupError> {
    let filter = log_filter(&settings.log_filter)?;
    let form = match settings.log_format {
        LogFormat::Json => Form::Json,
        LogFormat::Human => Form::Human { color: wants_color() },
    };
    let resource = export::resource(&settings.service_version, &settings.resource);
    let (providers, problems) = Providers::build(&settings.otlp, &resource);
    let guard = Guard(Some(providers));
    let Some(providers) = &guard.0 else {
        return Ok(guard);
    };
    let subscriber = tracing_subscriber::registry()
        .with(LogLayer::new(form, std::io::stderr).with_filter(filter))
        .with(providers.layer());
    tracing::subscriber::set_global_default(subscriber)?;
    if let Some(meter) = providers.meter() {
        metrics::install(&meter);
    }
    panic::install();
    for problem in problems {
        tracing::warn!(problem, "a telemetry setting could not be followed");
    }
    Ok(guard)
}

impl Guard {
    /// Ends telemetry now, as [`Providers::shutdown`] does within [`SHUTDOWN_LIMIT`].
    pub fn shutdown(mut self) -> bool {
        self.0.take().is_none_or(|providers| providers.shutdown(SHUTDOWN_LIMIT))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(providers) = self.0.take() {
            providers.shutdown(SHUTDOWN_LIMIT);
        }
    }
}

fn log_filter(filter: &str) -> Result<EnvFilter, SetupError> {
    // A later directive for the same target wins, so that the user's stand.
    EnvFilter::builder()
        .parse(format!("{QUIET},{filter}"))
        .map_err(|source| SetupError::Filter { filter: filter.to_owned(), source })
}

fn wants_color() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_filter_wins_over_the_quiet_libraries() {
        let shown = log_filter("info,hyper=debug").unwrap().to_string();
        assert!(shown.contains("hyper=debug") && !shown.contains("hyper=warn"), "{shown}");
        assert!(shown.contains("tonic=warn"), "{shown}");
        let error = log_filter("journeyman=loud").unwrap_err();
        assert_eq!(error.to_string(), "the log filter \"journeyman=loud\" is not understood");
    }
}
