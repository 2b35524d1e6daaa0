//! The queue: claiming ready tasks. Leases are in `leases`, the end of an execution in `finish`.
//!
//! Owns: who works on what. A claim is one statement that locks ready tasks (skipping those that
//! another claimer holds), and makes or resumes their executions and runs. Must never: give one
//! task to two owners, or let a stale owner write.

pub(crate) mod batch;
pub(crate) mod finish;
pub(crate) mod leases;
pub(crate) mod park;
pub(crate) mod ready;
pub(crate) mod reconcile;
pub(crate) mod stats;
pub(crate) mod turn;

use std::collections::HashMap;
use std::time::Duration;

use journeyman_domain::files::Collision;
use journeyman_domain::ids::{AgentId, ExecutionId, NodeId, TaskId};
use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

pub use batch::Batch;
pub use finish::Finish;
pub use leases::{Held, TakeOver, TakeOverRequest, TakenOver};
pub use reconcile::{Reconciled, Stuck};
pub use stats::QueueStats;
pub use turn::Turn;

use crate::tables::files::{self, Holding};
use crate::tables::{agents, executions, runs, tasks};
use crate::{Acting, Agent, Execution, Run, Store, StoreError, TASKS_CHANNEL, Task};

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
    /// How many at the most, and never more than 200.
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

// Retries and waits that came due; whether they may begin is judged anew.
const WAKE: &str = "UPDATE tasks SET updated_at = now(), status = 'pending', waiting_for = NULL, \
     wake_at = NULL WHERE id = ANY (ARRAY(SELECT t.id FROM task_marks m JOIN tasks t ON t.id = m.task_id \
     WHERE m.wake_at <= now() ORDER BY m.wake_at LIMIT 1000 FOR UPDATE OF t SKIP LOCKED)) \
     AND status = 'waiting' RETURNING id";

