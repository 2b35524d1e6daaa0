//! The auditor: first up, last down.
//!
//! Owns the chain of the audit: it seals rows that transactions have written. It writes the ledger
//! of the tree down, so that every start, exit, restart and give-up is an audit event: its own end is
//! written by its successor, at the end of the process by whoever stopped the tree. It never writes on behalf of
//! anybody else: a state change and its audit row are one transaction of whoever changes it.

mod messages;
mod recorder;
mod sealer;
mod shell;

pub use messages::{AuditorHandle, AuditorMessage, AuditorSnapshot};
pub use recorder::Recorder;
pub use shell::{Arguments as AuditorArguments, AuditorActor};
