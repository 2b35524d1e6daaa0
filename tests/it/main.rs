//! The integration tests, one binary: each module a theme.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod architecture;
mod audit;
mod bad_input;
mod cluster;
mod daemon;
mod hard;
mod judgement;
mod launcher;
mod measured;
mod mends;
mod native;
mod outbox;
mod queue;
mod readme;
mod recovery;
mod road;
mod schema;
mod supervision;
mod support;
mod telemetry;
mod trace;
mod workspace;