// `slot`: the places that agents have free in each lane, the least busy agent's first; an agent that
// has a limit of its own (`max_concurrent` in its configuration), or a codebase (in its settings), has
// no more than that. `placed`: the first ready tasks in the order of claims, each with its slot.
// A task whose execution was put aside (waiting, paused) goes on with it under a new epoch; a new one
// is linked to the trace of the one before it. A ready task's last change made it ready. The updates
// take their rows from arrays, and the queue's from so few that the planner looks them up one by one: it
// would expect a tenth of all. With what was claimed it says how many ids were used up: some of them may
// not have been ready any more.
const CLAIM: &str = concat!(
    "WITH busy AS ( \
         SELECT t.codebase_id, r.agent_id FROM task_executions e JOIN tasks t ON t.id = e.task_id \
         JOIN agent_tasks r ON r.execution_id = e.id AND r.status = 'running' \
         WHERE e.status = 'running'), \
     room AS ( \
         SELECT greatest(0, least($2::bigint, 200, $3::bigint - (SELECT count(*) FROM task_executions \
             WHERE node_id = $1 AND status = 'running'))) AS slots), \
     agent AS ( \
         SELECT l.id AS lane_id, l.codebase_id, g.id, g.agent_type, g.created_at, g.name, \
             (SELECT count(*) FROM busy b WHERE b.agent_id = g.id) AS busy, \
             CASE WHEN jsonb_typeof(g.configuration -> 'max_concurrent') = 'number' \
                 THEN (g.configuration -> 'max_concurrent')::bigint ELSE 1000000 END AS most, \
             l.agent_id IS NOT NULL OR g.capabilities ? l.capability AS is_able, \
             bool_or(l.agent_id IS NOT NULL OR g.capabilities ? l.capability) \
                 OVER (PARTITION BY l.id) AS any_is_able \
         FROM queue_lanes l JOIN codegen_agents g ON g.is_active \
             AND (l.agent_id IS NULL OR g.id = l.agent_id) \
         WHERE NOT l.is_runless AND EXISTS (SELECT FROM ready_tasks q WHERE q.lane_id = l.id)), \
     slot AS ( \
         SELECT a.lane_id, a.codebase_id, a.id AS agent_id, a.agent_type, a.busy, a.most, \
             row_number() OVER (PARTITION BY a.lane_id \
                 ORDER BY a.busy + n, a.created_at, a.name) AS place \
         FROM room, agent a, generate_series(0, least(room.slots, a.most - a.busy) - 1) n \
         WHERE CASE WHEN a.any_is_able THEN a.is_able ELSE a.name = 'General Assistant' END \
             AND ($5::uuid[] IS NULL OR a.id = ANY ($5))), \
     lane AS (SELECT lane_id, codebase_id, least(count(*), (SELECT slots FROM room)) AS slots, \
         coalesce((SELECT (c.settings -> 'max_concurrent')::bigint FROM codebases c \
             WHERE c.id = codebase_id \
             AND jsonb_typeof(c.settings -> 'max_concurrent') = 'number') - (SELECT count(*) FROM busy b \
             WHERE b.codebase_id = slot.codebase_id), 1000000) AS codebase_slots \
         FROM slot GROUP BY lane_id, codebase_id), \
     head AS ( \
         SELECT q.lane_id, q.bucket, q.due, q.chain, q.first_id, q.place AS row, q.ids, l.codebase_id, \
             l.codebase_slots \
         FROM lane l CROSS JOIN LATERAL (SELECT * FROM ready_tasks q WHERE q.lane_id = l.lane_id \
             AND ($4::uuid IS NULL OR q.ids @> ARRAY[$4]) \
             AND (q.reserved_for IS NULL OR q.reserved_for = $1 OR NOT EXISTS ( \
                 SELECT FROM runtime_nodes n WHERE n.id = q.reserved_for AND n.stopped_at IS NULL \
                 AND n.heartbeat_at > now() - make_interval(secs => $6))) \
             ORDER BY q.bucket, q.due, q.chain, q.first_id, q.place \
             LIMIT least(l.slots, greatest(0, l.codebase_slots)) FOR UPDATE SKIP LOCKED) q), \
     one AS ( \
         SELECT h.*, u.id, u.n, row_number() OVER (PARTITION BY h.lane_id \
             ORDER BY h.bucket, h.due, h.chain, h.first_id, h.row, u.n) AS place \
         FROM head h, unnest(h.ids) WITH ORDINALITY AS u (id, n) \
         WHERE $4::uuid IS NULL OR u.id = $4), \
     placed AS ( \
         SELECT o.*, s.agent_id, s.agent_type, s.most - s.busy AS agent_slots, \
             row_number() OVER (PARTITION BY o.codebase_id \
                 ORDER BY o.bucket, o.due, o.chain, o.id) AS in_codebase, \
             row_number() OVER (PARTITION BY s.agent_id \
                 ORDER BY o.bucket, o.due, o.chain, o.id) AS in_agent \
         FROM one o JOIN slot s USING (lane_id, place)), \
     taken AS ( \
         SELECT *, row_number() OVER (ORDER BY bucket, due, chain, id) AS rank FROM placed \
         WHERE in_codebase <= codebase_slots AND in_agent <= agent_slots \
         ORDER BY bucket, due, chain, id LIMIT (SELECT slots FROM room)), \
     kept AS ( \
         SELECT h.lane_id, h.bucket, h.due, h.chain, h.first_id, h.row, \
             array_agg(u.id ORDER BY u.n) FILTER (WHERE k.id IS NULL) AS ids \
         FROM head h CROSS JOIN LATERAL unnest(h.ids) WITH ORDINALITY AS u (id, n) \
         LEFT JOIN taken k ON k.row = h.row AND k.n = u.n \
         GROUP BY h.lane_id, h.bucket, h.due, h.chain, h.first_id, h.row HAVING bool_or(k.id IS NOT NULL)), \
     used_up AS ( \
         DELETE FROM ready_tasks q USING (SELECT * FROM kept WHERE ids IS NULL LIMIT 200) k \
         WHERE q.lane_id = k.lane_id AND q.bucket = k.bucket AND q.due = k.due AND q.chain = k.chain \
             AND q.first_id = k.first_id AND q.place = k.row), \
     shortened AS ( \
         UPDATE ready_tasks q SET ids = k.ids FROM (SELECT * FROM kept WHERE ids IS NOT NULL LIMIT 200) k \
         WHERE q.lane_id = k.lane_id AND q.bucket = k.bucket AND q.due = k.due AND q.chain = k.chain \
             AND q.first_id = k.first_id AND q.place = k.row), \
     locked AS ( \
         SELECT t.id, t.attempts, t.priority, coalesce(t.description, t.title) AS prompt, t.driver, \
             t.model, t.updated_at AS ready_since, t.traceparent FROM tasks t \
         WHERE t.id = ANY (ARRAY(SELECT id FROM taken)) AND t.status = 'ready' \
         ORDER BY t.id FOR UPDATE), \
     candidate AS ( \
         SELECT t.id, t.attempts, t.priority, t.prompt, t.driver, t.model, t.ready_since, k.agent_id, \
             k.agent_type, k.rank, s.id AS suspended, coalesce((SELECT e.traceparent FROM task_executions e \
                 WHERE e.task_id = t.id ORDER BY e.attempt DESC LIMIT 1), t.traceparent) AS traceparent \
         FROM locked t CROSS JOIN LATERAL (SELECT * FROM taken k WHERE k.id = t.id LIMIT 1) k \
         LEFT JOIN LATERAL (SELECT e.id FROM task_executions e \
             WHERE e.task_id = t.id AND e.status IN ('waiting', 'paused') \
             ORDER BY e.attempt DESC LIMIT 1) s ON true), ",
    "fresh AS ( \
         INSERT INTO task_executions (task_id, agent_type, status, attempt, node_id, lease_epoch, \
             lease_expires_at, traceparent, metrics) \
         SELECT id, agent_type, 'running', attempts + 1, $1, 1, now() + make_interval(secs => $6), \
             traceparent, jsonb_build_object('wait_s', \
                 extract(epoch FROM clock_timestamp() - ready_since)::float8) FROM candidate WHERE suspended IS NULL \
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
     started AS ( \
         UPDATE tasks t SET updated_at = now(), status = 'running', started_at = coalesce(t.started_at, now()), \
             attempts = t.attempts + (t.id = ANY (ARRAY(SELECT task_id FROM fresh)))::integer, \
             error = NULL WHERE t.id = ANY (ARRAY(SELECT id FROM candidate))) \
     SELECT used.ids AS used_up, claimed.id, claimed.rank, \
         extract(epoch FROM clock_timestamp() - claimed.ready_since)::float8 AS waited_s \
     FROM (SELECT count(*) AS ids FROM taken) used LEFT JOIN ( \
         SELECT e.id, c.ready_since, c.rank FROM (SELECT id, task_id FROM fresh \
             UNION ALL SELECT id, task_id FROM resumed) e JOIN candidate c ON c.id = e.task_id) claimed ON true"
);

