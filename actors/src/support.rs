//! What every actor shares: envelopes, handles, the limit of a mailbox, tracked tasks, the
//! first look at the database.
//!
//! A message can only be sent through a [`Mailbox`], which stamps it with who sent it, why, and in
//! which trace, and only be handled through [`Envelope::open`], which gives its span.

pub mod envelope;
pub mod lives;
pub mod mailbox;
pub mod recordable;
pub mod rows;
pub mod tasks;

pub use envelope::{Correlation, Envelope, Message, Meta};
pub use lives::Lives;
pub use mailbox::{AskError, Mailbox, Reply, answer, probed};
pub use recordable::recordable;
pub use rows::read_at_start;
pub use tasks::TrackedTasks;

/// What starting an actor gives.
pub type Spawned<T> = Result<T, ractor::SpawnErr>;
