//! The order in which the tasks of a batch are linked: what is waited for first, so that the
//! database's own look for cycles stays cheap.

use std::collections::HashMap;

use journeyman_domain::ids::TaskId;

use super::NewTask;
use crate::StoreError;

type Entry = (NewTask, Vec<TaskId>);

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    Open,
    Done,
}

/// Depth-first without recursion: a batch may be one long chain.
pub(super) fn topological(batch: &[Entry]) -> Result<Vec<&Entry>, StoreError> {
    let index: HashMap<TaskId, usize> =
        batch.iter().enumerate().map(|(at, (task, _))| (task.id, at)).collect();
    let mut marks = vec![Mark::New; batch.len()];
    let mut order = Vec::with_capacity(batch.len());
    for start in 0..batch.len() {
        if marks[start] != Mark::New {
            continue;
        }
        marks[start] = Mark::Open;
        let mut path = vec![(start, 0)];
        while let Some((at, edge)) = path.last_mut() {
            let (here, next) = (*at, batch[*at].1.get(*edge));
            *edge += 1;
            let Some(next) = next else {
                marks[here] = Mark::Done;
                order.push(&batch[here]);
                path.pop();
                continue;
            };
            let Some(&next) = index.get(next) else {
                continue; // an existing task: it cannot wait for a new one
            };
            match marks[next] {
                Mark::Done => {}
                Mark::Open => return Err(StoreError::Cycle(cycle(batch, &path, next))),
                Mark::New => {
                    marks[next] = Mark::Open;
                    path.push((next, 0));
                }
            }
        }
    }
    Ok(order)
}

fn cycle(batch: &[Entry], path: &[(usize, usize)], closing: usize) -> Vec<TaskId> {
    path.iter()
        .map(|(at, _)| *at)
        .skip_while(|at| *at != closing)
        .chain([closing])
        .map(|at| batch[at].0.id)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(edges: &[(usize, usize)], count: usize) -> Vec<Entry> {
        let mut tasks: Vec<Entry> =
            (0..count).map(|n| (NewTask::new(n.to_string()), Vec::new())).collect();
        for (waiting, awaited) in edges {
            let id = tasks[*awaited].0.id;
            tasks[*waiting].1.push(id);
        }
        tasks
    }

    #[test]
    fn what_is_waited_for_comes_first() {
        let tasks = batch(&[(0, 1), (0, 2), (1, 2), (3, 0)], 4);
        let titles: Vec<_> =
            topological(&tasks).unwrap().iter().map(|(task, _)| task.title.as_str()).collect();
        assert_eq!(titles, ["2", "1", "0", "3"]);
    }

    #[test]
    fn a_cycle_is_named_without_what_leads_to_it() {
        let tasks = batch(&[(0, 1), (1, 2), (2, 1)], 3);
        let Err(StoreError::Cycle(cycle)) = topological(&tasks) else { panic!("no cycle") };
        assert_eq!(cycle, [tasks[1].0.id, tasks[2].0.id, tasks[1].0.id]);
        let own = batch(&[(0, 0)], 1);
        assert!(matches!(topological(&own), Err(StoreError::Cycle(c)) if c.len() == 2));
    }

    #[test]
    fn a_chain_of_many_does_not_exhaust_the_stack() {
        let edges: Vec<_> = (0..50_000).map(|n| (n, n + 1)).collect();
        assert_eq!(topological(&batch(&edges, 50_001)).unwrap().len(), 50_001);
    }
}
