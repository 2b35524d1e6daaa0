//! The supervisors over real ractor actors.

mod failing;
mod lifecycle;
mod rig;
mod spec;
