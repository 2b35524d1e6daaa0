//! Who is where: the live instance of every path, and the state that the tree's snapshot shows.
//!
//! Owns path -> (instance, generation, status). Supervisors write it, everybody may read it; reads are synchronous,
//! short and work while a supervisor is busy. It never starts or stops anything.

pub(crate) mod snapshot;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ractor::{ActorCell, ActorStatus};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    exit::Exit,
    path::ChildPath,
    spec::{Strategy, SupervisorSpec},
};

/// The live instances of a tree by their paths. Cheap to clone; all clones are one directory.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    inner: Arc<RwLock<Inner>>,
}

/// A running instance of a child.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The actor; it dies with the instance, so do not keep it.
    pub cell: ActorCell,
    /// Which instance, from 1.
    pub generation: u64,
}

/// What a child does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Status {
    /// Its first instance is being started.
    Starting,
    /// It runs.
    Running,
    /// It is being stopped or buried and will not be restarted.
    Stopping,
    /// It is being stopped, buried or started again.
    Restarting,
    /// It waits for its restart.
    BackingOff {
        /// When the wait ends, in milliseconds since 1970-01-01 UTC.
        until_unix_ms: u64,
    },
    /// It is at rest.
    Stopped,
}

#[derive(Debug, Default)]
struct Inner {
    nodes: BTreeMap<ChildPath, Node>,
    depths: BTreeMap<String, Arc<AtomicUsize>>,
    next_order: u64,
}

#[derive(Debug)]
struct Node {
    /// Siblings are listed by it.
    order: u64,
    /// Of a supervisor; none for a worker.
    supervises: Option<Supervises>,
    /// The period of the supervisor above.
    period: Duration,
    status: Status,
    /// When its wait for a restart ends.
    wakes: Option<Instant>,
    generation: u64,
    cell: Option<ActorCell>,
    adopted: Vec<ActorCell>,
    /// Held while an instance is being started, so that a burial cannot miss it.
    birth: Arc<tokio::sync::Mutex<()>>,
    born: Option<Instant>,
    /// The restarts that it was the cause of: all, and when the last ones were.
    restarts: u64,
    restarted: VecDeque<Instant>,
    last_exit: Option<(Exit, Instant)>,
}

#[derive(Debug)]
struct Supervises {
    strategy: Strategy,
    intensity: u32,
    period: Duration,
    /// When it decided to restart something.
    decided: VecDeque<Instant>,
}

impl Directory {
    /// The live instance of a path, such as `root/scheduler`; none while it is not running.
    pub fn resolve(&self, path: &str) -> Option<Instance> {
        let inner = self.read();
        let node = inner.nodes.get(path).filter(|node| node.status == Status::Running)?;
        let cell = node.cell.clone().filter(|cell| cell.get_status() < ActorStatus::Draining)?;
        Some(Instance { cell, generation: node.generation })
    }

    /// What a child does; none if the tree has no such path.
    pub fn status(&self, path: &str) -> Option<Status> {
        self.read().nodes.get(path).map(|node| node.status)
    }

    /// The counter of messages that wait for this path. It survives restarts, and may be taken before the tree starts.
    ///
    /// Count by a guard inside the message: a mailbox that is dropped with its instance then counts itself down.
    pub fn mailbox_depth(&self, path: &str) -> Arc<AtomicUsize> {
        Arc::clone(self.write().depths.entry(path.to_owned()).or_default())
    }

