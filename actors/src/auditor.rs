//! The auditor: first up, last down.
//!
//! Owns the chain of the audit: it seals rows that transactions have written. It records every
//! start, exit, restart and give-up of the tree as an audit event. It never writes on behalf of
//! anybody else: a state change and its audit row are one transaction of whoever changes it.

mod messages;
mod shell;

pub use messages::{AuditorHandle, AuditorMessage, AuditorSnapshot};
pub use shell::{Arguments as AuditorArguments, AuditorActor};
