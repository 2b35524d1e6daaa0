//! The supervisors over real ractor actors.

mod failing;
mod forest;
mod garden;
mod lifecycle;
mod oracle;
mod rig;
mod significant;
mod spec;
mod starting;
mod trees;
mod watch;
