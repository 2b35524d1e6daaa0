//! The integration tests, one binary: each module a theme.

mod architecture;
mod cluster;
mod launcher;
mod telemetry;
mod workspace;
