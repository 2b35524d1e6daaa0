//! Parses the call and dispatches it.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use journeyman_runtime::cli::Cli;
use journeyman_runtime::commands::{self, keeper};
use journeyman_runtime::failure::Failure;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        // The two hidden ones come before any thread is started.
        Some(command) if command == keeper::COMMAND => return keeper::main(arguments),
        Some(command) if command == journeyman_launcher::COMMAND => {
            let code = journeyman_launcher::main(arguments);
            return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX));
        }
        _ => {}
    }
    let cli = Cli::parse();
    let json = cli.json;
    match commands::execute(cli) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            report(&failure, json);
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn report(failure: &Failure, json: bool) {
    let text = if json { failure.to_json() } else { failure.to_string() };
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(anstream::stderr(), "{text}");
}
