//! `task_schedules`: tasks that the clock adds. A time that came is dealt with once, in the transaction that
//! adds its task and moves the schedule on, whichever node is the first to look.

use chrono::{DateTime, Utc};
use journeyman_domain::ids::{CodebaseId, ScheduleId, TaskId};
use journeyman_domain::status::{Missed, Overlap, Status};
use journeyman_domain::timetable::{Due, Timetable};
use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::tasks::{NewTask, add};
use crate::column::{MaybeId, Text};
use crate::{Acting, Store, StoreError, TASKS_CHANNEL, is_transient};

/// One schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Schedule {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: ScheduleId,
    /// Its name.
    pub name: String,
    /// Its times.
    pub cron: String,
    /// Where those are the time of day.
    pub time_zone: String,
    /// What becomes of times that passed unseen.
    #[sqlx(try_from = "Text<Missed>")]
    pub missed: Missed,
    /// What becomes of a time while its last task is open.
    #[sqlx(try_from = "Text<Overlap>")]
    pub overlap: Overlap,
    /// The repository.
    #[sqlx(try_from = "Uuid")]
    pub codebase_id: CodebaseId,
    /// What is added; its id and its traces are not used.
    #[sqlx(json)]
    pub task: NewTask,
    /// `active` or `paused`.
    #[sqlx(try_from = "Text<Status>")]
    pub status: Status,
    /// The next time.
    pub next_at: DateTime<Utc>,
    /// The last time that was dealt with.
    pub last_at: Option<DateTime<Utc>>,
    /// The last task that it added.
    #[sqlx(try_from = "MaybeId")]
    pub last_task_id: Option<TaskId>,
    /// Why its last time added nothing, or not all.
    pub note: Option<String>,
}

/// A schedule to make.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are those of Schedule")]
pub struct NewSchedule {
    pub name: String,
    pub cron: String,
    pub time_zone: String,
    pub missed: Missed,
    pub overlap: Overlap,
    pub codebase_id: CodebaseId,
    pub task: NewTask,
}

/// What one time of a schedule led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// The schedule's name.
    pub name: String,
    /// What it added.
    pub added: Vec<TaskId>,
    /// Why it added nothing, or not all.
    pub note: Option<String>,
}

macro_rules! columns {
    () => {
        "s.id, s.name, s.cron, s.time_zone, s.missed, s.overlap, s.codebase_id, s.task, s.status::text, \
         s.next_at, s.last_at, s.last_task_id, s.note"
    };
}

const NOW: &str = "SELECT now()";
const ADD: &str = concat!(
    "INSERT INTO task_schedules AS s (name, cron, time_zone, missed, overlap, codebase_id, task, next_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING RETURNING ",
    columns!()
);
const LIST: &str = concat!("SELECT ", columns!(), " FROM task_schedules s ORDER BY s.name");
const BY_NAME: &str = concat!("SELECT ", columns!(), " FROM task_schedules s WHERE s.name = $1");
const REMOVE: &str = "DELETE FROM task_schedules WHERE name = $1";
const SET: &str = concat!(
    "UPDATE task_schedules s SET status = $2::status_type, next_at = $3 WHERE s.id = $1 RETURNING ",
    columns!()
);
// Asked every two seconds, and nearly always answered with no: one look, without a transaction.
const IS_ANY_DUE: &str =
    "SELECT EXISTS (SELECT FROM task_schedules WHERE status = 'active' AND next_at <= now())";
const DUE: &str = "SELECT id FROM task_schedules WHERE status = 'active' AND next_at <= now() \
     ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED";
const GET: &str = concat!("SELECT ", columns!(), " FROM task_schedules s WHERE s.id = $1");
const REST: &str =
    "UPDATE task_schedules SET status = 'paused', note = $2 WHERE id = $1 RETURNING name";
const LAST_IS_OPEN: &str =
    "SELECT status NOT IN ('completed', 'failed', 'cancelled', 'timeout') FROM tasks WHERE id = $1";
const MOVE_ON: &str = "UPDATE task_schedules SET next_at = $2, last_at = $3, last_task_id = coalesce($4, last_task_id), \
     note = $5 WHERE id = $1";

pub(crate) const ALL: &[&str] =
    &[NOW, ADD, LIST, BY_NAME, REMOVE, SET, IS_ANY_DUE, DUE, GET, REST, LAST_IS_OPEN, MOVE_ON];

/// The table `task_schedules`.
#[derive(Clone, Copy, Debug)]
pub struct Schedules<'a>(&'a Store);

impl Store {
    /// Schedules.
    pub const fn schedules(&self) -> Schedules<'_> {
        Schedules(self)
    }

    /// The database's clock.
    pub async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        Ok(sqlx::query_scalar(NOW).fetch_one(self.pool()).await?)
    }
}

