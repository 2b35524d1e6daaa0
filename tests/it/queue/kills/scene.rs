//! What these tests share: a graph of tasks, a lock that holds a statement, and the end of it all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command};

use journeyman_domain::ids::TaskId;
use journeyman_domain::status::{AfterFailure, Status};
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use uuid::Uuid;

use crate::queue::graphs::Model;
use crate::queue::invariants::{assert_drained, assert_holds};
use crate::recovery::scene::{notes, row, wait};
use crate::support::{Daemon, Home, wait_until};

/// What a statement is held by.
pub(super) enum Held {
    /// Writes of a table.
    Table(&'static str),
    /// A change of a task.
    Task(TaskId),
    /// A new run of any agent.
    Agents,
}

/// A daemon, a repository, and a graph with one task of each policy behind the first.
pub(super) struct Scene {
    pub(super) home: Home,
    pub(super) repository: PathBuf,
    pub(super) looker: PgConnection,
    pub(super) gate: PgConnection,
    pub(super) ids: BTreeMap<String, TaskId>,
    pub(super) model: Model,
}

pub(super) fn short_lease(command: &mut Command) {
    command.env("JOURNEYMAN__SCHEDULER__LEASE_S", "2").env("JOURNEYMAN__SCHEDULER__POLL_MS", "100");
}

impl Scene {
    pub(super) async fn new() -> Self {
        let home = Home::new().await;
        let repository = notes(&home, "notes");
        let url = home.database_url();
        let looker = PgConnection::connect(&url).await.unwrap();
        let gate = PgConnection::connect(&url).await.unwrap();
        let model = Model { edges: BTreeMap::new(), states: BTreeMap::new() };
        Self { home, repository, looker, gate, ids: BTreeMap::new(), model }
    }

