//! Kill it anywhere: every task goes on by itself, nothing is done twice, nothing is left behind.

mod cluster;
mod everywhere;
mod fence;
mod foreground;
mod killed;
mod outage;
pub(crate) mod scene;
mod stopped;
