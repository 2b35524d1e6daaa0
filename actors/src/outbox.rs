//! The outbox: brings decided effects about on foreign systems, each once.
//!
//! Owns which effects this node sends: claims, leases, attempts. What an effect is was decided with its row, and
//! what is done next with one is `domain::outbox`'s. It must never act without a lease, nor before it has looked.

mod messages;
mod recorded;
mod remote;
mod send;
mod shell;

pub use messages::{OutboxHandle, OutboxMessage, OutboxSnapshot};
pub use shell::OutboxActor;
