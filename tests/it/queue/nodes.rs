//! Three nodes work off one queue, and two of them are killed in the middle of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use journeyman_domain::ids::RunId;
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::invariants::{assert_drained, assert_holds};
use crate::recovery::scene::{notes, processes, wait};
use crate::support::{Daemon, Home, git, signal, wait_until};

/// Tasks with a run.
const RUNS: usize = 40;
/// Tasks without one.
const RUNLESS: usize = 300;

fn short_lease(command: &mut Command) {
    command
        .env("JOURNEYMAN__SCHEDULER__LEASE_S", "2")
        .env("JOURNEYMAN__SCHEDULER__POLL_MS", "200")
        .env("JOURNEYMAN__SYSTEM__MAX_CONCURRENT_TASKS", "3");
}

/// The lines of a file: runs in four chains of ten, with cross-links, and milestones among and behind
/// them.
fn lines(repositories: &[PathBuf]) -> Vec<Value> {
    let repo = |number: usize| repositories[number % repositories.len()].to_str().unwrap();
    let run = |number: usize| {
        let mut after = Vec::new();
        if number >= 12 && number.is_multiple_of(3) {
            after.push(format!("run-{}", number - 12));
            after.push(format!("run-{}", number - 7));
        }
        if number >= 20 && number.is_multiple_of(5) {
            after.push(format!("none-{number}"));
        }
        let key = format!("run-{number}");
        // It takes its time, so that a kill finds it at work.
        let program = format!("echo {key} >> {key}.txt; sleep 0.2");
        json!({
            "key": key, "repo": repo(number), "prompt": key, "after": after,
            "command": ["sh", "-c", program], "check": [format!("grep -qx {key} {key}.txt")],
        })
    };
    let runless = |number: usize| {
        let after: Vec<String> = match number % 4 {
            // Of the tasks with a run, only later ones wait for it.
            0 => vec![format!("run-{}", number % 15)],
            1 if number > 4 => vec![format!("none-{}", number - 4)],
            _ => vec![],
        };
        let key = format!("none-{number}");
        json!({ "key": key, "repo": repo(number), "prompt": key, "after": after, "driver": "none" })
    };
    (0..RUNS).map(run).chain((0..RUNLESS).map(runless)).collect()
}

struct Scene {
    home: Home,
    connection: PgConnection,
}

impl Scene {
    async fn new() -> Self {
        let home = Home::new().await;
        let connection = PgConnection::connect(&home.database_url()).await.unwrap();
        Self { home, connection }
    }

    /// The life of the daemon of this data folder.
    fn node(&mut self, name: &str) -> Uuid {
        let data = self.home.folder.path().join(name);
        let found = sqlx::query_scalar("SELECT id FROM runtime_nodes WHERE data_dir = $1");
        wait(found.bind(data.to_str().unwrap()).fetch_one(&mut self.connection)).unwrap()
    }

    /// Kills it while it holds runs whose programs are alive; which runs those are.
    fn kill_at_work(&mut self, daemon: &mut Daemon, node: Uuid) -> BTreeSet<Uuid> {
        let mut held = BTreeSet::new();
        wait_until("the node is at work", || {
            // What is asleep does not get on between the look and the kill.
            signal(daemon.child.id(), "STOP");
            let found = sqlx::query_scalar(
                "SELECT c.run_id FROM child_processes c JOIN task_executions e \
                     ON e.id = c.execution_id AND e.node_id = c.node_id AND e.status = 'running' \
                 WHERE c.node_id = $1 AND c.ended_at IS NULL",
            );
            let found: Vec<Uuid> = wait(found.bind(node).fetch_all(&mut self.connection)).unwrap();
            held = found.into_iter().collect();
            if held.is_empty() {
                signal(daemon.child.id(), "CONT");
            }
            !held.is_empty()
        });
        daemon.kill();
        held
    }

