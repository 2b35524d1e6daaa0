//! Adding tasks, and ending those without a run: both outside of the handler, since they may be many.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use journeyman_domain::failure::sentence;
use journeyman_domain::ids::{NodeId, TaskId};
use journeyman_store::{Acting, Batch, NewTask, Store, StoreError, Task};

use super::State;
use crate::context::Mode;
use crate::support::{Reply, answer};

impl State {
    /// Adds tasks with those that they wait for.
    pub(super) fn add(
        &self,
        tasks: Vec<(NewTask, Vec<TaskId>)>,
        reply: Reply<Vec<Task>, StoreError>,
    ) {
        let (store, handle) = (self.runtime.store.clone(), self.handle.clone());
        let (node, settings) = (self.runtime.node, self.settings());
        let works = self.runtime.mode == Mode::Daemon && self.decided.begins(&settings);
        let lease = works.then(|| Duration::from_millis(settings.lease_ms));
        // Many tasks take a while, and this handler must go on answering.
        self.tasks.spawn(move |_| async move {
            let (added, claimed) = match add(&store, tasks, node, lease).await {
                Ok((added, claimed)) => (Ok(added), claimed),
                Err(error) => (Err(error), None),
            };
            let is_added = added.is_ok();
            answer(reply, added);
            if let Some(batch) = claimed
                && let Err(error) =
                    store.queue().complete_batch(&Acting::now("scheduler"), node, &batch).await
            {
                tracing::warn!(error = %sentence(&error), "a task without a run is ended later");
            }
            if is_added {
                handle.hint();
            }
        });
    }

    /// Ends the tasks that are ready and have no run, outside of this handler: they may be many.
    pub(super) fn complete_runless(&self) {
        if self.completing.swap(true, Ordering::AcqRel) {
            // It looks once more before it ends.
            return;
        }
        let (store, node) = (self.runtime.store.clone(), self.runtime.node);
        let lease = Duration::from_millis(self.settings().lease_ms);
        let (completing, handle) = (Arc::clone(&self.completing), self.handle.clone());
        let begins = Arc::clone(&self.begins);
        self.tasks.spawn(move |stop| async move {
            let mut any = false;
            let ended = loop {
                if stop.is_cancelled() || !begins.load(Ordering::Acquire) {
                    break Ok(());
                }
                match complete_batch(&store, node, lease).await {
                    Ok(true) => any = true,
                    Ok(false) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            completing.store(false, Ordering::Release);
            if let Err(error) = ended {
                tracing::warn!(error = %sentence(&error), "tasks without a run are ended later");
            } else if any {
                // What waited for them may be ready, and what came after the last look.
                handle.hint();
            }
        });
    }
}

/// Ends the next tasks without a run; whether there were any.
async fn complete_batch(store: &Store, node: NodeId, lease: Duration) -> Result<bool, StoreError> {
    let acting = Acting::now("scheduler");
    let Some(batch) = store.queue().claim_batch(&acting, node, lease).await? else {
        return Ok(false);
    };
    store.queue().complete_batch(&acting, node, &batch).await?;
    Ok(true)
}

/// Adds tasks. One without a run may be this node's at once, where it works (then `lease` is given): the
/// batch is to be ended.
async fn add(
    store: &Store,
    tasks: Vec<(NewTask, Vec<TaskId>)>,
    node: NodeId,
    lease: Option<Duration>,
) -> Result<(Vec<Task>, Option<Batch>), StoreError> {
    let acting = Acting::now("scheduler");
    let ids: Vec<TaskId> = tasks.iter().map(|(task, _)| task.id).collect();
    let claimed = match (&*tasks, lease) {
        ([(task, after)], Some(lease)) if after.is_empty() => {
            store.queue().add_and_claim(&acting, node, task.clone(), lease).await?
        }
        _ => {
            store.tasks().insert_many(&acting, &tasks).await?;
            None
        }
    };
    let added = store.tasks().get_many(&ids).await?;
    let mut added: HashMap<TaskId, Task> = added.into_iter().map(|task| (task.id, task)).collect();
    Ok((ids.iter().filter_map(|id| added.remove(id)).collect(), claimed))
}
