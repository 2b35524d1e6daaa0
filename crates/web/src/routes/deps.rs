//! `/tasks/{task}/deps`: what a task waits for and what waits for it, as trees.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::Json as Document;
use axum::extract::{Path, State as Extracted};
use journeyman_domain::ids::TaskId;
use journeyman_store::Task;
use serde_json::{Value, json};

use super::Answer;
use crate::api::State;

/// Levels of a tree: what is deeper is told by its own tree.
const DEEPEST: usize = 32;

pub(crate) async fn show(Extracted(shared): State, Path(task): Path<String>) -> Answer<Value> {
    let tasks = shared.runtime.store.tasks();
    let task = tasks.find(&task).await?;
    let (below, above) = tasks.graph(task.id).await?;
    let is_cut = below.len().max(above.len()) >= journeyman_store::MOST_EDGES;
    let ends = below.iter().chain(&above).flat_map(|edge| [edge.task_id, edge.depends_on]);
    let ids: BTreeSet<TaskId> = ends.collect();
    let rows = tasks.get_many(&ids.into_iter().collect::<Vec<_>>()).await?;
    let rows: HashMap<TaskId, Task> = rows.into_iter().map(|row| (row.id, row)).collect();
    let below = below.iter().map(|edge| (edge.task_id, edge.depends_on));
    let above = above.iter().map(|edge| (edge.depends_on, edge.task_id));
    Ok(Document(json!({
        "id": task.id,
        "status": task.status,
        "title": task.title,
        "is_cut": is_cut,
        "depends_on": Tree::new(below, "depends_on", &rows).under(task.id, 0),
        "blocks": Tree::new(above, "blocks", &rows).under(task.id, 0),
    })))
}

struct Tree<'a> {
    next: BTreeMap<TaskId, BTreeSet<TaskId>>,
    name: &'static str,
    rows: &'a HashMap<TaskId, Task>,
    shown: BTreeSet<TaskId>,
}

impl<'a> Tree<'a> {
    fn new(
        edges: impl Iterator<Item = (TaskId, TaskId)>,
        name: &'static str,
        rows: &'a HashMap<TaskId, Task>,
    ) -> Self {
        let mut next: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (from, to) in edges {
            next.entry(from).or_default().insert(to);
        }
        Self { next, name, rows, shown: BTreeSet::new() }
    }

    /// What is under a task. What was shown before has `null` there, and what is too deep.
    fn under(&mut self, id: TaskId, depth: usize) -> Value {
        if depth == DEEPEST || !self.shown.insert(id) {
            return if self.next.contains_key(&id) { Value::Null } else { json!([]) };
        }
        let ids = self.next.get(&id).cloned().unwrap_or_default();
        let mut under = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(row) = self.rows.get(&id) else { continue };
            let mut one = json!({ "id": id, "status": row.status, "title": row.title });
            one[self.name] = self.under(id, depth + 1);
            under.push(one);
        }
        Value::Array(under)
    }
}
