//! The drivers on real folders with the real tools: every call is executed, as the runtime would.

mod harness;
mod linters;
mod replay;
mod rust;
