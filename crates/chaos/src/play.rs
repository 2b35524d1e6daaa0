//! What a user asks of the runtime, act by act. Each act says when it is done, as the rows have it, so that a user whose
//! request was cut off looks before asking again.

mod plays;

use serde_json::Value;

use journeyman_testkit::model::Script;

pub use plays::{FAULTS, PLAYS};

/// A part of a play. `{prefix}` and `{repo}` in texts are the scenario's own.
#[derive(Debug)]
pub enum Act {
    /// Adds tasks in one request: documents as `POST /tasks` takes them, `prompt` being the name.
    Add(Vec<Value>),
    /// Sends a request. In the path, `{NAME}` after `/tasks/` is the id of the task of that name, and
    /// `{error:NAME}` that of its first failure.
    Post {
        /// Below `/api/v1`.
        path: &'static str,
        /// The document.
        body: Value,
        /// SQL that is true once it is done.
        done: &'static str,
    },
    /// A statement by hand, behind the runtime's back.
    Hand {
        /// SQL.
        sql: &'static str,
        /// SQL that is true once it is done.
        done: &'static str,
    },
    /// Waits until SQL is true.
    Until(&'static str),
    /// An ordered stop and a new start.
    Restart,
}

/// What a user asks for.
pub struct Play {
    /// Its name.
    pub name: &'static str,
    /// The files of the repository.
    pub files: &'static [(&'static str, &'static str)],
    /// The model's script, where there is one.
    pub script: Option<fn() -> Script>,
    /// Whether its repository has a remote on a forge.
    pub forge: bool,
    /// The acts, in order.
    pub acts: fn() -> Vec<Act>,
    /// Its share of all scenarios, as a part of the sum over all plays; one without a weight is played by name alone.
    pub weight: u32,
}

impl Play {
    /// The play of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PLAYS.iter().find(|play| play.name == name)
    }
}
