//! What the tests of several crates need.

pub mod database;
pub mod forge;
mod git;
pub mod model;
pub mod otlp;
pub mod overdue;
pub mod processes;
pub mod remote;

pub use git::git;
