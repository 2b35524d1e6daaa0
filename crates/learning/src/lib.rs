//! What a failure is, whether it was seen before, and what helped against it.
//!
//! Classification, fingerprints and pattern statistics: pure functions of their arguments. They
//! own no state, ask no model, and their work is linear in the text. A classification is a
//! judgement on untrusted text: it picks a policy, it never runs anything that the text says.

pub mod classify;
mod crash;
pub mod fingerprint;
mod frames;
mod mask;
pub mod pattern;
mod window;

pub use classify::classify;
pub use fingerprint::fingerprint;
