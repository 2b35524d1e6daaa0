//! Thousands of rows of everything that an old node can leave: the start does not wait for them, new work gets its
//! turn, and all of it is dealt with in the end, a page at a time.

use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::recovery::scene::{CHECK, QUICK, add, assert_done_once, is_over, notes, wait};
use crate::support::{Home, wait_until};

const MANY: usize = 10_000;
/// Each of these is parked with its evidence, its audit and what waits for it.
const RUNS: usize = 2_000;

/// A node that died long ago.
const NODE: &str = "INSERT INTO runtime_nodes (id, kind, pid, boot_id, host, data_dir, heartbeat_at) \
     SELECT '0193a2f0-1111-7abc-8def-000000000001', 'daemon', 4194303, $1, $2, '/nowhere', \
         now() - interval '1 day'";
/// What it ran when it died: taken over twice before, without a step.
const EXECUTIONS: &str = "\
    WITH mine AS (UPDATE tasks SET status = 'running', attempts = 1, started_at = now(), updated_at = now() \
        WHERE title = 'run' RETURNING id), \
    executions AS (INSERT INTO task_executions (task_id, agent_type, status, attempt, node_id, lease_epoch, \
            lease_expires_at, reclaims) \
        SELECT id, 'general', 'running', 1, '0193a2f0-1111-7abc-8def-000000000001', 3, \
            now() - interval '1 day', 2 FROM mine RETURNING id, task_id) \
    INSERT INTO agent_tasks (agent_id, task_id, prompt, status, started_at, execution_id, attempt) \
    SELECT (SELECT id FROM codegen_agents WHERE name = 'General Assistant'), task_id, 'run', 'running', \
        now(), id, 1 FROM executions";
/// Its children, of runs that were over by then: all with the number of a process that is alive, and is another one.
const CHILDREN: &str = "\
    WITH run AS (INSERT INTO agent_tasks (agent_id, task_id, prompt, status, started_at, completed_at, attempt) \
        SELECT (SELECT id FROM codegen_agents WHERE name = 'General Assistant'), id, 'run', 'completed', now(), \
            now(), 1 FROM tasks WHERE title = 'batch' LIMIT 1 RETURNING id) \
    INSERT INTO child_processes (node_id, execution_id, lease_epoch, run_id, pid, start_time, argv_head) \
    SELECT '0193a2f0-1111-7abc-8def-000000000001', NULL, 1, run.id, $1, 1, 'sh' \
    FROM run, generate_series(1, $2)";
/// Batches that it claimed and did not end.
const BATCHES: &str = "\
    INSERT INTO task_leases (node_id, expires_at, ids) \
    SELECT '0193a2f0-1111-7abc-8def-000000000001', now() - interval '1 day', ARRAY[id] FROM tasks \
    WHERE title = 'batch'";

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_rows_of_a_dead_node_hold_nobody_up() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let repo = repository.to_str().unwrap();
    let line = |title: &str, driver: &str| {
        let mut line = json!({ "repo": repo, "prompt": title, "driver": driver });
        if driver == "command" {
            line["command"] = json!(["true"]);
        }
        line.to_string()
    };
    let lines: Vec<String> = [(line("run", "command"), RUNS), (line("batch", "none"), MANY)]
        .into_iter()
        .flat_map(|(line, count)| std::iter::repeat_n(line, count))
        .collect();
    let file = home.folder.path().join("many.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    home.run(&["task", "add", "--file", file.to_str().unwrap()]).ok();
    let stranger = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn();
    let mut stranger = stranger.unwrap();

    let mut hand = wait(PgConnection::connect(&home.database_url())).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let namespace = std::fs::metadata("/proc/self/ns/pid").unwrap().ino();
    let boot = format!("{}/{namespace}", boot.trim());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    wait(sqlx::query(NODE).bind(boot).bind(host.trim()).execute(&mut hand)).unwrap();
    wait(hand.execute("DELETE FROM ready_tasks")).unwrap();
    wait(hand.execute(EXECUTIONS)).unwrap();
    wait(hand.execute(BATCHES)).unwrap();
    let many = i32::try_from(MANY).unwrap();
    let pid = i32::try_from(stranger.id()).unwrap();
    wait(sqlx::query(CHILDREN).bind(pid).bind(many).execute(&mut hand)).unwrap();

    let mut daemon = home.up();
    let options = ["--command", QUICK, "--check", CHECK, "--priority", "critical", "Write two"];
    let new = add(&home, &repository, &options);
    wait_until("new work gets its turn", || is_over(&home, &new));
    let mut count = |what: &'static str| -> i64 {
        wait(sqlx::query_scalar(what).fetch_one(&mut hand)).unwrap()
    };
    for left in [
        "SELECT count(*) FROM child_processes WHERE ended_at IS NULL",
        "SELECT count(*) FROM task_leases",
        "SELECT count(*) FROM tasks WHERE title = 'batch' AND status <> 'completed'",
        "SELECT count(*) FROM task_executions WHERE status = 'running'",
    ] {
        let mut before = count(left);
        while before > 0 {
            let mut now = before;
            wait_until(left, || {
                now = count(left);
                now < before
            });
            before = now;
        }
    }
    let runs = i64::try_from(RUNS).unwrap();
    assert_eq!(count("SELECT count(*) FROM tasks WHERE status = 'parked'"), runs);
    let sentences = "SELECT count(*) FROM tasks WHERE status = 'parked' \
         AND error LIKE 'taken over 3 times in a row without a new step%'";
    assert_eq!(count(sentences), runs);
    assert!(stranger.try_wait().unwrap().is_none(), "its number is another process's by now");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_done_once(&home, &repository, &new);
    assert_eq!(daemon.stop(), 0);
}