    fn done(&mut self) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM tasks WHERE status = 'completed'");
        wait(count.fetch_one(&mut self.connection)).unwrap()
    }

    /// Each task by its title: state, attempts, executions, runs, branch.
    fn ends(&mut self) -> BTreeMap<String, (String, i32, i64, i64, Option<String>)> {
        let rows: Vec<(String, String, i32, i64, i64, Option<String>)> = wait(
            sqlx::query_as(
                "SELECT title, status::text, attempts, \
                     (SELECT count(*) FROM task_executions e WHERE e.task_id = t.id), \
                     (SELECT count(*) FROM agent_tasks r WHERE r.task_id = t.id), branch FROM tasks t",
            )
            .fetch_all(&mut self.connection),
        )
        .unwrap();
        let by_title = |(title, status, attempts, executions, runs, branch)| {
            (title, (status, attempts, executions, runs, branch))
        };
        rows.into_iter().map(by_title).collect()
    }

    fn all<T>(&mut self, statement: &'static str) -> Vec<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        wait(sqlx::query_scalar(statement).fetch_all(&mut self.connection)).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_drain_a_queue_and_two_are_killed_at_work() {
    let mut scene = Scene::new().await;
    let repositories = ["north", "east", "south", "west"].map(|name| notes(&scene.home, name));
    let lines: Vec<String> = lines(&repositories).iter().map(Value::to_string).collect();
    let file = scene.home.folder.path().join("plan.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let _lasting = scene.home.up_with(short_lease);
    let mut second = scene.home.up_beside("second", short_lease);
    let mut third = scene.home.up_beside("third", short_lease);
    let doomed = [scene.node("second"), scene.node("third")];
    scene.home.run(&["task", "add", "--file", file.to_str().unwrap()]).ok();

    let mut killed = scene.kill_at_work(&mut second, doomed[0]);
    let so_far = scene.done();
    wait_until("the others go on", || scene.done() > so_far + 5);
    killed.extend(scene.kill_at_work(&mut third, doomed[1]));
    assert!(killed.len() >= 2, "{killed:?}");
    let all = i64::try_from(RUNS + RUNLESS).unwrap();
    assert!(scene.done() < all, "both were killed before the end");
    wait_until("the last node has worked off all of it", || {
        wait(assert_holds(&mut scene.connection));
        scene.done() == all
    });
    assert_each_is_done_once(&mut scene, &repositories);
    assert_nothing_is_left(&mut scene, &killed);
    assert_each_came_after_what_it_waited_for(&mut scene);
}

/// One attempt, one branch with one commit, in which the effect is once.
fn assert_each_is_done_once(scene: &mut Scene, repositories: &[PathBuf]) {
    let ends = scene.ends();
    assert_eq!(ends.len(), RUNS + RUNLESS);
    let mut branches = vec![BTreeSet::new(); repositories.len()];
    for number in 0..RUNS {
        let key = format!("run-{number}");
        let (status, attempts, executions, runs, branch) = &ends[&key];
        assert_eq!(
            (status.as_str(), *attempts, *executions, *runs),
            ("completed", 1, 1, 1),
            "{key}"
        );
        let branch = branch.as_ref().unwrap();
        let place = number % repositories.len();
        let repository = &repositories[place];
        assert!(branches[place].insert(branch.clone()), "{branch} is of two tasks");
        let effect = git(repository, &["show", &format!("{branch}:{key}.txt")]);
        assert_eq!(effect, key, "it took effect once");
        assert_eq!(git(repository, &["rev-list", "--count", &format!("main..{branch}")]), "1");
        let changed = git(repository, &["diff", "--name-only", &format!("main..{branch}")]);
        assert_eq!(changed, format!("{key}.txt"), "and nobody else's did there");
    }
    for number in 0..RUNLESS {
        let key = format!("none-{number}");
        assert_eq!(ends[&key], ("completed".to_owned(), 0, 0, 0, None), "{key}");
    }
    for (repository, expected) in repositories.iter().zip(&branches) {
        let found = git(repository, &["branch", "--list", "--format=%(refname:short)"]);
        let found: BTreeSet<String> = found.lines().map(str::to_owned).collect();
        let own: BTreeSet<String> = found.into_iter().filter(|name| name != "main").collect();
        assert_eq!(&own, expected);
    }
    let ended: Vec<i64> = scene.all(
        "SELECT count(*) FROM audit_events WHERE kind = 'execution_finished' \
         UNION ALL SELECT count(DISTINCT record_ids) FROM audit_events WHERE kind = 'execution_finished' \
         UNION ALL SELECT count(*) FROM audit_events, unnest(record_ids) WHERE kind = 'tasks_completed' \
         UNION ALL SELECT count(DISTINCT task) FROM audit_events, unnest(record_ids) AS e (task) \
             WHERE kind = 'tasks_completed'",
    );
    let expected = [RUNS, RUNS, RUNLESS, RUNLESS].map(|count| i64::try_from(count).unwrap());
    assert_eq!(ended, expected, "the audit has each end once");
    let audit = scene.home.run(&["audit", "verify", "--json"]).ok().json();
    assert_eq!(audit["ok"], true, "{audit}");
}

/// No lease, no process, and what the killed nodes held went on under a new epoch.
fn assert_nothing_is_left(scene: &mut Scene, killed: &BTreeSet<Uuid>) {
    wait(assert_drained(&mut scene.connection));
    let taken_over: Vec<Uuid> = scene.all(
        "SELECT r.id FROM agent_tasks r JOIN task_executions e ON e.id = r.execution_id \
         WHERE e.lease_epoch > 1",
    );
    let taken_over: BTreeSet<Uuid> = taken_over.into_iter().collect();
    assert!(taken_over.is_superset(killed), "{killed:?} and {taken_over:?}");
    let runs: Vec<Uuid> = scene.all("SELECT id FROM agent_tasks");
    for run in runs {
        assert_eq!(processes(RunId::from_uuid(run)), [], "run {run}");
    }
    // A run of a killed node may have been given to any of those that were alive.
    let doubled: Vec<Uuid> = scene.all(
        "SELECT run_id FROM run_steps WHERE kind IN ('started', 'delivered', 'outcome') \
         GROUP BY run_id, kind HAVING count(*) > 1",
    );
    assert_eq!(doubled, [] as [Uuid; 0]);
}

fn assert_each_came_after_what_it_waited_for(scene: &mut Scene) {
    let early: Vec<Uuid> = scene.all(
        "SELECT t.id FROM task_dependencies d JOIN tasks t ON t.id = d.task_id \
         JOIN tasks o ON o.id = d.depends_on WHERE t.started_at < o.completed_at",
    );
    assert_eq!(early, [] as [Uuid; 0]);
    let edges = "SELECT count(*) > 100 FROM task_dependencies";
    assert_eq!(scene.all::<bool>(edges), [true]);
}
