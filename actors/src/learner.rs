//! The pattern learner: what resolved which failure.
//!
//! Owns the rows of `learning_patterns` that come from resolved failures. A resolution is recorded
//! once for each run, however often it is told of it.

mod messages;
mod shell;

pub use messages::{LearnerHandle, LearnerMessage, LearnerSnapshot, Resolution};
pub use shell::LearnerActor;
