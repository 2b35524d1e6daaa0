//! This node's leases: renewing them, heeding what the user wishes meanwhile, and taking over those of others.

use std::time::Duration;

use journeyman_domain::ids::RunId;
use journeyman_store::{Acting, Fence, Held, NodeKind, StoreError, TakeOverRequest};

use super::State;
use crate::agent::StopReason;
use crate::leases::since_boot;

/// A node whose heartbeat is older takes nothing over.
const ALIVE: Duration = Duration::from_mins(10);

impl State {
    pub(super) async fn renew(&mut self) -> Result<(), StoreError> {
        let (began, lease) = (since_boot(), self.runtime.lease());
        let held = self.runtime.store.queue().renew(self.runtime.node, lease).await?;
        // Whose first run begins before the next renewal is none by then, whoever has come.
        let is_alone = !self.runs.is_empty() && self.is_alone().await?;
        self.runtime.leases.renewed(began, lease, is_alone);
        for run in &held {
            if self.runs.values().any(|started| started.task == run.task_id) {
                self.steer(run);
            } else {
                self.give_back(run).await?;
            }
        }
        let lost = self.runs.iter().filter(|(_, started)| {
            !held.iter().any(|run| run.task_id == started.task && run.lease_epoch >= started.epoch)
        });
        let lost: Vec<RunId> = lost.map(|(run, _)| *run).collect();
        let alive = self.agents.runs();
        for run in alive.iter().filter(|run| lost.contains(&run.run)) {
            tracing::debug!(run.id = %run.run, "a run holds no lease any more; it stops");
            run.stop(StopReason::Shutdown);
        }
        // The news of its end may have been lost; its place must not be.
        for run in lost.iter().filter(|run| !alive.iter().any(|other| other.run == **run)) {
            self.runs.remove(run);
        }
        (self.was_away, self.told_at) = (false, None);
        self.decided.running = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
        self.settle_drain();
        Ok(())
    }

    /// Whether no other node could take anything over from this one.
    async fn is_alone(&self) -> Result<bool, StoreError> {
        let alive = self.runtime.store.nodes().list_live(ALIVE).await?;
        Ok(!alive.iter().any(|node| node.kind == NodeKind::Daemon && node.id != self.runtime.node))
    }

    /// Stops all runs before their leases are over by this node's own clock: the database cannot be asked, and whoever
    /// can ask it takes them over. While nobody else is there, they go on.
    pub(super) fn watch_leases(&self) {
        let (leases, agents) = (self.runtime.leases.clone(), self.agents.clone());
        let stop_all = move || {
            for run in agents.runs() {
                tracing::warn!(run.id = %run.run, "a lease could not be renewed in time; its run stops");
                run.stop(StopReason::Shutdown);
            }
        };
        self.tasks.spawn(move |stop| async move {
            let _ = stop.run_until_cancelled(leases.watch(stop_all)).await;
        });
    }

    /// A lease whose run has no actor here: the end of its work could not be written, as when the
    /// database was away. Renewed, it would keep everybody from it for good.
    async fn give_back(&self, held: &Held) -> Result<(), StoreError> {
        tracing::warn!(task.id = %held.task_id, "a lease is held without a run; it is given back");
        let fence = Fence {
            execution_id: held.execution_id,
            node_id: self.runtime.node,
            lease_epoch: held.lease_epoch,
        };
        let (queue, acting) = (self.runtime.store.queue(), Acting::now("scheduler"));
        let given_back = if self.was_away {
            queue.release(&acting, fence).await
        } else {
            // Whatever keeps its end from being written, it must not go on for ever.
            queue.abandon(&acting, fence).await
        };
        match given_back {
            Ok(()) | Err(StoreError::Fenced) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Passes on to a run what the user wishes of its task.
    fn steer(&self, held: &Held) {
        let wished = StopReason::wished(held.cancel_requested, held.pause_requested);
        let Some(reason) = wished else { return };
        if let Some((run, _)) = self.runs.iter().find(|(_, started)| started.task == held.task_id)
            && let Some(run) = self.agents.runs().into_iter().find(|other| other.run == *run)
        {
            run.stop(reason);
        }
    }

    pub(super) async fn take_over(&mut self, limit: u32) -> Result<(), StoreError> {
        let settings = self.settings();
        let request = TakeOverRequest {
            node_id: self.runtime.node,
            limit,
            only_task: self.only_task(),
            lease: self.runtime.lease(),
            max_reclaims: settings.max_reclaims,
        };
        let acting = Acting::now("scheduler");
        let taken = self.runtime.store.queue().take_over(&acting, &request).await?;
        for parked in taken.parked {
            tracing::warn!(task.id = %parked, "a task is parked: no progress over its reclaims");
            self.changed(parked);
        }
        if taken.is_cut {
            self.decided.look_again();
            self.handle.hint();
        }
        for over in taken.taken {
            tracing::info!(task.id = %over.claim.task.id, "a run is taken over");
            self.done.taken_over += 1;
            self.start(over.claim);
        }
        Ok(())
    }
}
