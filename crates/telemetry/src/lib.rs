//! Traces, metrics and log lines of the runtime.
//!
//! Owns: the trace context that messages and rows carry, the names of all spans and metrics, the
//! way out over OTLP, the form of a log line, and what is kept out of all of them.
//! Must never: decide anything, fail the work because a collector is away, or let a secret, an
//! environment or a prompt out.

pub mod context;
pub mod export;
pub mod log;
pub mod metrics;
pub mod names;
pub mod panic;
pub mod redact;
pub mod setup;

pub use context::{Relation, TraceContext, attach};
pub use metrics::metrics;
pub use setup::{Guard, LogFormat, Settings, init};
