//! The tree as it is now, for people and pages.

use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

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
    /// For a supervisor the restarts that it decided within its period, for a worker those that it caused.
    pub restarts_in_window: usize,
    /// How long the instance runs, in milliseconds; none while none runs.
    pub uptime_ms: Option<u64>,
    /// Messages that wait, as far as the child's handle counts them.
    pub mailbox_depth: usize,
    /// How the instance before ended.
    pub last_exit: Option<Exit>,
    /// The children in the order of their start.
    pub children: Vec<TreeNode>,
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
            kind: if node.strategy.is_some() { NodeKind::Supervisor } else { NodeKind::Worker },
            strategy: node.strategy,
            status: node.status,
            generation: node.generation,
            restarts_in_window: node
                .restarts
                .iter()
                .filter(|at| at.elapsed() < node.window)
                .count(),
            uptime_ms: node
                .born
                .map(|born| u64::try_from(born.elapsed().as_millis()).unwrap_or(u64::MAX)),
            mailbox_depth: self.depth(path.as_str()),
            last_exit: node.last_exit.clone(),
            children: children.into_iter().map(|(path, node)| self.tree(path, node)).collect(),
        }
    }
}