    /// The lines of the graph; what goes first has a run where `program` is one.
    pub(super) fn write_graph(&self, program: Option<&str>) -> String {
        let repo = self.repository.to_str().unwrap();
        let none = |key: &str, after: &[&str], on_failure: &str| {
            json!({ "key": key, "repo": repo, "prompt": key, "driver": "none", "after": after,
                "on_failure": on_failure })
        };
        let mut first = none("first", &[], "wait");
        if let Some(program) = program {
            first["driver"] = json!("command");
            first["command"] = json!(["sh", "-c", program]);
            first["check"] = json!(["true"]);
        }
        let lines = [
            first,
            none("wait", &["first"], "wait"),
            none("fail", &["first"], "fail"),
            none("skip", &["first"], "skip"),
            none("run", &["first"], "run"),
            none("beyond", &["skip", "run"], "fail"),
            none("apart", &[], "wait"),
        ];
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let file = self.home.folder.path().join("graph.jsonl");
        std::fs::write(&file, lines.join("\n")).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// Adds it, and learns its ids.
    pub(super) fn add_graph(&mut self, program: Option<&str>) {
        let file = self.write_graph(program);
        self.home.run(&["task", "add", "--file", &file]).ok();
        self.learn();
    }

    pub(super) fn learn(&mut self) {
        let rows: Vec<(String, Uuid)> =
            wait(sqlx::query_as("SELECT title, id FROM tasks").fetch_all(&mut self.looker))
                .unwrap();
        self.ids = rows.into_iter().map(|(title, id)| (title, TaskId::from_uuid(id))).collect();
        let edges = [
            ("first", AfterFailure::Wait, &[][..]),
            ("wait", AfterFailure::Wait, &["first"]),
            ("fail", AfterFailure::Fail, &["first"]),
            ("skip", AfterFailure::Skip, &["first"]),
            ("run", AfterFailure::Run, &["first"]),
            ("beyond", AfterFailure::Fail, &["skip", "run"]),
            ("apart", AfterFailure::Wait, &[]),
        ];
        for (key, policy, after) in edges {
            let after = after.iter().map(|key| self.ids[*key]).collect();
            self.model.edges.insert(self.ids[key], (policy, after));
            self.model.states.insert(self.ids[key], Status::Waiting);
        }
        self.model.settle();
    }

    /// Whoever comes to that place stands there from now on.
    pub(super) fn hold(&mut self, held: &Held) {
        let lock = match held {
            Held::Table(table) => format!("LOCK TABLE {table} IN EXCLUSIVE MODE"),
            Held::Agents => "SELECT FROM codegen_agents FOR UPDATE".to_owned(),
            Held::Task(task) => format!("SELECT FROM tasks WHERE id = '{task}' FOR UPDATE"),
        };
        wait(self.gate.execute("BEGIN")).unwrap();
        wait(self.gate.execute(AssertSqlSafe(lock))).unwrap();
    }

    /// Kills the daemon when a statement that begins with these words stands there, and lets go of it.
    pub(super) fn kill_at(&mut self, words: &str, daemon: &mut Daemon) {
        self.wait_for(words);
        self.kill(daemon);
    }

    /// Waits until such a statement stands there. PostgreSQL shows its beginning alone.
    pub(super) fn wait_for(&mut self, words: &str) {
        let blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND cardinality(pg_blocking_pids(pid)) > 0 AND position($1 IN query) > 0";
        wait_until(words, || {
            let count = sqlx::query_scalar(blocked).bind(words).fetch_one(&mut self.looker);
            let count: i64 = wait(count).unwrap();
            count > 0
        });
    }

    pub(super) fn kill(&mut self, daemon: &mut Daemon) {
        daemon.kill();
        wait(self.gate.execute("ROLLBACK")).unwrap();
        // What it was in the middle of ends with its connections.
        let alive = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND (state <> 'idle' OR wait_event_type = 'Lock')";
        wait_until("its transactions are over", || {
            let count: i64 = wait(sqlx::query_scalar(alive).fetch_one(&mut self.looker)).unwrap();
            count == 0
        });
        wait(assert_holds(&mut self.looker));
    }

    pub(super) fn states(&self) -> BTreeMap<&str, Status> {
        let state = |id: &TaskId| row(&self.home, &id.to_string()).status;
        self.ids.iter().map(|(title, id)| (title.as_str(), state(id))).collect()
    }

    pub(super) fn model_states(&self) -> BTreeMap<&str, Status> {
        self.ids.iter().map(|(title, id)| (title.as_str(), self.model.states[id])).collect()
    }

    /// The next daemon brings everything to the end that the model says.
    pub(super) fn finish(&mut self) {
        loop {
            self.model.settle();
            let ready = self.model.states.iter_mut().filter(|(_, state)| **state == Status::Ready);
            if ready.map(|(_, state)| *state = Status::Completed).count() == 0 {
                break;
            }
        }
        let mut next = self.home.up_with(short_lease);
        wait_until("all is as the model has it", || {
            wait(assert_holds(&mut self.looker));
            self.states() == self.model_states()
        });
        assert_eq!(next.stop(), 0);
        wait(assert_drained(&mut self.looker));
        let audit = self.home.run(&["audit", "verify", "--json"]).ok().json();
        assert_eq!(audit["ok"], true, "{audit}");
        // Each task without a run ended by one event, and by no second one.
        let doubled: i64 = wait(
            sqlx::query_scalar(
                "SELECT count(*) FROM (SELECT task FROM audit_events, unnest(record_ids) AS e (task) \
                 WHERE kind = 'tasks_completed' GROUP BY task HAVING count(*) > 1) d",
            )
            .fetch_one(&mut self.looker),
        )
        .unwrap();
        assert_eq!(doubled, 0);
    }

    pub(super) fn count_tasks(&mut self) -> i64 {
        wait(sqlx::query_scalar("SELECT count(*) FROM tasks").fetch_one(&mut self.looker)).unwrap()
    }

    /// The tasks of each lease without a run.
    pub(super) fn leased(&mut self) -> Vec<Vec<Uuid>> {
        wait(sqlx::query_scalar("SELECT ids FROM task_leases").fetch_all(&mut self.looker)).unwrap()
    }

    pub(super) fn uuids(&self, keys: [&str; 2]) -> Vec<Uuid> {
        keys.map(|key| self.ids[key].as_uuid()).to_vec()
    }

    pub(super) fn first_ran_once(&self) {
        let first = row(&self.home, &self.ids["first"].to_string());
        assert_eq!((first.status, first.attempts, first.error), (Status::Completed, 1, None));
        let executions = wait(self.home.store().executions().of_task(first.id)).unwrap();
        assert_eq!(executions.len(), 1, "{executions:?}");
    }

    pub(super) fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.home.command(arguments);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    }
}
