//! The sentinel: watches the runtime itself.
//!
//! Owns what is wrong with the runtime at the moment: supervisors that restart too often, work
//! that does not move, a database that the health functions call unhealthy. It says so in the log;
//! it mends nothing, since supervisors and the scheduler do.

mod messages;
mod shell;

pub use messages::{SentinelHandle, SentinelMessage, SentinelSnapshot};
pub use shell::{Arguments as SentinelArguments, SentinelActor};
