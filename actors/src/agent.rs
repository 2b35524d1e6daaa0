//! The agents: one supervisor for each codegen agent, its runs below it.
//!
//! A run's actor owns one run: its journal, its workspace, its processes. It is temporary: when it
//! is gone, whatever the reason, the rows say what is next, and a new actor goes on from them.

mod ask;
mod call;
mod claimed;
mod conclude;
mod deliver;
mod dependencies;
mod execute;
mod guides;
mod handle;
mod journal;
mod messages;
pub(crate) mod other;
mod prepare;
mod restored;
mod scene;
mod shell;
mod verify;

pub use dependencies::Fetched;
pub use handle::{AgentsHandle, RunHandle};
pub use messages::{RunMessage, RunSnapshot, StopReason};
pub use shell::{Arguments as RunArguments, RunActor};
