//! Rows for the benchmark: ready ones by the store's own code, all else by statements, for speed.

use anyhow::Result;
use journeyman_domain::ids::CodebaseId;
use journeyman_store::{NewCodebase, NewTask, Store};
use sqlx::PgPool;

use super::ACTING;

/// Tasks that one call adds.
const BATCH: u32 = 1000;

// In one of five codebases, and a thousandth in one more.
const FINISHED: &str = "INSERT INTO tasks (codebase_id, title, task_type, status, attempts, verified, \
         started_at, completed_at) \
     SELECT CASE WHEN n % 1000 = 0 THEN $2 ELSE ($3::uuid[])[n % 5 + 1] END, 'finished ' || n, 'feature', \
         'completed', 1, true, now(), now() FROM generate_series(1, $1) n";
// Nine of ten are completed; the rest is in all other states.
const LISTED: &str = "INSERT INTO tasks (codebase_id, title, task_type, status, attempts, waiting_for, \
         wake_at, started_at, completed_at) \
     SELECT CASE WHEN n % 1000 = 0 THEN $2 ELSE ($3::uuid[])[n % 5 + 1] END, 'listed ' || n, 'feature', s.status, \
         CASE WHEN s.status IN ('ready', 'waiting') THEN 0 ELSE 1 END, \
         CASE WHEN s.status = 'waiting' THEN 'retry_at' END::waiting_reason, \
         CASE WHEN s.status = 'waiting' THEN now() + interval '1 year' END, now(), \
         CASE WHEN s.status IN ('completed', 'failed', 'cancelled', 'timeout') THEN now() END \
     FROM generate_series(1, $1) n CROSS JOIN LATERAL (SELECT (CASE WHEN n % 100 < 90 THEN 'completed' \
         ELSE ('{failed,failed,failed,cancelled,cancelled,timeout,waiting,waiting,paused,parked}'::text[]) \
             [n % 100 - 89] END)::status_type AS status) s ORDER BY n";

/// What makes them.
pub(super) struct Rows<'a> {
    store: &'a Store,
    pool: &'a PgPool,
    codebases: Vec<CodebaseId>,
    rare: CodebaseId,
}

impl<'a> Rows<'a> {
    pub(super) async fn new(store: &'a Store, pool: &'a PgPool) -> Result<Self> {
        let mut ids = Vec::new();
        for name in ["north", "east", "south", "west", "middle", "rare"] {
            let path = format!("/bench/{name}");
            let new = NewCodebase { name, local_path: &path, default_branch: None, language: None };
            ids.push(store.codebases().register(&ACTING, &new).await?.id);
        }
        let rare = ids[5];
        ids.truncate(5);
        Ok(Self { store, pool, codebases: ids, rare })
    }

    /// So many with a run, and as many without one.
    pub(super) async fn add_ready(&self, count: u32) -> Result<()> {
        self.add_runs(count).await?;
        self.add_runless(count).await
    }

    pub(super) async fn add_runs(&self, count: u32) -> Result<()> {
        self.add(count, None).await
    }

    pub(super) async fn add_runless(&self, count: u32) -> Result<()> {
        self.add(count, Some("none")).await
    }

    async fn add(&self, count: u32, driver: Option<&str>) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let some = left.min(BATCH);
            let task = |number: u32| {
                let codebase = self.codebases[number as usize % self.codebases.len()];
                let title = format!("ready {number}");
                let driver = driver.map(str::to_owned);
                (NewTask { codebase_id: Some(codebase), driver, ..NewTask::new(title) }, Vec::new())
            };
            let batch: Vec<_> = (0..some).map(task).collect();
            self.store.tasks().insert_many(&ACTING, &batch).await?;
            left -= some;
        }
        Ok(())
    }

    pub(super) async fn add_finished(&self, count: u32) -> Result<()> {
        self.make(FINISHED, count).await
    }

    /// Tasks in all states, of which some are ready and older than all others.
    pub(super) async fn add_listed(&self, count: u32) -> Result<()> {
        self.add_runs(count / 100).await?;
        self.make(LISTED, count).await
    }

    async fn make(&self, statement: &'static str, count: u32) -> Result<()> {
        let codebases: Vec<uuid::Uuid> = self.codebases.iter().map(|id| id.as_uuid()).collect();
        let mut left = count;
        while left > 0 {
            let some = left.min(250_000);
            sqlx::query(statement)
                .bind(i32::try_from(some)?)
                .bind(self.rare.as_uuid())
                .bind(&codebases)
                .execute(self.pool)
                .await?;
            left -= some;
        }
        Ok(())
    }

    /// What autovacuum does within a minute or so.
    pub(super) async fn analyze(&self) -> Result<()> {
        for table in [
            "VACUUM ANALYZE tasks",
            "ANALYZE ready_tasks",
            "ANALYZE task_marks",
            "ANALYZE completed_spans",
        ] {
            sqlx::query(table).execute(self.pool).await?;
        }
        Ok(())
    }
}
