//! Connections of their own for what is written or claimed often: they know their statements already, and
//! nothing is asked of them between two uses, as a pool does.

use std::sync::{Mutex, PoisonError};

use sqlx::PgConnection;

use crate::{Store, StoreError};

/// Connections that are kept at the most.
const KEPT: usize = 4;

/// What these statements do does not hang on their values.
const GENERIC: &str = "SET plan_cache_mode = force_generic_plan";

pub(crate) const ALL: &[&str] = &[GENERIC];

/// Idle ones of one kind of work.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<Vec<PgConnection>>);

impl Store {
    /// A line that is free, else a new one.
    pub(crate) async fn line(&self) -> Result<PgConnection, StoreError> {
        let idle = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(line) = idle {
            return Ok(line);
        }
        let mut line = self.pool().acquire().await?.detach();
        sqlx::query(GENERIC).execute(&mut line).await?;
        // Whatever was there may have been put back to an earlier day meanwhile.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(line);
        }
    }

    /// Closes them.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
