//! The campaign: lives of the runtime end everywhere, and what is left is judged.
//!
//! Purpose: the durability contract, in figures. A [`World`] has a database of its own on a real PostgreSQL, a data
//! folder and repositories. A [`Play`] is what a user asks of the runtime there. A [`Scenario`] is a play in lives that
//! end at the places which its seed names: at a failpoint of `journeyman-faults`' table, or at a moment. At its end
//! everything that the contract promises is looked at ([`judge`]), and compared with the play that nobody disturbed.
//!
//! There are two kinds of lives, which are never added up: the real daemon, killed by a real SIGKILL, and a runtime
//! in this process, which is cut off ([`Kind`]).
//!
//! Must never: make a wish of the runtime that a user could not make, count an end that did not come about, or pass
//! over a difference.

pub mod campaign;
pub mod judge;
pub mod life;
mod paid;
pub mod play;
pub mod record;
pub mod scenario;
pub mod soak;
pub mod stage;
pub mod tally;
pub mod trouble;
pub mod world;

pub use life::Kind;
pub use play::Play;
pub use scenario::Scenario;
pub use world::World;
