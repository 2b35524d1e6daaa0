//! The runtime process: assembly only. Commands, settings, and the order in which things start.

pub mod boot;
pub mod cli;
pub mod client;
pub mod commands;
pub mod config;
pub mod failure;
pub mod live;
pub mod output;
pub mod session;
pub mod shutdown;
pub mod socket;
pub mod tree;