impl Schedules<'_> {
    /// Makes a schedule whose first time is `next_at`. [`StoreError::Conflict`] where its name is taken.
    pub async fn add(
        &self,
        acting: &Acting<'_>,
        new: &NewSchedule,
        next_at: DateTime<Utc>,
    ) -> Result<Schedule, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let added: Option<Schedule> = sqlx::query_as(ADD)
            .bind(&new.name)
            .bind(&new.cron)
            .bind(&new.time_zone)
            .bind(new.missed.as_str())
            .bind(new.overlap.as_str())
            .bind(new.codebase_id.as_uuid())
            .bind(Json(&new.task))
            .bind(next_at)
            .fetch_optional(&mut *transaction)
            .await?;
        around(points::SCHEDULE_ADD, transaction.commit()).await?;
        added.ok_or_else(|| StoreError::Conflict(format!("there is a schedule '{}'", new.name)))
    }

    /// All of them, by name.
    pub async fn list(&self) -> Result<Vec<Schedule>, StoreError> {
        Ok(sqlx::query_as(LIST).fetch_all(self.0.pool()).await?)
    }

    /// By its name.
    pub async fn find(&self, name: &str) -> Result<Schedule, StoreError> {
        let found = sqlx::query_as(BY_NAME).bind(name).fetch_optional(self.0.pool()).await?;
        found.ok_or_else(|| StoreError::not_found("schedule", name))
    }

    /// Takes it away, also one that cannot be read; its tasks stay.
    pub async fn remove(&self, acting: &Acting<'_>, name: &str) -> Result<(), StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let removed = sqlx::query(REMOVE).bind(name).execute(&mut *transaction).await?;
        around(points::SCHEDULE_REMOVE, transaction.commit()).await?;
        if removed.rows_affected() == 0 {
            return Err(StoreError::not_found("schedule", name));
        }
        Ok(())
    }

    /// Lets it rest (`paused`) or go on (`active`), from `next_at`.
    pub async fn set(
        &self,
        acting: &Acting<'_>,
        id: ScheduleId,
        status: Status,
        next_at: DateTime<Utc>,
    ) -> Result<Schedule, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let query = sqlx::query_as(SET).bind(id.as_uuid()).bind(status.as_str()).bind(next_at);
        let changed: Option<Schedule> = query.fetch_optional(&mut *transaction).await?;
        around(points::SCHEDULE_SET, transaction.commit()).await?;
        changed.ok_or_else(|| StoreError::not_found("schedule", id))
    }

    /// Adds the tasks of the first schedule whose time has come; `None` where no time has.
    pub async fn fire(&self, acting: &Acting<'_>) -> Result<Option<Fired>, StoreError> {
        if !sqlx::query_scalar(IS_ANY_DUE).fetch_one(self.0.pool()).await? {
            return Ok(None);
        }
        let mut transaction = self.0.begin(acting).await?;
        let due: Option<Uuid> = sqlx::query_scalar(DUE).fetch_optional(&mut *transaction).await?;
        let Some(id) = due else { return Ok(None) };
        let schedule: Schedule =
            match sqlx::query_as(GET).bind(id).fetch_one(&mut *transaction).await {
                Ok(schedule) => schedule,
                // It must not keep the others from their times.
                Err(error @ (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))) => {
                    let note = format!("its task cannot be read: {error}");
                    let query = sqlx::query_scalar(REST).bind(id).bind(&note);
                    let name = query.fetch_one(&mut *transaction).await?;
                    around(points::SCHEDULE_REST, transaction.commit()).await?;
                    return Ok(Some(Fired { name, added: Vec::new(), note: Some(note) }));
                }
                Err(error) => return Err(error.into()),
            };
        let now = sqlx::query_scalar(NOW).fetch_one(&mut *transaction).await?;
        let table = Timetable::parse(&schedule.cron, &schedule.time_zone, now);
        let due = table.and_then(|table| table.due(schedule.next_at, now, schedule.missed));
        let (due, note) = match due {
            Ok(due) => (due, None),
            // It was sound when it was made: the rules of its zone have changed since. It rests for a day.
            Err(error) => {
                let next = now + chrono::TimeDelta::days(1);
                (Due { times: Vec::new(), left_out: 0, next }, Some(error.to_string()))
            }
        };
        let mut fired = Fired { name: schedule.name.clone(), added: Vec::new(), note };
        for _ in &due.times {
            match self.add_one(&mut transaction, acting, &schedule).await? {
                Ok(task) => fired.added.push(task),
                Err(refused) => fired.note = Some(refused),
            }
        }
        if due.left_out > 0 && fired.note.is_none() {
            fired.note = Some(format!("{} missed times were left out", due.left_out));
        }
        sqlx::query(MOVE_ON)
            .bind(schedule.id.as_uuid())
            .bind(due.next)
            .bind(due.times.last().copied().unwrap_or(schedule.next_at))
            .bind(fired.added.last().map(|task| task.as_uuid()))
            .bind(&fired.note)
            .execute(&mut *transaction)
            .await?;
        around(points::SCHEDULE_FIRE, transaction.commit()).await?;
        if let Some(task) = fired.added.first() {
            self.0.hint(TASKS_CHANNEL, task).await;
        }
        Ok(Some(fired))
    }

    /// Adds one task, behind a savepoint; or says why not.
    async fn add_one(
        &self,
        transaction: &mut PgConnection,
        acting: &Acting<'_>,
        schedule: &Schedule,
    ) -> Result<Result<TaskId, String>, StoreError> {
        use sqlx::Connection as _;
        if let (Overlap::Skip, Some(last)) = (schedule.overlap, schedule.last_task_id) {
            let is_open: Option<bool> = sqlx::query_scalar(LAST_IS_OPEN)
                .bind(last.as_uuid())
                .fetch_optional(&mut *transaction)
                .await?;
            if is_open == Some(true) {
                return Ok(Err(format!("task {} of the time before had not ended", last.short())));
            }
        }
        let task = NewTask { id: TaskId::from_uuid(Uuid::now_v7()), ..schedule.task.clone() };
        let mut attempt = transaction.begin().await?;
        match add(&mut attempt, acting, &[(task.clone(), Vec::new())]).await {
            Ok(()) => {
                attempt.commit().await?;
                Ok(Ok(task.id))
            }
            // Its time is not over for that: the whole is tried again.
            Err(error) if is_transient(&error) => Err(error),
            Err(error) => {
                attempt.rollback().await?;
                Ok(Err(journeyman_domain::failure::sentence(&error)))
            }
        }
    }
}
