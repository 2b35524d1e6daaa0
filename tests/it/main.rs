//! The integration tests, one binary: each module a theme.

mod architecture;
mod audit;
mod cluster;
mod launcher;
mod queue;
mod schema;
mod telemetry;
mod workspace;