// An idle node asks every few seconds, and needs no transaction for a no.
const IS_ANYTHING_THERE: &str = "SELECT EXISTS (SELECT FROM ready_tasks) \
     OR EXISTS (SELECT FROM task_marks WHERE wake_at <= now()) \
     OR EXISTS (SELECT FROM task_files WHERE waits_for IS NOT NULL)";
// What several nodes must not decide at once without each other: nobody else claims until the end of this
// transaction, where a limit over all nodes or files that tasks share could be overstepped.
// What somebody else holds for long, as a large addition does with what it waits for, is claimed later.
const SERIALIZE: &str = "SELECT set_config('lock_timeout', '2s', true), ( \
     SELECT pg_advisory_xact_lock(hashtext('journeyman.claims')) IS NOT NULL WHERE EXISTS (SELECT FROM codegen_agents WHERE configuration ? 'max_concurrent') \
         OR EXISTS (SELECT FROM codebases WHERE settings ? 'max_concurrent') \
         OR EXISTS (SELECT FROM task_files)) IS TRUE";

pub(crate) const ALL: &[&str] = &[IS_ANYTHING_THERE, WAKE, SERIALIZE, CLAIM];

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
    /// Whether a claim, of tasks with a run or without one, could find anything.
    pub async fn is_anything_there(&self) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar(IS_ANYTHING_THERE).fetch_one(self.0.pool()).await?)
    }

    /// Takes ready tasks, and gives them in their order: by priority, which grows with the days, then by due date
    /// (none is last), then by the longest chain that waits for it, then by age. Each comes
    /// with its execution, its agent and its run, all of it committed before this returns. A task
    /// whose wanted agent is inactive stays ready.
    pub async fn claim(
        &self,
        acting: &Acting<'_>,
        request: &ClaimRequest,
    ) -> Result<Vec<Claim>, StoreError> {
        for _ in 0..LOOKS {
            match self.look(acting, request).await {
                Ok(Look::Claimed(claims)) => return Ok(claims),
                Ok(Look::Again) => {}
                Ok(Look::Met { met, claimed }) => {
                    files::put_aside(self.0, acting, &met, &claimed).await?;
                }
                Err(error) if error.sqlstate().as_deref() == Some("55P03") => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
        // Much was passed over: whoever claims has other things to do, too, and comes again.
        self.0.hint_soon(TASKS_CHANNEL, request.only_task.unwrap_or_else(|| Uuid::nil().into()));
        Ok(Vec::new())
    }

    async fn look(&self, acting: &Acting<'_>, request: &ClaimRequest) -> Result<Look, StoreError> {
        let wanted: Option<Vec<Uuid>> =
            request.agents.as_ref().map(|ids| ids.iter().map(|id| id.as_uuid()).collect());
        let mut transaction = self.0.begin(acting).await?;
        let woken: Vec<Uuid> = sqlx::query_scalar(WAKE).fetch_all(&mut *transaction).await?;
        tasks::refresh(&mut transaction, &woken).await?;
        if request.only_task.is_some() {
            // Where no daemon runs, nobody else would.
            files::bring_back(&mut transaction, None).await?;
        }
        let (_, is_alone): (String, bool) =
            sqlx::query_as(SERIALIZE).fetch_one(&mut *transaction).await?;
        let rows: Vec<Row> = sqlx::query_as(CLAIM)
            .bind(request.node_id.as_uuid())
            .bind(i64::from(request.limit))
            .bind(i64::from(request.max_concurrent))
            .bind(request.only_task.map(TaskId::as_uuid))
            .bind(wanted)
            .bind(request.lease.as_secs_f64())
            .fetch_all(&mut *transaction)
            .await?;
        let used_up = rows.first().map_or(0, |row| row.used_up);
        let claimed: HashMap<Uuid, (f64, i64)> = rows
            .into_iter()
            .filter_map(|row| Some((row.id?, (row.waited_s?, row.rank?))))
            .collect();
        let ids: Vec<Uuid> = claimed.keys().copied().collect();
        let mut claims = load(&mut transaction, &ids).await?;
        claims.sort_by_key(|claim| claimed.get(&claim.execution.id.as_uuid()).map(|found| found.1));
        let taken: Vec<Uuid> = claims.iter().map(|claim| claim.task.id.as_uuid()).collect();
        match files::hold(&mut transaction, &taken).await? {
            Holding::Met(met) => {
                transaction.rollback().await?;
                return Ok(Look::Met { met, claimed: taken });
            }
            // The first files of all came after the look at whether there are any.
            Holding::Held if !is_alone => {
                transaction.rollback().await?;
                return Ok(Look::Again);
            }
            Holding::Held | Holding::Undeclared => {}
        }
        around(points::CLAIM, transaction.commit()).await?;
        if claims.is_empty() && used_up > 0 {
            return Ok(Look::Again);
        }
        for claim in &mut claims {
            let (waited_s, _) =
                claimed.get(&claim.execution.id.as_uuid()).copied().unwrap_or_default();
            claim.waited = Duration::try_from_secs_f64(waited_s).unwrap_or_default();
        }
        Ok(Look::Claimed(claims))
    }
}

/// Looks of one claim at the most.
const LOOKS: u32 = 4;

/// What a claim says of each task that it took, and of all together.
#[derive(FromRow)]
struct Row {
    used_up: i64,
    id: Option<Uuid>,
    waited_s: Option<f64>,
    rank: Option<i64>,
}

/// What came of one look at the queue.
enum Look {
    /// These are ours; none, where none is ready.
    Claimed(Vec<Claim>),
    /// None of the ids that came first was ready any more, and they are out of the queue; or what was found must be
    /// decided alone.
    Again,
    /// Some of those that would be claimed meet files of others, or of each other.
    Met { met: Vec<Collision>, claimed: Vec<Uuid> },
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
