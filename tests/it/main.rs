//! The integration tests, one binary: each module a theme.

mod architecture;
mod audit;
mod cluster;
mod launcher;
mod queue;
mod road;
mod schema;
mod support;
mod telemetry;
mod workspace;