    /// The ids and instances of the running children of a supervisor, in the order of their start.
    pub fn children(&self, path: &str) -> Vec<(String, Instance)> {
        let inner = self.read();
        let mut nodes: Vec<_> = inner
            .children(path)
            .filter(|(_, node)| node.status == Status::Running)
            .filter_map(|(path, node)| Some((path, node, node.cell.clone()?)))
            .collect();
        nodes.sort_by_key(|(_, node, _)| node.order);
        nodes
            .into_iter()
            .map(|(path, node, cell)| {
                (path.id().to_owned(), Instance { cell, generation: node.generation })
            })
            .collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a path known; what is known of it already stays.
    pub(crate) fn declare(
        &self,
        path: &ChildPath,
        supervisor: Option<&SupervisorSpec>,
        period: Duration,
    ) {
        let mut inner = self.write();
        let order = inner.next_order;
        inner.next_order += 1;
        let node = inner.nodes.entry(path.clone()).or_insert_with(|| Node::new(order));
        node.supervises = supervisor.map(|spec| Supervises {
            strategy: spec.strategy,
            intensity: spec.intensity,
            period: spec.period,
            // A new instance counts from the start.
            decided: VecDeque::new(),
        });
        node.period = period;
        node.status = if node.generation == 0 { Status::Starting } else { Status::Restarting };
    }

    pub(crate) fn birth_lock(&self, path: &ChildPath) -> Arc<tokio::sync::Mutex<()>> {
        self.read().nodes.get(path).map(|node| Arc::clone(&node.birth)).unwrap_or_default()
    }

    pub(crate) fn next_generation(&self, path: &ChildPath) -> u64 {
        self.update(path, |node| {
            node.generation += 1;
            node.generation
        })
        .unwrap_or(1)
    }

    pub(crate) fn generation(&self, path: &ChildPath) -> u64 {
        self.read().nodes.get(path).map_or(0, |node| node.generation)
    }

    pub(crate) fn register(&self, path: &ChildPath, cell: ActorCell) {
        self.update(path, |node| {
            node.cell = Some(cell);
            node.born = Some(Instant::now());
            node.status = Status::Running;
        });
    }

    pub(crate) fn adopt(&self, path: &ChildPath, generation: u64, descendant: ActorCell) {
        self.update(path, |node| {
            if node.generation == generation {
                node.adopted.retain(|cell| cell.get_status() != ActorStatus::Stopped);
                node.adopted.push(descendant);
            }
        });
    }

    pub(crate) fn set_status(&self, path: &ChildPath, status: Status) {
        self.update(path, |node| node.status = status);
    }

    /// Notes that a child waits for its restart.
    pub(crate) fn back_off(&self, path: &ChildPath, delay: Duration) {
        let until = (SystemTime::now() + delay).duration_since(UNIX_EPOCH).unwrap_or_default();
        let until_unix_ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.update(path, |node| {
            node.status = Status::BackingOff { until_unix_ms };
            node.wakes = Some(Instant::now() + delay);
        });
    }

    pub(crate) fn set_exit(&self, path: &ChildPath, exit: Exit) {
        self.update(path, |node| {
            node.born = None;
            node.last_exit = Some((exit, Instant::now()));
        });
    }

    /// Notes a restart that `supervisor` decided because of `cause`.
    pub(crate) fn count_restart(&self, supervisor: &ChildPath, cause: &ChildPath) {
        self.update(supervisor, |node| {
            if let Some(supervises) = &mut node.supervises {
                note(&mut supervises.decided, supervises.period);
            }
        });
        self.update(cause, |node| {
            node.restarts += 1;
            note(&mut node.restarted, node.period);
        });
    }

    pub(crate) fn last_exit(&self, path: &ChildPath) -> Option<Exit> {
        let inner = self.read();
        inner.nodes.get(path)?.last_exit.as_ref().map(|(exit, _)| exit.clone())
    }

    /// Whether the last instance's exit was not noted yet.
    pub(crate) fn has_instance(&self, path: &ChildPath) -> bool {
        self.read().nodes.get(path).is_some_and(|node| node.born.is_some())
    }

    /// Drops the children of all dynamic supervisors at and below a path.
    pub(crate) fn forget_dynamic(&self, path: &ChildPath) {
        let mut inner = self.write();
        for supervisor in inner.subtree(path) {
            if inner
                .nodes
                .get(&supervisor)
                .and_then(|node| node.supervises.as_ref())
                .is_some_and(|supervises| supervises.strategy == Strategy::Dynamic)
            {
                for gone in
                    inner.subtree(&supervisor).into_iter().filter(|gone| *gone != supervisor)
                {
                    inner.nodes.remove(&gone);
                    inner.depths.remove(gone.as_str());
                }
            }
        }
    }

    /// Drops everything that is known of a path and of all below it.
    pub(crate) fn forget(&self, path: &ChildPath) {
        let mut inner = self.write();
        for path in inner.subtree(path) {
            inner.nodes.remove(&path);
            inner.depths.remove(path.as_str());
        }
    }

    pub(crate) fn cell(&self, path: &ChildPath) -> Option<ActorCell> {
        self.read().nodes.get(path).and_then(|node| node.cell.clone())
    }

    /// A path and all below it, the deepest last.
    pub(crate) fn subtree(&self, path: &ChildPath) -> Vec<ChildPath> {
        self.read().subtree(path)
    }

    /// The instance of this very path and what it recorded as started by itself.
    pub(crate) fn bodies(&self, path: &ChildPath) -> Vec<ActorCell> {
        let inner = self.read();
        inner
            .nodes
            .get(path)
            .map(|node| node.cell.iter().chain(&node.adopted).cloned().collect())
            .unwrap_or_default()
    }

    /// Notes that nothing of a path's last instance is left.
    pub(crate) fn bury(&self, path: &ChildPath) {
        self.update(path, |node| {
            node.adopted.clear();
            node.cell = None;
        });
    }

    fn update<T>(&self, path: &ChildPath, change: impl FnOnce(&mut Node) -> T) -> Option<T> {
        self.write().nodes.get_mut(path).map(change)
    }
}

impl Inner {
    fn below<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a ChildPath, &'a Node)> {
        // `0` follows `/` in ASCII, so this range is all that starts with `path/`.
        self.nodes.range::<str, _>((
            std::ops::Bound::Excluded(format!("{path}/").as_str()),
            std::ops::Bound::Excluded(format!("{path}0").as_str()),
        ))
    }

    fn children<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a ChildPath, &'a Node)> {
        let depth = path.matches('/').count() + 1;
        self.below(path).filter(move |(path, _)| path.as_str().matches('/').count() == depth)
    }

    fn subtree(&self, path: &ChildPath) -> Vec<ChildPath> {
        let own = self.nodes.contains_key(path).then(|| path.clone());
        own.into_iter().chain(self.below(path.as_str()).map(|(path, _)| path.clone())).collect()
    }

    fn depth(&self, path: &str) -> usize {
        self.depths.get(path).map_or(0, |depth| depth.load(Ordering::Relaxed))
    }
}

impl Node {
    fn new(order: u64) -> Self {
        Self {
            order,
            supervises: None,
            period: Duration::ZERO,
            status: Status::Stopped,
            wakes: None,
            generation: 0,
            cell: None,
            adopted: Vec::new(),
            birth: Arc::default(),
            born: None,
            restarts: 0,
            restarted: VecDeque::new(),
            last_exit: None,
        }
    }
}

/// Adds this moment, and drops those that have left the window.
fn note(moments: &mut VecDeque<Instant>, window: Duration) {
    moments.retain(|at| at.elapsed() < window);
    moments.push_back(Instant::now());
}
