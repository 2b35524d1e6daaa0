//! The gateway to the models: every call of a model goes through it, whoever asks.
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
pub use shell::GatewayActor;
