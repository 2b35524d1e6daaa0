//! Pages of tasks, newest first, by what a user looks for.

use journeyman_domain::ids::{AgentId, CodebaseId, TaskId};
use journeyman_domain::status::{Priority, Status, WaitingFor};

use super::{Task, Tasks, columns};
use crate::StoreError;
use crate::column::page;

/// Which tasks a list shows.
#[derive(Clone, Debug)]
pub struct TaskFilter {
    /// Only in this state.
    pub status: Option<Status>,
    /// Only those that wait for this.
    pub waiting_for: Option<WaitingFor>,
    /// Only of this codebase.
    pub codebase: Option<CodebaseId>,
    /// Only sub-tasks of this one.
    pub parent: Option<TaskId>,
    /// Only of this priority.
    pub priority: Option<Priority>,
    /// Only those that want this agent.
    pub agent: Option<AgentId>,
    /// How many at the most.
    pub limit: u32,
    /// The last task of the page before.
    pub cursor: Option<TaskId>,
}

impl Default for TaskFilter {
    fn default() -> Self {
        Self {
            status: None,
            waiting_for: None,
            codebase: None,
            parent: None,
            priority: None,
            agent: None,
            limit: 50,
            cursor: None,
        }
    }
}

macro_rules! page_of {
    ($from:literal, $order:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM ",
            $from,
            " WHERE ($1::uuid IS NULL OR t.id < $1) \
             AND ($3::text IS NULL OR t.status = $3::status_type) \
             AND ($4::text IS NULL OR t.waiting_for = $4::waiting_reason) \
             AND ($5::uuid IS NULL OR t.codebase_id = $5) \
             AND ($6::uuid IS NULL OR t.parent_task_id = $6) \
             AND ($7::text IS NULL OR t.priority = $7::priority_level) \
             AND ($8::uuid IS NULL OR t.agent_id = $8) ORDER BY ",
            $order,
            " LIMIT $2"
        )
    };
}

const ANY: &str = page_of!("tasks t", "t.id DESC");
// Few tasks are in such a state, and they stand apart.
const MARKED: &str = page_of!(
    "(SELECT task_id FROM task_marks WHERE status = $3::status_type \
         AND ($1::uuid IS NULL OR task_id < $1) AND ($4::text IS NULL OR waiting_for = $4::waiting_reason) \
         AND ($5::uuid IS NULL OR codebase_id = $5) ORDER BY task_id DESC OFFSET 0) m \
     JOIN tasks t ON t.id = m.task_id",
    "m.task_id DESC"
);
// Where many are ready, the newest tasks are among them; where few are, the queue has them all.
const MANY_READY: i64 = 50_000;
const COUNT_READY: &str = "SELECT coalesce(sum(cardinality(ids)), 0)::bigint FROM ready_tasks";
const READY: &str = page_of!(
    "(SELECT DISTINCT r.id FROM (SELECT unnest(ids) AS id FROM ready_tasks \
         UNION ALL SELECT unnest(ids) FROM task_leases) r ORDER BY r.id DESC OFFSET 0) q \
     JOIN tasks t ON t.id = q.id",
    "q.id DESC"
);
// Span by span, from the newest that has any.
const COMPLETED: &str = page_of!(
    "completed_spans s JOIN tasks t ON t.id >= span_begins(s.span) AND t.id < span_begins(s.span + 1) \
     AND ($1::uuid IS NULL OR s.span <= span_of($1))",
    "s.span DESC, t.id DESC"
);

pub(crate) const ALL: &[&str] = &[ANY, MARKED, COUNT_READY, READY, COMPLETED];

impl Tasks<'_> {
    /// A page, newest first, and the cursor of the next one.
    pub async fn list(
        &self,
        filter: &TaskFilter,
    ) -> Result<(Vec<Task>, Option<TaskId>), StoreError> {
        let status = match (filter.status, filter.waiting_for) {
            (None, Some(_)) => Some(Status::Waiting),
            (status, _) => status,
        };
        let is_seldom = filter.parent.is_some()
            || filter.agent.is_some()
            || filter.priority.is_some_and(|priority| priority != Priority::Normal);
        let statement = match status {
            Some(Status::Ready) if !is_seldom => {
                let ready: i64 = sqlx::query_scalar(COUNT_READY).fetch_one(self.0.pool()).await?;
                if ready > MANY_READY { ANY } else { READY }
            }
            Some(Status::Completed) if !is_seldom => COMPLETED,
            Some(_) if !is_seldom => MARKED,
            // What is seldom has an index of its own.
            None | Some(_) => ANY,
        };
        let rows: Vec<Task> = sqlx::query_as(statement)
            .bind(filter.cursor.map(TaskId::as_uuid))
            .bind(i64::from(filter.limit) + 1)
            .bind(status.map(Status::as_str))
            .bind(filter.waiting_for.map(WaitingFor::as_str))
            .bind(filter.codebase.map(CodebaseId::as_uuid))
            .bind(filter.parent.map(TaskId::as_uuid))
            .bind(filter.priority.map(Priority::as_str))
            .bind(filter.agent.map(AgentId::as_uuid))
            // Planned for what is asked: one plan for every filter would fit none.
            .persistent(false)
            .fetch_all(self.0.pool())
            .await?;
        Ok(page(rows, filter.limit, |task| task.id))
    }
}
