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
    ($from:literal) => {
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
             AND ($8::uuid IS NULL OR t.agent_id = $8) ORDER BY t.id DESC LIMIT $2"
        )
    };
}

const ANY: &str = page_of!("tasks t");
// Few tasks are in such a state, and they stand apart.
const MARKED: &str = page_of!(
    "(SELECT task_id FROM task_marks WHERE status = $3::status_type AND ($1::uuid IS NULL OR task_id < $1) \
     ORDER BY task_id DESC) m JOIN tasks t ON t.id = m.task_id"
);

pub(crate) const ALL: &[&str] = &[ANY, MARKED];

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
        let statement = match status {
            None | Some(Status::Pending | Status::Ready | Status::Completed) => ANY,
            Some(_) => MARKED,
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
