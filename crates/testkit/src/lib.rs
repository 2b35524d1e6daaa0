//! What the tests of several crates need.

pub mod database;
pub mod forge;
pub mod model;
pub mod otlp;
pub mod remote;
