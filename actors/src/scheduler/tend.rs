//! What the clock alone brings: tasks of schedules, and the look for tasks that are stuck.
//!
//! Holds where that look goes on; it can be lost.

use std::time::{Duration, Instant};

use journeyman_domain::failure::sentence;
use journeyman_domain::ids::TaskId;
use journeyman_store::{Acting, Store, StoreError, Stuck};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Between the end of a walk over what waits, and over all tasks, and the next one.
const REST: Duration = Duration::from_mins(5);
const LONG_REST: Duration = Duration::from_hours(1);

/// One at a time: a look that takes longer than the clock's beat is not joined by another.
#[derive(Debug, Default)]
pub(super) struct Tending(Mutex<Walks>);

#[derive(Debug, Default)]
struct Walks {
    waiting: Walk,
    unplaced: Walk,
}

#[derive(Debug, Default)]
struct Walk {
    after: Option<TaskId>,
    ended: Option<Instant>,
}

impl Tending {
    /// Adds what is due, and looks at the next page of tasks; whether there may be work now.
    pub(super) async fn once(&self, store: &Store, stop: &CancellationToken) -> bool {
        let Ok(mut walks) = self.0.try_lock() else { return false };
        let mut any = false;
        match fire(store, stop).await {
            Ok(fired) => any |= fired,
            Err(error) => {
                tracing::warn!(error = %sentence(&error), "schedules are looked at later");
            }
        }
        let Walks { waiting, unplaced } = &mut *walks;
        for (walk, stuck, rest) in
            [(waiting, Stuck::Waiting, REST), (unplaced, Stuck::Unplaced, LONG_REST)]
        {
            match walk.on(store, stuck, rest).await {
                Ok(mended) => any |= mended,
                Err(error) => {
                    tracing::warn!(error = %sentence(&error), "stuck tasks are looked for later");
                }
            }
        }
        any
    }
}

/// Whether any schedule added a task.
async fn fire(store: &Store, stop: &CancellationToken) -> Result<bool, StoreError> {
    let acting = Acting::now("scheduler");
    let mut any = false;
    while !stop.is_cancelled() {
        let Some(fired) = store.schedules().fire(&acting).await? else { break };
        any |= !fired.added.is_empty();
        let (added, note) = (fired.added.len(), fired.note.as_deref().unwrap_or_default());
        tracing::info!(schedule = %fired.name, added, note, "a schedule's time came");
    }
    Ok(any)
}

impl Walk {
    /// One page; whether anything was stuck.
    async fn on(
        &mut self,
        store: &Store,
        stuck: Stuck,
        rest: Duration,
    ) -> Result<bool, StoreError> {
        if self.after.is_none() && self.ended.is_some_and(|ended| ended.elapsed() < rest) {
            return Ok(false);
        }
        let found = store.queue().reconcile(&Acting::now("scheduler"), stuck, self.after).await?;
        self.after = found.next;
        if self.after.is_none() {
            self.ended = Some(Instant::now());
        }
        for task in &found.mended {
            tracing::warn!(task.id = %task, "a stuck task goes on");
        }
        Ok(!found.mended.is_empty())
    }
}
