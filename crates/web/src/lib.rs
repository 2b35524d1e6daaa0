//! The runtime's HTTP API under `/api/v1`: one router, served on the daemon's Unix socket and
//! called inside a process that has no daemon.
//!
//! Owns no truth: it reads through the store and changes the world through the handles of the
//! actors, or through the store where no actor owns the row. It must never decide what follows,
//! keep a state of its own between requests, or show a secret.

mod adding;
mod api;
mod because;
mod codebase;
mod document;
mod extract;
mod narrate;
mod problem;
mod routes;
mod server;
mod span;
pub mod types;
mod watch;

pub use api::{Api, ApiState};
pub use server::serve;

/// The body of an answer; a stream of events arrives piece by piece.
pub type Body = axum::body::Body;
