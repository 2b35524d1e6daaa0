//! Readiness in random graphs, against the domain's own model.

use std::collections::{BTreeMap, BTreeSet};

use journeyman_domain::ids::TaskId;
use journeyman_domain::readiness::{Readiness, readiness};
use journeyman_domain::status::{AfterFailure, Status, WaitingFor};
use journeyman_store::{ClaimRequest, NewTask, NodeKind, Store};

use super::{ACTING, database, finish, node, request, status};

/// A generator whose numbers follow from its seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// A graph, and what the model says of each of its tasks.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) edges: BTreeMap<TaskId, (AfterFailure, Vec<TaskId>)>,
    pub(super) states: BTreeMap<TaskId, Status>,
}

impl Model {
    /// Judges everything anew that waits, until nothing changes.
    pub(super) fn settle(&mut self) {
        loop {
            let mut changed = false;
            for (task, (policy, awaited)) in &self.edges {
                let state = self.states[task];
                if !matches!(state, Status::Waiting | Status::Ready) {
                    continue;
                }
                let before: Vec<Status> = awaited.iter().map(|id| self.states[id]).collect();
                let now = match readiness(*policy, &before) {
                    Readiness::Ready => Status::Ready,
                    Readiness::Waits => Status::Waiting,
                    Readiness::Fails => Status::Failed,
                    Readiness::Skipped => Status::Cancelled,
                };
                changed |= self.states.insert(*task, now) != Some(now);
            }
            if !changed {
                return;
            }
        }
    }

    pub(super) async fn is_what_the_rows_say(&self, store: &Store, seed: u64) {
        for (task, state) in &self.states {
            let waits = (*state == Status::Waiting).then_some(WaitingFor::Dependency);
            assert_eq!(status(store, *task).await, (*state, waits), "seed {seed}, {task}");
        }
    }
}

#[tokio::test]
async fn readiness_in_random_graphs_with_failures_cancels_and_retries() {
    let database = database().await;
    let store = database.store();
    for seed in 1..=8_u64 {
        let mut random = Random(seed);
        let mut batch: Vec<(NewTask, Vec<TaskId>)> = Vec::new();
        for n in 0..16 {
            let mut awaited = BTreeSet::new();
            for _ in 0..random.below(4).min(n) {
                awaited.insert(batch[random.below(n)].0.id);
            }
            let after_failure = AfterFailure::ALL[random.below(4)];
            let task = NewTask { after_failure, ..NewTask::new(format!("{seed}-{n}")) };
            batch.push((task, awaited.into_iter().collect()));
        }
        let mut model = Model {
            edges: batch
                .iter()
                .map(|(task, awaited)| (task.id, (task.after_failure, awaited.clone())))
                .collect(),
            states: batch.iter().map(|(task, _)| (task.id, Status::Waiting)).collect(),
        };
        model.settle();
        batch.reverse(); // those that wait come first in the batch
        store.tasks().insert_many(&ACTING, &batch).await.unwrap();
        let mine = node(store, NodeKind::Daemon).await;
        for _ in 0..60 {
            model.is_what_the_rows_say(store, seed).await;
            let of = |wanted: &[Status], states: &BTreeMap<TaskId, Status>| -> Vec<TaskId> {
                let found = states.iter().filter(|(_, state)| wanted.contains(state));
                found.map(|(id, _)| *id).collect()
            };
            let lost = of(&[Status::Failed, Status::Cancelled], &model.states);
            let open = of(&[Status::Ready, Status::Waiting], &model.states);
            match random.below(6) {
                0 if !lost.is_empty() => {
                    let task = lost[random.below(lost.len())];
                    store.tasks().retry(&ACTING, task).await.unwrap();
                    model.states.insert(task, Status::Waiting);
                }
                1 if !open.is_empty() => {
                    let task = open[random.below(open.len())];
                    store.tasks().request_cancel(&ACTING, task).await.unwrap();
                    model.states.insert(task, Status::Cancelled);
                }
                _ => {
                    let one = ClaimRequest { limit: 1, ..request(mine) };
                    let Some(claim) = store.queue().claim(&ACTING, &one).await.unwrap().pop()
                    else {
                        continue;
                    };
                    assert_eq!(model.states[&claim.task.id], Status::Ready, "seed {seed}");
                    let end = [Status::Completed, Status::Completed, Status::Failed];
                    let end = end[random.below(3)];
                    finish(store, &claim, end).await;
                    model.states.insert(claim.task.id, end);
                }
            }
            model.settle();
        }
        // What is ready and what has its place in the queue are the same.
        let ready: BTreeSet<TaskId> = {
            let found = model.states.iter().filter(|(_, state)| **state == Status::Ready);
            found.map(|(id, _)| *id).collect()
        };
        let mut claimed = BTreeSet::new();
        loop {
            let claims = super::claim(store, mine).await;
            if claims.is_empty() {
                break;
            }
            for claim in claims {
                claimed.insert(claim.task.id);
                finish(store, &claim, Status::Cancelled).await;
            }
        }
        assert!(claimed.is_superset(&ready), "seed {seed}");
    }
}
