//! Starts a child in its sandbox: the program behind the hidden command `sandbox-exec`.
//!
//! The launcher is this same binary, started again: it applies a [`Policy`] to itself and then
//! becomes (or starts) the program. So nothing has to happen between `fork` and `exec` of a
//! process with threads. With namespaces there are two stages: the first one enters fresh
//! namespaces and waits, the second one is process 1 of the sandbox, sets up its file system,
//! reaps what is orphaned, and takes everything in the sandbox with it when it ends.
//!
//! It owns no truth. It must run before any thread is started, it must never start the program
//! with less confinement than the policy says, and it must never write to stdout: that belongs
//! to the program.

mod arguments;
mod error;
mod filesystem;
mod landlocked;
mod namespaces;
mod policy;
mod privileges;
mod probe;
mod stages;

use std::ffi::OsString;
use std::io::Write as _;

pub use error::LaunchError;
pub use policy::{Policy, ResourceLimits, hidden_by_default};
pub use probe::{Capabilities, probe};

/// The name of the hidden command; [`main`] expects what follows it.
pub const COMMAND: &str = "sandbox-exec";

/// The exit status when the sandbox itself could not be set up; nothing was started then.
pub const EXIT_NOT_LAUNCHED: i32 = 125;

/// Runs the launcher with the arguments after [`COMMAND`] and returns the exit status: that of
/// the program (128 + number where a signal ended it), 127 or 126 where the program was not
/// found or not executable, [`EXIT_NOT_LAUNCHED`] where the sandbox failed.
///
/// Where the policy needs no process of its own this never returns, since the program takes
/// this process over.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> i32 {
    match arguments::parse(arguments).and_then(|call| stages::run(&call)) {
        Ok(status) => status,
        Err(error) => {
            let mut message = format!("{COMMAND}: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                message.push_str(": ");
                message.push_str(&cause.to_string());
                source = cause.source();
            }
            // Nobody is left to tell when stderr is gone.
            let _ = writeln!(std::io::stderr(), "{message}");
            error.exit_status()
        }
    }
}
