//! Clones, snapshots, deliveries and processes of a run.
//!
//! A run works in a clone of its own. Its folder holds:
//!
//! - `tree`: the files, with a `.git` that belongs to the agent;
//! - `git`: our own bare repository, which the sandbox cannot write to: snapshots, diffs and
//!   deliveries are made with it, so that nothing an agent does to `tree/.git` (commits, hooks,
//!   configuration) can fool or harm us;
//! - `temporary`: what appears as `/tmp` in the sandbox.
//!
//! This crate owns those folders and the processes that run in them. It must never touch the
//! user's working tree, index, stash, configuration or current branch; only [`apply`], which the
//! user asks for by name, does. It speaks to a remote only to look for a branch and to push one
//! that is not there. It keeps no record: what must outlive the process is returned.

pub mod edit;
pub mod process;
pub mod reap;

mod base;
mod checkout;
mod clone;
mod deliver;
mod durable;
mod error;
mod git;
mod locks;
mod remote;
mod repository;
mod snapshot;
mod sound;
mod steps;
mod submodules;

pub use base::{contents, files, identity, key_of};
pub use checkout::checkout;
pub use clone::{Workspace, create, discard, empty, exclude, open, tree_in};
pub use deliver::{
    Applied, Delivered, Delivery, Earlier, Signature, apply, deliver, delivered_before,
};
pub use durable::{has_room, settle, write_durably};
pub use error::WorkspaceError;
pub use git::{GitError, InvalidObjectId, ObjectId};
pub use journeyman_launcher::Policy;
pub use remote::{Pushing, Remote, RemoteBranch, base_branch, push, remote, remote_branch};
pub use repository::{RepositoryFacts, inspect, resolve, uncommitted};
pub use snapshot::{
    ChangeKind, ChangedPath, Snapshot, StoredSnapshot, changed_paths, diff, import, release_locks,
    restore, restore_to, take, take_touched,
};
pub use sound::{faults, verify};
pub use steps::Recorded;
