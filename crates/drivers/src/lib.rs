//! How an agent acts: the driver of each kind, as a state machine over what it observed.
//!
//! A driver owns nothing but the history of its run. It must never read a file, start a program,
//! ask for the time or draw a random number: it asks for tool calls, and the runtime does them.

mod command;
mod mechanic;

use journeyman_domain::driver::{Assignment, Driver};
use journeyman_domain::status::DriverKind;

/// The driver of this kind, at the start of a run.
pub fn build(kind: DriverKind, assignment: Assignment) -> Box<dyn Driver> {
    match kind {
        DriverKind::Mechanic => Box::new(mechanic::Mechanic::new(assignment)),
        DriverKind::Command => Box::new(command::Command::new(assignment)),
    }
}
