//! The server against a small client that knows nothing of it but TCP.

mod client;
mod judging;
mod misbehaviours;
mod wires;
