//! Connections of their own for what is written or claimed often: they know their statements already, and
//! nothing is asked of them between two uses that follow each other, as a pool does.

pub(crate) mod socket;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};

use crate::{Store, StoreError};

/// Connections that are kept at the most for each: two flushes, or two workers, may be under way.
const KEPT: usize = 2;

/// A connection that rested so long is asked whether it is alive before it is used: the server may have been
/// started anew.
pub(crate) const RESTED: Duration = Duration::from_secs(30);

/// What these statements do does not hang on their values.
const GENERIC: &str = "SET plan_cache_mode = force_generic_plan";

/// None over a Unix socket.
const PORT: &str = "SELECT inet_client_port()";

pub(crate) const ALL: &[&str] = &[GENERIC, PORT];

/// What a line is for: one that was used for something else would have to learn its statements first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Adding tasks.
    Add,
    /// Appending to journals.
    Append,
    /// Claiming and ending tasks without a run.
    Batch,
}

/// Idle ones, by their work.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    idle: [Mutex<Vec<(PgConnection, Instant)>>; 3],
    /// Whether a small write after another one goes out at once.
    is_prompt: AtomicBool,
}

impl Store {
    /// A line that is free, else a new one.
    pub(crate) async fn line(&self, work: Work) -> Result<PgConnection, StoreError> {
        let idle = self.lines.idle(work).pop();
        if let Some((mut line, since)) = idle {
            if since.elapsed() < RESTED || line.ping().await.is_ok() {
                return Ok(line);
            }
            // The server was started anew: the others have nobody at their end, either.
            self.lines.close();
        }
        let mut line = self.pool().acquire().await?.detach();
        sqlx::query(GENERIC).execute(&mut line).await?;
        let port: Option<i32> = sqlx::query_scalar(PORT).fetch_one(&mut line).await?;
        let is_prompt = port.is_none_or(|port| {
            let server = self.pool().connect_options().get_port();
            // Where it cannot be had, as behind another's address, copies are not used.
            u16::try_from(port)
                .is_ok_and(|port| socket::send_at_once(port, server).unwrap_or(false))
        });
        self.lines.is_prompt.store(is_prompt, Ordering::Relaxed);
        // Whatever was there may have been put back to an earlier day meanwhile.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.ends.clear();
        Ok(line)
    }
}

impl Store {
    /// Gives a line back after a use that went well. After a server that went away the other lines are
    /// dead, too.
    pub(crate) fn used<T>(
        &self,
        work: Work,
        line: PgConnection,
        done: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &done {
            Ok(_) => self.lines.give(work, line),
            Err(StoreError::Unavailable(_)) => self.lines.close(),
            Err(_) => {}
        }
        done
    }
}

impl Lines {
    fn idle(&self, work: Work) -> MutexGuard<'_, Vec<(PgConnection, Instant)>> {
        let [add, append, batch] = &self.idle;
        let idle = match work {
            Work::Add => add,
            Work::Append => append,
            Work::Batch => batch,
        };
        idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps one for the next use. One whose use failed or was cut off is not given back: what it is in
    /// the middle of is not known.
    fn give(&self, work: Work, line: PgConnection) {
        let mut idle = self.idle(work);
        if idle.len() < KEPT {
            idle.push((line, Instant::now()));
        }
    }

    /// Whether a copy ends without a wait for what the network puts off.
    pub(crate) fn is_prompt(&self) -> bool {
        self.is_prompt.load(Ordering::Relaxed)
    }

    /// Closes them.
    pub(crate) fn close(&self) {
        for work in [Work::Add, Work::Append, Work::Batch] {
            self.idle(work).clear();
        }
    }
}
