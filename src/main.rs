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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && std::env::args_os().any(|word| word == "--json") => {
            let failure = misread(&error);
            report(&failure, true);
            return ExitCode::from(failure.exit as u8);
        }
        // Its own way knows of terminals, and of help and versions, which are no errors.
        Err(error) => error.exit(),
    };
    let json = cli.json;
    match commands::execute(cli) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            report(&failure, json);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// A call that cannot be parsed, for a program that reads: the sentence without the usage below it.
fn misread(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let sentence = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let sentence = sentence.collect::<Vec<_>>().join(" ");
    let sentence = sentence.strip_prefix("error: ").unwrap_or(&sentence);
    Failure::usage(sentence).hint("journeyman help  shows what can be typed")
}

fn report(failure: &Failure, json: bool) {
    let text = if json { failure.to_json() } else { failure.to_string() };
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(anstream::stderr(), "{text}");
}
