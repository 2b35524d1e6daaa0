//! The tree as it is now, for people and pages.

use std::{collections::VecDeque, sync::PoisonError, time::Duration};

use serde::{Deserialize, Serialize};

use tokio::time::Instant;

use super::{Directory, Inner, Node, Status};
use crate::{exit::Exit, path::ChildPath, spec::Strategy};

/// A child, and for a supervisor all below it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeNode {
    /// Its address.
    pub path: ChildPath,
    /// Supervisor or worker.
    pub kind: NodeKind,
    /// Of a supervisor.
    pub strategy: Option<Strategy>,
    /// What it does.
    pub status: Status,
    /// Which instance runs, or ran last; 0 before the first.
    pub generation: u64,
    /// The restarts that it was the cause of, since it first started.
    pub restarts: u64,
    /// Those of them within the period of the supervisor above.
    pub restarts_in_period: usize,
    /// Of a supervisor: how near it is to giving up.
    pub budget: Option<Budget>,
    /// While it waits for its restart, how much longer, in milliseconds.
    pub restart_in_ms: Option<u64>,
    /// How long the instance runs, in milliseconds; none while none runs.
    pub uptime_ms: Option<u64>,
    /// Messages that wait, as far as the child's handle counts them.
    pub mailbox_depth: usize,
    /// How the instance before ended.
    pub last_exit: Option<Exit>,
    /// How long ago that was, in milliseconds.
    pub last_exit_ago_ms: Option<u64>,
    /// The children in the order of their start.
    pub children: Vec<TreeNode>,
}

/// How many restarts a supervisor has decided of those that it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Within the period.
    pub used: usize,
    /// One more than these, and it gives up.
    pub intensity: u32,
    /// The sliding window, in milliseconds.
    pub period_ms: u64,
}

/// What stands at a place of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// It starts, watches and stops others.
    Supervisor,
    /// It works.
    Worker,
}

impl Directory {
    /// The tree below a path; none if there is no such path.
    pub fn tree(&self, path: &str) -> Option<TreeNode> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let (path, node) = inner.nodes.get_key_value(path)?;
        Some(inner.tree(path, node))
    }
}

impl Inner {
    fn tree(&self, path: &ChildPath, node: &Node) -> TreeNode {
        let mut children: Vec<_> = self.children(path.as_str()).collect();
        children.sort_by_key(|(_, node)| node.order);
        TreeNode {
            path: path.clone(),
            kind: if node.supervises.is_some() { NodeKind::Supervisor } else { NodeKind::Worker },
            strategy: node.supervises.as_ref().map(|supervises| supervises.strategy),
            status: node.status,
            generation: node.generation,
            restarts: node.restarts,
            restarts_in_period: within(&node.restarted, node.period),
            budget: node.supervises.as_ref().map(|supervises| Budget {
                used: within(&supervises.decided, supervises.period),
                intensity: supervises.intensity,
                period_ms: millis(supervises.period),
            }),
            restart_in_ms: node
                .wakes
                .filter(|_| matches!(node.status, Status::BackingOff { .. }))
                .map(|wakes| millis(wakes.saturating_duration_since(Instant::now()))),
            uptime_ms: node.born.map(|born| millis(born.elapsed())),
            mailbox_depth: self.depth(path.as_str()),
            last_exit: node.last_exit.as_ref().map(|(exit, _)| exit.clone()),
            last_exit_ago_ms: node.last_exit.as_ref().map(|(_, at)| millis(at.elapsed())),
            children: children.into_iter().map(|(path, node)| self.tree(path, node)).collect(),
        }
    }
}

fn within(moments: &VecDeque<Instant>, window: Duration) -> usize {
    moments.iter().filter(|at| at.elapsed() < window).count()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
