//! Deliveries on a forge: a branch is pushed and a pull request opened, each once, whatever is lost on the way.

mod git;
mod kills;
mod leases;
mod lost;
mod refused;
mod road;
mod scene;
mod secrets;
mod trace;
