//! The database goes away at a place where it must cost nothing: no reclaim, no report, and no work of somebody else's.

use std::process::Child;
use std::time::Duration;

use journeyman_chaos::stage::Stage;
use journeyman_chaos::trouble::Trouble;
use journeyman_chaos::world::Options;
use journeyman_chaos::{Play, World, judge};
use journeyman_runtime::client::Client;
use journeyman_runtime::socket;
use journeyman_testkit::overdue::Watch;
use journeyman_testkit::{database, processes};
use rustix::process::Signal;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::sleep;

use super::start::{daemon, is_stopped, signal, until};
use super::{program, watched};

const SOUND: [&str; 2] = ["--command", "sh -c 'echo two >> note.txt'"];
const UNSOUND: [&str; 2] = ["--command", "sh -c 'echo three >> note.txt'"];
const LONG: [&str; 2] = ["--command", "sleep 60"];

async fn world(options: Options) -> (World, Watch) {
    database::init(program());
    let mut world = World::new(&program(), options).await.unwrap();
    world.prepare(Trouble::Wire, None).unwrap();
    let watch = watched(&world);
    (world, watch)
}

/// Adds a task on the repository of a stage; its id.
fn add(stage: &Stage<'_>, work: [&str; 2]) -> String {
    let repository = stage.repository.to_str().unwrap();
    let mut command = stage.world.command(&["task", "add", "--json", "--repo", repository]);
    // The user's own way to the database is whole.
    command.env("JOURNEYMAN__DATABASE__URL", stage.world.url());
    command.env("JOURNEYMAN_DATA", stage.world.folder().join("user"));
    let added = command.args(work).arg("write").output().unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let document: Value = serde_json::from_slice(&added.stdout).unwrap();
    document["tasks"][0]["id"].as_str().unwrap().to_owned()
}

/// One value of the first row that a query gives.
async fn ask<T>(world: &World, sql: String) -> Option<T>
where
    T: for<'a> sqlx::Decode<'a, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let mut database = PgConnection::connect(&world.url()).await.unwrap();
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_optional(&mut database).await.unwrap()
}

/// Cuts a daemon that stopped itself at a point off from the database for a while.
async fn outage_of(world: &World, stopped: &Child) {
    until("it stops at the point", async || is_stopped(stopped)).await;
    world.wire().unwrap().tear();
    signal(stopped, Signal::CONT);
    sleep(Duration::from_millis(1_500)).await;
    world.wire().unwrap().mend();
}

/// What a task has come to.
async fn end_of(world: &World, task: &str) -> String {
    let sql = format!(
        "SELECT status::text FROM tasks WHERE id = '{task}' AND status IN ('completed', 'failed', 'parked', 'cancelled')"
    );
    let mut end = None;
    until("the task ends", async || {
        end = ask::<String>(world, sql.clone()).await;
        end.is_some()
    })
    .await;
    end.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_finds_no_database_at_its_start_has_lost_no_life() {
    let (world, _watch) = world(Options::default()).await;
    let stage = Stage::set(&world, Play::named("steady").unwrap(), "begins").unwrap();
    let point = "JOURNEYMAN_FAILPOINT=queue.claim:after:1=stop";
    let mut first = daemon(&world, &[point]);
    let task = add(&stage, SOUND);
    outage_of(&world, &first).await;
    assert_eq!(end_of(&world, &task).await, "completed");
    let lives = format!(
        "SELECT concat_ws(' ', count(*), max(reclaims), max(attempt)) FROM task_executions WHERE task_id = '{task}'"
    );
    assert_eq!(ask::<String>(&world, lives).await.unwrap(), "1 0 1");
    first.kill().unwrap();
    first.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_judged_when_the_database_is_back() {
    let (world, _watch) = world(Options::default()).await;
    let stage = Stage::set(&world, Play::named("steady").unwrap(), "judged").unwrap();
    let mut first = daemon(&world, &["JOURNEYMAN_FAILPOINT=error.record:before:1=stop"]);
    let task = add(&stage, UNSOUND);
    outage_of(&world, &first).await;
    assert_eq!(end_of(&world, &task).await, "failed");
    let reports = format!("SELECT count(*) FROM error_reports WHERE task_id = '{task}'");
    assert_ne!(ask::<i64>(&world, reports).await, Some(0));
    first.kill().unwrap();
    first.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_says_nothing_does_not_keep_a_daemon_from_its_end() {
    let (world, _watch) = world(Options::default()).await;
    let mut first = daemon(&world, &[]);
    let socket = socket::path(&world.data()).unwrap();
    until("it answers", async || Client::connect(&socket).await.is_some()).await;
    world.wire().unwrap().silence();
    signal(&first, Signal::TERM);
    // The limit is that of `until`.
    until("it ends", async || first.try_wait().unwrap().is_some()).await;
}

/// By its own clock: it cannot ask whether its leases are over.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_stops_its_work_before_another_one_has_it() {
    let (world, _watch) = world(Options { lease_s: 5, ..Options::default() }).await;
    let stage = Stage::set(&world, Play::named("steady").unwrap(), "cut-off").unwrap();
    let mut first = daemon(&world, &[]);
    let task = add(&stage, LONG);
    let run = format!("SELECT id::text FROM agent_tasks WHERE task_id = '{task}'");
    let mut runs = Vec::new();
    until("its program runs", async || {
        runs.extend(ask::<String>(&world, run.clone()).await);
        judge::processes_of(&runs).iter().any(|pid| says(*pid, "cmdline", "sleep\x0060"))
    })
    .await;
    let data = format!("JOURNEYMAN_DATA={}", world.data_of(1).display());
    let whole = format!("JOURNEYMAN__DATABASE__URL={}", world.url());
    let mut second = daemon(&world, &[&data, &whole]);
    let nodes = "SELECT count(*) FROM runtime_nodes WHERE stopped_at IS NULL AND kind = 'daemon'";
    until("the second one is there", async || ask(&world, nodes.to_owned()).await == Some(2_i64))
        .await;
    // So long it takes at the most until the first one has seen the second one.
    sleep(Duration::from_secs(3)).await;
    world.wire().unwrap().tear();
    let epoch = format!("SELECT lease_epoch FROM task_executions WHERE task_id = '{task}'");
    until("it is taken over", async || ask(&world, epoch.clone()).await == Some(2_i64)).await;
    let mine = "JOURNEYMAN_LEASE_EPOCH=1";
    let alive: Vec<i32> =
        judge::processes_of(&runs).into_iter().filter(|pid| says(*pid, "environ", mine)).collect();
    assert_eq!(alive, Vec::<i32>::new());
    for daemon in [&mut first, &mut second] {
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }
    for pid in judge::processes_of(&runs) {
        processes::kill(pid);
    }
}

/// Whether a file of a process has this text; without the process there is none.
fn says(pid: i32, file: &str, text: &str) -> bool {
    let found = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    found.windows(text.len()).any(|part| part == text.as_bytes())
}
