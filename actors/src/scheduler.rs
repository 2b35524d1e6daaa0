//! The task scheduler: which tasks this node works on.
//!
//! Owns this node's claims and leases. It looks at the database by a tick and by hints, so a lost
//! message never matters; what it decides is in `journeyman_domain::schedule`, the order of tasks
//! in the claim's SQL.

mod handle;
mod messages;
mod shell;
mod tend;

pub use handle::SchedulerHandle;
pub use messages::{SchedulerMessage, SchedulerSnapshot, Wish};
pub use shell::{Arguments as SchedulerArguments, SchedulerActor};
