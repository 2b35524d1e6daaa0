//! What a tree looks like: plain data, read from TOML.
//!
//! Owns the meaning and the checks of the supervision file. Never starts anything and never knows which child kinds
//! exist; the assembler's [`StartChild::Kind`](crate::StartChild::Kind) does.

mod duration;
mod load;
mod schema;

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub use schema::schema;

/// The name of the table, and the first part of the path, of the root supervisor.
pub(crate) const ROOT: &str = "root";

/// A whole tree: every supervisor by the name of its table. Checked by construction.
///
/// ```
/// let tree = journeyman_supervision::TreeSpec::from_toml(r#"
///     [root]
///     strategy = "rest_for_one"
///     children = [
///         { id = "store", shutdown = "10s" },
///         { id = "workers", supervisor = "workers" },
///     ]
///     [workers]
///     strategy = "dynamic"
///     child = { kind = "worker", restart = "temporary" }
/// "#)?;
/// assert_eq!(tree.root().children.len(), 2);
/// # Ok::<(), journeyman_supervision::SpecError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct TreeSpec {
    supervisors: BTreeMap<String, SupervisorSpec>,
    #[serde(skip)]
    root: SupervisorSpec,
}

impl TreeSpec {
    /// Reads and checks a supervision file.
    pub fn from_toml(text: &str) -> Result<Self, SpecError> {
        load::load(text)
    }

    /// The supervisor at the top.
    pub fn root(&self) -> &SupervisorSpec {
        &self.root
    }

    /// A supervisor by the name of its table.
    pub fn supervisor(&self, name: &str) -> Option<&SupervisorSpec> {
        self.supervisors.get(name)
    }

    /// All supervisors with the names of their tables.
    pub fn supervisors(&self) -> impl Iterator<Item = (&str, &SupervisorSpec)> {
        self.supervisors.iter().map(|(name, spec)| (name.as_str(), spec))
    }
}

/// One supervisor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SupervisorSpec {
    /// Which children a failure concerns.
    pub strategy: Strategy,
    /// How many restarts within `period` are accepted; one more, and the supervisor gives up.
    pub intensity: u32,
    /// The sliding window of `intensity`.
    #[serde(with = "duration")]
    pub period: Duration,
    /// Whether the supervisor ends when significant children finish.
    pub auto_shutdown: AutoShutdown,
    /// How many children a dynamic supervisor may have at once; no limit if absent.
    pub max_children: Option<usize>,
    /// The children in the order of their start. For a dynamic supervisor exactly one entry: the template of all.
    pub children: Vec<ChildSpec>,
}

/// Which children are restarted when one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The one that failed.
    OneForOne,
    /// All: they are stopped in reverse order and started again in order.
    OneForAll,
    /// The one that failed and all that started after it.
    RestForOne,
    /// As `OneForOne`; children of one template come and go at run time and stop in parallel.
    Dynamic,
}

/// Whether a supervisor ends when significant children finish by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// It never does.
    #[default]
    Never,
    /// As soon as one significant child finished.
    AnySignificant,
    /// When all significant children finished.
    AllSignificant,
}

/// One child of a supervisor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChildSpec {
    /// The name among its siblings and the last part of its path. Empty in the template of a dynamic supervisor.
    pub id: String,
    /// What is started.
    #[serde(flatten)]
    pub start: Start,
    /// After which exits it is started again.
    pub restart: Restart,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// Whether it counts for `auto_shutdown`.
    pub significant: bool,
    /// How its supervisor notices that it hangs.
    pub health: Option<Health>,
    /// The delay before a restart.
    pub backoff: Backoff,
}

/// What a child is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Start {
    /// An actor of this kind, started by the assembler's code.
    #[serde(rename = "kind")]
    Worker(String),
    /// The supervisor of this table.
    #[serde(rename = "supervisor")]
    Supervisor(String),
}

/// After which exits a child is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// After every exit.
    #[default]
    Permanent,
    /// After failures, kills and cancellations. It also comes back when its group is restarted.
    Transient,
    /// Never, also not with its group.
    Temporary,
}

/// How a child is stopped. In TOML `"kill"`, `"unbounded"` or a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Killed at once, without `post_stop`.
    Kill,
    /// Asked to stop; killed when it takes longer than this.
    Within(Duration),
    /// Asked to stop, and waited for. The default of supervisors, whose children have limits of their own.
    Unbounded,
}

impl Serialize for Shutdown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Kill => serializer.serialize_str("kill"),
            Self::Within(limit) => duration::serialize(limit, serializer),
            Self::Unbounded => serializer.serialize_str("unbounded"),
        }
    }
}

impl<'de> Deserialize<'de> for Shutdown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "kill" => Ok(Self::Kill),
            "unbounded" => Ok(Self::Unbounded),
            text => duration::parse(text).map(Self::Within).map_err(|error| {
                D::Error::custom(format!("{error}; \"kill\" and \"unbounded\" are possible too"))
            }),
        }
    }
}

/// How a supervisor notices that a child hangs.
///
/// The probe is an ordinary message to the child, so it measures the wait in the mailbox too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The pause between two probes.
    #[serde(with = "duration")]
    #[schemars(with = "schema::Positive")]
    pub every: Duration,
    /// How long an answer may take.
    #[serde(with = "duration")]
    #[schemars(with = "schema::Positive")]
    pub timeout: Duration,
    /// After so many misses in a row the child is killed, which counts as an abnormal exit.
    #[schemars(range(min = 1))]
    pub failures: u32,
}

/// The delay before a restart: `min`, then `factor` times more for each further one, up to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// The first delay; zero restarts at once, always.
    #[serde(with = "duration")]
    #[schemars(with = "schema::Text")]
    pub min: Duration,
    /// The longest delay, before jitter.
    #[serde(with = "duration")]
    #[schemars(with = "schema::Text")]
    pub max: Duration,
    /// The growth, at least 1.
    #[schemars(range(min = 1))]
    pub factor: f64,
    /// The share, 0 to 1, by which a delay is lengthened or shortened at random.
    #[schemars(range(min = 0, max = 1))]
    pub jitter: f64,
    /// An instance that lived this long starts the delays from `min` again.
    #[serde(with = "duration")]
    #[schemars(with = "schema::Text")]
    pub reset_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(100),
            max: Duration::from_secs(30),
            factor: 2.0,
            jitter: 0.2,
            reset_after: Duration::from_mins(1),
        }
    }
}

/// Why a supervision file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}{}: {message}", line.map(|line| format!(" (line {line})")).unwrap_or_default())]
pub struct SpecError {
    /// The path of the key, such as `root.children[2].restart`; `.` when the text is no TOML at all.
    pub key: String,
    /// The line in the text, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub message: String,
}
