//! How an agent acts: the driver of each kind, as a state machine over what it observed.
//!
//! A driver owns nothing but the history of its run. It must never read a file, start a program,
//! ask for the time or draw a random number: it asks for tool calls, and the runtime does them.

mod command;
mod mechanic;
mod native;
mod prompts;

use journeyman_domain::driver::{Action, Assignment, Driver, Observation};
use journeyman_domain::limits::Limits;
use journeyman_domain::status::DriverKind;

pub use prompts::{COMPACT, prompt};

/// The driver of this kind, at the start of a run that has these limits.
pub fn build(kind: DriverKind, assignment: Assignment, limits: &Limits) -> Box<dyn Driver> {
    match kind {
        DriverKind::Mechanic => Box::new(mechanic::Mechanic::new(assignment)),
        DriverKind::Command => Box::new(command::Command::new(assignment)),
        DriverKind::Native => native::build(assignment, limits),
        // Its tasks have no run; whoever gives it one all the same has nothing done.
        DriverKind::None => Box::new(Idle),
    }
}

/// Does nothing, at once.
struct Idle;

impl Driver for Idle {
    fn next(&mut self) -> Action {
        Action::Finished { summary: "nothing was to be done".to_owned() }
    }

    fn observe(&mut self, _: Observation) {}
}
