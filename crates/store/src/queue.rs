//! The queue: claiming ready tasks. Leases are in `leases`, the end of an execution in `finish`.
//!
//! Owns: who works on what. A claim is one statement that locks ready tasks (skipping those that
//! another claimer holds), and makes or resumes their executions and runs. Must never: give one
//! task to two owners, or let a stale owner write.

pub(crate) mod finish;
pub(crate) mod leases;

use std::collections::HashMap;
use std::time::Duration;

use journeyman_domain::ids::{AgentId, ExecutionId, NodeId, TaskId};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

pub use finish::Finish;
pub use leases::{Held, TakeOver, TakeOverRequest, TakenOver};

use crate::tables::{agents, executions, runs, tasks};
use crate::{Acting, Agent, Execution, Run, Store, StoreError, Task};

/// The right to write for an execution: its owner in one epoch of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its owner.
    pub node_id: NodeId,
    /// Grows with every owner.
    pub lease_epoch: i64,
}

/// What a node is willing to take.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Who claims.
    pub node_id: NodeId,
    /// How many at the most.
    pub limit: u32,
    /// How many executions this node may run at once (`system.max_concurrent_tasks`).
    pub max_concurrent: u32,
    /// Only this task: what a foreground node claims.
    pub only_task: Option<TaskId>,
    /// Only work for these agents; `None` is any.
    pub agents: Option<Vec<AgentId>>,
    /// How long the leases are good for; nodes unheard of for as long count as gone.
    pub lease: Duration,
}

/// A task that this node works on now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// What the user asked for.
    pub task: Task,
    /// The attempt at it, new or gone on with.
    pub execution: Execution,
    /// Who works on it.
    pub agent: Agent,
    /// The agent's run, whose journal may have steps already.
    pub run: Run,
    /// How long the task could have been claimed before it was; zero for one that is taken over.
    pub waited: Duration,
}

impl Claim {
    /// The right to write.
    pub fn fence(&self) -> Option<Fence> {
        self.execution.fence()
    }
}

// Retries and waits that came due.
const WAKE: &str = "UPDATE tasks SET status = 'ready', waiting_for = NULL, wake_at = NULL \
     WHERE id IN (SELECT id FROM tasks WHERE status = 'waiting' AND wake_at <= now() \
     ORDER BY wake_at LIMIT 1000 FOR UPDATE SKIP LOCKED)";

// `candidate`: ready tasks in their order; the agent is the wanted one, else the first active one
// that can do what the type of the task needs, else the General Assistant. A task whose execution
// was put aside (waiting, paused) goes on with it under a new epoch; a new one is linked to the
// trace of the one before it. A ready task's last change made it ready. The updates take their rows
// from arrays: joined, the planner would expect a tenth of all tasks and read the whole table.
const CLAIM: &str = "WITH candidate AS ( \
     SELECT t.id, t.attempts, t.priority, coalesce(t.description, t.title) AS prompt, t.driver, \
         t.model, t.updated_at AS ready_since, a.id AS agent_id, a.agent_type, \
         s.id AS suspended, coalesce((SELECT e.traceparent FROM task_executions e \
             WHERE e.task_id = t.id ORDER BY e.attempt DESC LIMIT 1), t.traceparent) AS traceparent \
     FROM tasks t \
     CROSS JOIN LATERAL (SELECT CASE t.task_type WHEN 'test' THEN 'test_generation' \
         WHEN 'docs' THEN 'documentation' WHEN 'analysis' THEN 'complexity_analysis' \
         WHEN 'optimization' THEN 'optimization_suggestions' WHEN 'review' THEN 'code_review' \
         ELSE 'code_generation' END AS capability) need \
     CROSS JOIN LATERAL (SELECT g.id, g.agent_type FROM codegen_agents g WHERE g.is_active \
         AND CASE WHEN t.agent_id IS NOT NULL THEN g.id = t.agent_id \
             ELSE g.capabilities ? need.capability OR g.name = 'General Assistant' END \
         ORDER BY g.capabilities ? need.capability DESC, g.created_at, g.name LIMIT 1) a \
     LEFT JOIN LATERAL (SELECT e.id FROM task_executions e \
         WHERE e.task_id = t.id AND e.status IN ('waiting', 'paused') \
         ORDER BY e.attempt DESC LIMIT 1) s ON true \
     WHERE t.status = 'ready' AND ($4::uuid IS NULL OR t.id = $4) \
         AND ($5::uuid[] IS NULL OR a.id = ANY ($5)) \
         AND (t.reserved_for IS NULL OR t.reserved_for = $1 OR NOT EXISTS ( \
             SELECT FROM runtime_nodes n WHERE n.id = t.reserved_for AND n.stopped_at IS NULL \
             AND n.heartbeat_at > now() - make_interval(secs => $6))) \
         AND NOT EXISTS (SELECT FROM task_dependencies d JOIN tasks o ON o.id = d.depends_on \
             WHERE d.task_id = t.id AND o.status <> 'completed' AND NOT (d.kind = 'ended' \
             AND o.status IN ('failed', 'cancelled', 'timeout'))) \
     ORDER BY t.priority DESC, t.due_date, t.created_at, t.id \
     LIMIT greatest(0, least($2::bigint, $3::bigint - (SELECT count(*) FROM task_executions \
         WHERE node_id = $1 AND status = 'running'))) \
     FOR UPDATE OF t SKIP LOCKED), \
 fresh AS ( \
     INSERT INTO task_executions (task_id, agent_type, status, attempt, node_id, lease_epoch, \
         lease_expires_at, traceparent) \
     SELECT id, agent_type, 'running', attempts + 1, $1, 1, now() + make_interval(secs => $6), \
         traceparent FROM candidate WHERE suspended IS NULL \
     RETURNING id, task_id), \
 resumed AS ( \
     UPDATE task_executions e SET status = 'running', node_id = $1, \
         lease_epoch = e.lease_epoch + 1, lease_expires_at = now() + make_interval(secs => $6), \
         reclaims = 0, last_step_seq = coalesce((SELECT max(p.seq) FROM run_steps p \
             JOIN agent_tasks r ON r.id = p.run_id WHERE r.execution_id = e.id), 0) \
     WHERE e.id = ANY (ARRAY(SELECT suspended FROM candidate)) RETURNING e.id, e.task_id), \
 run AS ( \
     INSERT INTO agent_tasks (agent_id, task_id, prompt, status, priority, started_at, \
         execution_id, attempt, driver, model) \
     SELECT c.agent_id, c.id, c.prompt, 'running', c.priority, now(), f.id, c.attempts + 1, \
         c.driver, c.model FROM candidate c JOIN fresh f ON f.task_id = c.id), \
 resumed_run AS ( \
     UPDATE agent_tasks r SET status = 'running' \
     WHERE r.execution_id = ANY (ARRAY(SELECT id FROM resumed)) \
         AND r.status IN ('waiting', 'paused')), \
 taken AS ( \
     UPDATE tasks t SET status = 'running', started_at = coalesce(t.started_at, now()), \
         attempts = t.attempts + (t.id = ANY (ARRAY(SELECT task_id FROM fresh)))::integer, \
         error = NULL WHERE t.id = ANY (ARRAY(SELECT id FROM candidate))) \
 SELECT claimed.id, extract(epoch FROM clock_timestamp() - c.ready_since)::float8 \
 FROM (SELECT id, task_id FROM fresh UNION ALL SELECT id, task_id FROM resumed) claimed \
 JOIN candidate c ON c.id = claimed.task_id";

