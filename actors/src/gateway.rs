//! The gateway to the models: every call of a run goes through it. Only the user's own question whether
//! a model answers ([`probe`]) is asked outside: it belongs to no run, and neither waits nor retries.
//!
//! It owns the retries, what is known of each provider's limits, and the day's budget. The wait
//! before a next try and what a failed one used are rows before they count.

mod attempt;
mod handle;
mod messages;
mod probe;
mod row;
mod shell;

pub use handle::GatewayHandle;
pub use messages::{Answered, Call, GatewayMessage, GatewaySnapshot, GivenUp};
pub use probe::{Probed, probe};
pub(crate) use row::{midnight, record_unwanted};
pub use shell::GatewayActor;
