//! Supervisors over [ractor](https://docs.rs/ractor), as Erlang's OTP has them.
//!
//! Purpose: ractor reports how an actor ended, and leaves it to others what to do then. This crate does it: it starts
//! a tree of actors in order, restarts what fails by the tree's policy, gives up where restarting does not help, and
//! stops everything in reverse order.
//!
//! It owns which instances live ([`Directory`]) and whether and when one is started again. It knows nothing of what
//! its children do, and it never keeps a child's state: what must survive a restart, the child reads in its
//! `pre_start`.
//!
//! # What holds
//! - Children start in the order of their list, one after the other; a failing start stops the started ones in
//!   reverse and fails the whole start. They stop in reverse order, gracefully, each within its own limit, and are
//!   killed after it. The children of a dynamic supervisor stop together.
//! - Nothing is started before its predecessor, and everything that was started below it, is gone.
//! - A permanent child always comes back, a transient one after abnormal exits (a kill is one) and with its group, a
//!   temporary one never.
//! - Exits of several children while their group goes down are one restart.
//! - More than `intensity` restarts within `period`: the supervisor stops its children and fails with [`GaveUp`],
//!   which is one failure for the supervisor above it.
//! - A stop wins over a restart that is under way.
//!
//! # Example
//! The tree is data, the start functions are code: one `match` over a closed enum of kinds.
//!
//! ```
//! use std::str::FromStr;
//! use journeyman_supervision::{Child, ChildContext, RunningTree, StartChild, TreeSpec};
//! use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};
//!
//! struct Store;
//!
//! impl Actor for Store {
//!     type Msg = ();
//!     type State = ();
//!     type Arguments = ();
//!     async fn pre_start(&self, _: ActorRef<()>, _: ()) -> Result<(), ActorProcessingErr> {
//!         Ok(())
//!     }
//! }
//!
//! enum Kind { Store }
//!
//! impl FromStr for Kind {
//!     type Err = ();
//!     fn from_str(text: &str) -> Result<Self, ()> {
//!         match text {
//!             "store" => Ok(Self::Store),
//!             _ => Err(()),
//!         }
//!     }
//! }
//!
//! struct Kinds;
//!
//! impl StartChild for Kinds {
//!     type Kind = Kind;
//!     async fn start(&self, kind: Kind, context: ChildContext) -> Result<Child, SpawnErr> {
//!         match kind {
//!             Kind::Store => {
//!                 let (actor, _) = Actor::spawn_linked(None, Store, (), context.supervisor).await?;
//!                 Ok(Child::new(actor))
//!             }
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spec = TreeSpec::from_toml(r#"
//!     [root]
//!     strategy  = "one_for_one"
//!     intensity = 3
//!     period    = "60s"
//!     children  = [{ id = "store", shutdown = "5s", backoff = { min = "200ms", max = "30s" } }]
//! "#)?;
//! let tree = RunningTree::start(spec, Kinds).await?;
//! assert!(tree.directory().resolve("root/store").is_some());
//! tree.stop().await;
//! # Ok(())
//! # }
//! ```

mod child;
mod directory;
mod dynamic;
mod exit;
mod ledger;
mod model;
mod path;
mod record;
mod shared;
mod spec;
mod supervisor;
#[cfg(test)]
mod tests;
mod tree;

pub use child::{Child, ChildContext, StartChild, StartFailure};
pub use directory::{
    Directory, Instance, Status,
    snapshot::{Budget, NodeKind, TreeNode},
};
pub use dynamic::{Dynamic, DynamicError};
pub use exit::{Ending, Exit, GaveUp};
pub use ledger::{Ledger, Writer};
pub use path::ChildPath;
pub use record::{Change, SupervisionRecord};
pub use spec::{
    AutoShutdown, Backoff, ChildSpec, Health, Restart, Shutdown, SpecError, Start, Strategy,
    SupervisorSpec, TreeSpec, schema,
};
pub use tree::{RunningTree, StartError};
