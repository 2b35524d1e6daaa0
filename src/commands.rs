//! The commands, one file each. They parse what was given, call the API, and print what came back.

pub mod agent;
pub mod audit;
pub mod codebase;
pub mod config;
pub mod db;
pub mod doctor;
pub mod drain;
pub mod errors;
pub mod health;
pub mod keeper;
pub mod run;
pub mod schedule;
pub mod setup;
pub mod stats;
pub mod task;
pub mod tree;
pub mod up;

use journeyman_domain::failure::sentence;

use clap::CommandFactory as _;

use crate::cli::{Cli, Command};
use crate::config::Format;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::Context;

/// Runs a command to its end.
pub fn execute(cli: Cli) -> Result<Exit, Failure> {
    if let Some(text) = generated(&cli.command)? {
        output::text(&text)?;
        return Ok(Exit::Done);
    }
    let context = Context::load(cli.json)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .map_err(Failure::from_error)?;
    let done = runtime.block_on(async {
        let telemetry = telemetry(&context)?;
        let done = dispatch(&context, cli.command).await;
        // Bounded in itself; a dead receiver of traces does not hold a command up.
        let _ = tokio::task::spawn_blocking(move || telemetry.shutdown()).await;
        done
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    done
}

/// What needs no settings: completions and the man page.
fn generated(command: &Command) -> Result<Option<String>, Failure> {
    let mut text = Vec::new();
    if let Command::Completions { shell } = command {
        clap_complete::generate(*shell, &mut Cli::command(), "journeyman", &mut text);
    } else if let Command::Man = command {
        clap_mangen::Man::new(Cli::command()).render(&mut text).map_err(Failure::from_error)?;
    } else {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

async fn dispatch(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(run) => run::execute(context, &run).await,
        Command::Up => up::execute(context).await,
        Command::Task(command) => task::execute(context, command).await,
        Command::Codebase(command) => codebase::execute(context, command).await,
        Command::Agent(command) => agent::execute(context, command).await,
        Command::Errors(command) => errors::execute(context, command).await,
        Command::Config(command) => config::execute(context, command).await,
        Command::Db(command) => db::execute(context, command).await,
        Command::Audit(command) => audit::execute(context, command).await,
        Command::Tree => tree::execute(context).await,
        Command::Health => health::execute(context).await,
        Command::Stats { of: Some(crate::cli::Stats::Queue), .. } => stats::queue(context).await,
        Command::Stats { of: None, days } => stats::execute(context, days).await,
        Command::Schedule(command) => schedule::execute(context, command).await,
        Command::Drain { off, no_wait } => drain::execute(context, off, no_wait).await,
        Command::Doctor => doctor::execute(context).await,
        Command::Setup => setup::execute(context),
        // Done before anything was read.
        Command::Completions { .. } | Command::Man => Ok(Exit::Done),
    }
}

fn telemetry(context: &Context) -> Result<journeyman_telemetry::setup::Guard, Failure> {
    use journeyman_telemetry::{export::Otlp, setup};
    setup::init(&setup::Settings {
        log_filter: context.settings.log.filter.clone(),
        log_format: match context.settings.log.format {
            Format::Human => setup::LogFormat::Human,
            Format::Json => setup::LogFormat::Json,
        },
        otlp: Otlp::from_env(),
        service_version: env!("CARGO_PKG_VERSION").to_owned(),
        resource: Vec::new(),
    })
    .map_err(|error| Failure::new(Exit::Usage, "telemetry", sentence(&error)))
}
