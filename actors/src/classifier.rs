//! The error classifier: what kind of failure something is, and what follows it.
//!
//! Owns the rows of `error_reports` while they are open. The judgement itself is pure
//! (`journeyman_learning::classify`, `journeyman_domain::failure::policy`); this shell looks up
//! whether the same failure was seen before, and writes the report.

mod messages;
mod shell;

pub use messages::{Classified, ClassifierHandle, ClassifierMessage, Failure};
pub use shell::ClassifierActor;
