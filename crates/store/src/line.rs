//! Connections of their own for what is written or claimed often: they know their statements already, and
//! nothing is asked of them between two uses, as a pool does.

mod prompt;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use sqlx::PgConnection;

use crate::{Store, StoreError};

/// Connections that are kept at the most.
const KEPT: usize = 4;

/// What these statements do does not hang on their values.
const GENERIC: &str = "SET plan_cache_mode = force_generic_plan";

/// None over a Unix socket.
const PORT: &str = "SELECT inet_client_port()";

pub(crate) const ALL: &[&str] = &[GENERIC, PORT];

/// Idle ones of one kind of work.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    idle: Mutex<Vec<PgConnection>>,
    /// Whether a small write after another one goes out at once.
    is_prompt: AtomicBool,
}

impl Store {
    /// A line that is free, else a new one.
    pub(crate) async fn line(&self) -> Result<PgConnection, StoreError> {
        let idle = self.lines.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(line) = idle {
            return Ok(line);
        }
        let mut line = self.pool().acquire().await?.detach();
        sqlx::query(GENERIC).execute(&mut line).await?;
        let port: Option<i32> = sqlx::query_scalar(PORT).fetch_one(&mut line).await?;
        let is_prompt = port.is_none_or(|port| {
            let server = self.pool().connect_options().get_port();
            // Where it cannot be had, as behind another's address, copies are not used.
            u16::try_from(port)
                .is_ok_and(|port| prompt::send_at_once(port, server).unwrap_or(false))
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
        line: PgConnection,
        done: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &done {
            Ok(_) => self.lines.give(line),
            Err(StoreError::Unavailable(_)) => self.lines.close(),
            Err(_) => {}
        }
        done
    }
}

impl Lines {
    /// Keeps one for the next use. One whose use failed or was cut off is not given back: what it is in
    /// the middle of is not known.
    fn give(&self, line: PgConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(line);
        }
    }

    /// Whether a copy ends without a wait for what the network puts off.
    pub(crate) fn is_prompt(&self) -> bool {
        self.is_prompt.load(Ordering::Relaxed)
    }

    /// Closes them.
    pub(crate) fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
