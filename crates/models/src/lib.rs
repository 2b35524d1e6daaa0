//! Speaks to models: three wire formats behind one surface, one client, and what models cost.
//!
//! Owns: what is sent ([`body`], deterministic and append-only, so that providers' prompt caches
//! hold), one attempt at an answer ([`Client::call`]), what a provider's refusal means, and the
//! table of prices ([`pricing`]). Must never retry, wait or decide what follows a failure: that is
//! the caller's, in one place. Knows no actor, no store, no workspace.

mod answer;
mod client;
mod failure;
mod limits;
pub mod pricing;
mod provider;
mod sse;
mod wire;

pub use self::answer::Progress;
pub use self::client::{Attempt, Client};
pub use self::limits::{RateLimits, Window};
pub use self::provider::{Key, Provider};
pub use self::wire::{body, hash};
