//! This node's leases: renewing them, heeding what the user wishes meanwhile, and taking over those of others.

use std::time::Duration;

use journeyman_domain::ids::RunId;
use journeyman_store::{Acting, Fence, Held, StoreError, TakeOverRequest};

use super::State;
use crate::agent::StopReason;

impl State {
    pub(super) async fn renew(&mut self) -> Result<(), StoreError> {
        let lease = Duration::from_millis(self.settings().lease_ms);
        let held = self.runtime.store.queue().renew(self.runtime.node, lease).await?;
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
        self.decided.running = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
        self.settle_drain();
        Ok(())
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
        match self.runtime.store.queue().abandon(&Acting::now("scheduler"), fence).await {
            Ok(()) | Err(StoreError::Fenced) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Passes on to a run what the user wishes of its task.
    fn steer(&self, held: &Held) {
        let reason = if held.cancel_requested {
            StopReason::Cancelled
        } else if held.pause_requested {
            StopReason::Paused
        } else {
            return;
        };
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
            lease: Duration::from_millis(settings.lease_ms),
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