pub(crate) const ALL: &[&str] = &[WAKE, CLAIM];

/// The statement of a claim, for a test that asks PostgreSQL how it would run it.
pub const fn claim_statement() -> &'static str {
    CLAIM
}

/// Claims, leases and ends of executions.
#[derive(Clone, Copy, Debug)]
pub struct Queue<'a>(&'a Store);

impl Store {
    /// The queue.
    pub const fn queue(&self) -> Queue<'_> {
        Queue(self)
    }
}

impl Queue<'_> {
    /// Takes ready tasks: by priority, then by due date (none is last), then by age. Each comes
    /// with its execution, its agent and its run, all of it committed before this returns. A task
    /// whose wanted agent is inactive stays ready.
    pub async fn claim(
        &self,
        acting: &Acting<'_>,
        request: &ClaimRequest,
    ) -> Result<Vec<Claim>, StoreError> {
        let wanted: Option<Vec<Uuid>> =
            request.agents.as_ref().map(|ids| ids.iter().map(|id| id.as_uuid()).collect());
        let mut transaction = self.0.begin(acting).await?;
        sqlx::query(WAKE).execute(&mut *transaction).await?;
        let claimed: HashMap<Uuid, f64> = sqlx::query_as(CLAIM)
            .bind(request.node_id.as_uuid())
            .bind(i64::from(request.limit))
            .bind(i64::from(request.max_concurrent))
            .bind(request.only_task.map(TaskId::as_uuid))
            .bind(wanted)
            .bind(request.lease.as_secs_f64())
            .fetch_all(&mut *transaction)
            .await?
            .into_iter()
            .collect();
        let ids: Vec<Uuid> = claimed.keys().copied().collect();
        let mut claims = load(&mut transaction, &ids).await?;
        transaction.commit().await?;
        for claim in &mut claims {
            let waited_s = claimed.get(&claim.execution.id.as_uuid()).copied().unwrap_or_default();
            claim.waited = Duration::try_from_secs_f64(waited_s).unwrap_or_default();
        }
        claims.sort_by_key(|claim| {
            let task = &claim.task;
            (
                std::cmp::Reverse(task.priority),
                task.due_date.is_none(),
                task.due_date,
                task.created_at,
                task.id,
            )
        });
        Ok(claims)
    }
}

/// Everything about these executions. One whose run or agent is gone is left out.
async fn load(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Claim>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let executions = executions::get_many(connection, ids).await?;
    let task_ids: Vec<Uuid> = executions.iter().map(|row| row.task_id.as_uuid()).collect();
    let mut tasks: HashMap<TaskId, Task> = tasks::get_many(connection, &task_ids)
        .await?
        .into_iter()
        .map(|row| (row.id, row))
        .collect();
    // The last run of an execution is the one that goes on.
    let mut runs: HashMap<Option<ExecutionId>, Run> = runs::of_executions(connection, ids)
        .await?
        .into_iter()
        .map(|row| (row.execution_id, row))
        .collect();
    let agent_ids: Vec<Uuid> = runs.values().map(|row| row.agent_id.as_uuid()).collect();
    let agents: HashMap<AgentId, Agent> = agents::get_many(connection, &agent_ids)
        .await?
        .into_iter()
        .map(|row| (row.id, row))
        .collect();
    let claims = executions.into_iter().filter_map(|execution| {
        let run = runs.remove(&Some(execution.id))?;
        let agent = agents.get(&run.agent_id)?.clone();
        let task = tasks.remove(&execution.task_id)?;
        Some(Claim { task, execution, agent, run, waited: Duration::ZERO })
    });
    Ok(claims.collect())
}
