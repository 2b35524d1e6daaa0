//! Deliveries on a forge: a branch is pushed and a pull request opened, each once, whatever is lost on the way.

mod git;
mod leases;
