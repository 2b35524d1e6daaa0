//! The hard places of durability: what a run goes on from was damaged, removed or exchanged while nobody looked.
//! The runtime says what it found, parks what it cannot trust, and goes on with the rest.

mod audit;
mod clock;
mod daemons;
mod journal;
mod many;
mod older;
mod processes;
pub(crate) mod scene;
mod steps;
mod workspace;
