//! The agent on a model: a scripted one, over the real wires, against the real runtime.

mod bill;
mod commands;
mod full;
mod kill;
mod limits;
mod local;
mod misbehaviour;
mod repair;
mod scene;
mod trace;

pub(crate) use scene::Scene;
