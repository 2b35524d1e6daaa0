//! Group commit: what many callers want written at once goes out in one statement, and each of them
//! waits for its own answer.
//!
//! Owns who flushes when: without a timer, so that a lone caller's write goes out at once, and a busy
//! database makes its own batches. Two flushes may be under way, so that one works while the other
//! waits for the disk. Must never: answer before the flush is durable, lose a write because the one
//! who flushed for it has gone away, or send out one whose own caller is gone.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{Store, StoreError};

/// Writes of one flush at the most.
const MOST: usize = 512;
/// Flushes at once.
const LANES: usize = 2;

type Waiting<T, R> = Vec<(T, oneshot::Sender<Result<R, StoreError>>)>;

/// Writes of one kind that may go out together.
pub(crate) struct Group<T, R> {
    waiting: Mutex<Waiting<T, R>>,
    lanes: Arc<Semaphore>,
}

impl<T, R> Default for Group<T, R> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), lanes: Arc::new(Semaphore::new(LANES)) }
    }
}

impl<T, R> fmt::Debug for Group<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}

impl<T: Send + 'static, R: Send + 'static> Group<T, R> {
    /// Has a write done with whatever waits beside it. `flush` answers each write of its batch, in
    /// their order.
    pub(crate) async fn submit<F>(
        &self,
        write: T,
        flush: impl FnOnce(Vec<T>) -> F,
    ) -> Result<R, StoreError>
    where
        F: Future<Output = Vec<Result<R, StoreError>>> + Send + 'static,
    {
        let (tell, mut told) = oneshot::channel();
        self.waiting().push((write, tell));
        tokio::select! {
            biased;
            answer = &mut told => return answer.unwrap_or_else(|_| Err(lost())),
            lane = Arc::clone(&self.lanes).acquire_owned() => {
                if let Ok(lane) = lane {
                    // Those who were answered together write again together: let them come.
                    tokio::task::yield_now().await;
                    self.lead(lane, flush);
                }
            }
        }
        told.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Flushes what waits, in a task of its own: whoever began it may go away.
    fn lead<F>(&self, lane: OwnedSemaphorePermit, flush: impl FnOnce(Vec<T>) -> F)
    where
        F: Future<Output = Vec<Result<R, StoreError>>> + Send + 'static,
    {
        let mut waiting = self.waiting();
        // It may be long before another one comes, and then nobody expects it any more.
        waiting.retain(|(_, caller)| !caller.is_closed());
        let count = waiting.len().min(MOST);
        let rest = waiting.split_off(count);
        let batch = std::mem::replace(&mut *waiting, rest);
        drop(waiting);
        if batch.is_empty() {
            return;
        }
        let (writes, callers): (Vec<T>, Vec<_>) = batch.into_iter().unzip();
        let flushed = flush(writes);
        tokio::spawn(async move {
            let answers = flushed.await;
            for (caller, answer) in callers.into_iter().zip(answers) {
                // Whoever is gone needs no answer.
                let _ = caller.send(answer);
            }
            // Only now, or whoever waits for it would go without those who were answered.
            drop(lane);
        });
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting<T, R>> {
        // Nothing is done under the lock that could leave it half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write that may go out with others of its kind.
pub(crate) trait Write: Sized + Send + Sync {
    /// What its caller learns.
    type Answer: Send;

    /// Whether it goes out in a commit of its own.
    fn is_alone(&self) -> bool {
        false
    }

    /// Writes all of these in one commit; an error is one of the whole.
    fn write(store: &Store, batch: &[Self]) -> impl Future<Output = Written<Self>> + Send;
}

/// An answer for each of a batch, in their order.
pub(crate) type Written<W> = Result<Vec<Result<<W as Write>::Answer, StoreError>>, StoreError>;

/// Writes a batch, but each that goes alone by itself.
pub(crate) async fn flush<W: Write>(
    store: Store,
    batch: Vec<W>,
) -> Vec<Result<W::Answer, StoreError>> {
    let mut answers = Vec::with_capacity(batch.len());
    for together in batch.chunk_by(|one, next| !one.is_alone() && !next.is_alone()) {
        answers.extend(flush_together(&store, together).await);
    }
    answers
}

/// In one commit; where that fails, each by itself, so that each caller learns only of its own.
async fn flush_together<W: Write>(
    store: &Store,
    batch: &[W],
) -> Vec<Result<W::Answer, StoreError>> {
    match W::write(store, batch).await {
        Ok(answers) => answers,
        Err(error) if batch.len() == 1 => vec![Err(error)],
        // It may have arrived all the same: written again, it would be refused for that.
        Err(StoreError::Unavailable(_)) => batch.iter().map(|_| Err(lost())).collect(),
        Err(_) => {
            let mut answers = Vec::with_capacity(batch.len());
            for one in batch {
                let written = W::write(store, std::slice::from_ref(one)).await;
                answers.push(written.and_then(|mut one| one.pop().unwrap_or_else(|| Err(lost()))));
            }
            answers
        }
    }
}

/// The flush was cut off with its runtime: whether it arrived is not known.
fn lost() -> StoreError {
    StoreError::Unavailable(sqlx::Error::WorkerCrashed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

    fn flush(
        batches: &Batches,
        batch: Vec<u32>,
    ) -> impl Future<Output = Vec<Result<u32, StoreError>>> + Send + 'static {
        let batches = Arc::clone(batches);
        async move {
            batches.lock().unwrap().push(batch.clone());
            tokio::time::sleep(Duration::from_millis(10)).await;
            batch.into_iter().map(|write| Ok(write * 2)).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_meanwhile_goes_out_together_and_each_gets_its_answer() {
        let (group, batches) = (Arc::new(Group::default()), Batches::default());
        let calls = (0..700_u32).map(|write| {
            let (group, batches) = (Arc::clone(&group), Arc::clone(&batches));
            tokio::spawn(async move {
                group.submit(write, |batch| flush(&batches, batch)).await.unwrap()
            })
        });
        let calls: Vec<_> = calls.collect();
        for (write, call) in (0..700).zip(calls) {
            assert_eq!(call.await.unwrap(), write * 2);
        }
        let sizes: Vec<usize> = batches.lock().unwrap().iter().map(Vec::len).collect();
        assert!(sizes.len() <= 5 && sizes.iter().all(|size| *size <= MOST), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 700);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_goes_with_its_caller_until_it_is_out() {
        let (group, batches) = (Arc::new(Group::default()), Batches::default());
        // The first two are out when their callers go, the third one waits for a lane.
        let quick = Duration::from_millis(1);
        for write in 1..=3 {
            let submitted = group.submit(write, |batch| flush(&batches, batch));
            assert!(tokio::time::timeout(quick, submitted).await.is_err());
        }
        let fourth = group.submit(4, |batch| flush(&batches, batch)).await.unwrap();
        assert_eq!(fourth, 8);
        assert_eq!(*batches.lock().unwrap(), [vec![1], vec![2], vec![4]]);
    }
}
