//! A node whose clock is a day off: leases, wake times and heartbeats are the database's alone, so that
//! it takes nothing from others, and wakes nothing early or never.

use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::recovery::scene::{
    CHECK, GATED, QUICK, add, add_command, assert_done_once, notes, open, row, wait, wait_at_gate,
};
use crate::support::{Daemon, Home, wait_until};

/// Shifts what the C library says of the time of day, by so many seconds or by what a file says at that moment; the clock
/// that only runs stays as it is.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long shift(void) {
    const char *text = getenv("TEST_CLOCK_SHIFT_S"), *file = getenv("TEST_CLOCK_FILE");
    char found[32] = "";
    int opened = file ? open(file, O_RDONLY) : -1;
    if (opened < 0) return text ? atol(text) : 0;
    if (read(opened, found, sizeof found - 1) < 0) found[0] = 0;
    close(opened);
    return atol(found);
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, at);
    if (!done && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += shift();
    return done;
}
time_t time(time_t *out) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (out) *out = at.tv_sec;
    return at.tv_sec;
}
int gettimeofday(struct timeval *out, void *zone) {
    struct timespec at;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &at);
    out->tv_sec = at.tv_sec;
    out->tv_usec = at.tv_nsec / 1000;
    return 0;
}
"#;
const DAY_S: i64 = 86_400;

/// The shim as a library, by the C compiler that Rust links with.
pub(crate) fn shim(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    std::fs::write(&source, SHIM).unwrap();
    let arguments = ["-shared", "-fPIC", "-O1", "-o"];
    let mut command = Command::new("cc");
    command.args(arguments).arg(&library).arg(&source).arg("-ldl");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    library
}

/// Long enough for a machine under load to renew it.
fn lease(command: &mut Command) {
    command.env("JOURNEYMAN__SCHEDULER__LEASE_S", "4").env("JOURNEYMAN__SCHEDULER__POLL_MS", "200");
}

struct Scene {
    home: Home,
    connection: PgConnection,
    shim: PathBuf,
}

impl Scene {
    async fn new() -> Self {
        let home = Home::new().await;
        let shim = shim(home.folder.path());
        let connection = PgConnection::connect(&home.database_url()).await.unwrap();
        Self { home, connection, shim }
    }

    fn skew(&self, command: &mut Command, shift_s: i64) {
        command.env("LD_PRELOAD", &self.shim).env("TEST_CLOCK_SHIFT_S", shift_s.to_string());
    }

    fn up(&self, name: &str, shift_s: i64) -> Daemon {
        self.home.up_beside(name, |command| {
            lease(command);
            self.skew(command, shift_s);
        })
    }

    fn data(&self, name: &str) -> PathBuf {
        self.home.folder.path().join(name)
    }

    /// The id of a node and its last heartbeat, as the database has them.
    fn node(&mut self, data: &Path) -> (Uuid, DateTime<Utc>) {
        let node = sqlx::query_as(
            "SELECT id, heartbeat_at FROM runtime_nodes WHERE data_dir = $1 ORDER BY id DESC LIMIT 1",
        );
        wait(node.bind(data.to_str().unwrap()).fetch_one(&mut self.connection)).unwrap()
    }

    fn now(&mut self) -> DateTime<Utc> {
        wait(sqlx::query_scalar("SELECT now()").fetch_one(&mut self.connection)).unwrap()
    }

    /// Waits until both nodes have looked for work over more than two leases.
    fn wait_for_looks(&mut self, nodes: [&Path; 2]) {
        for data in nodes {
            let (_, before) = self.node(data);
            wait_until("the node has renewed its leases for a while", || {
                self.node(data).1 - before > TimeDelta::seconds(9)
            });
            let (_, heartbeat) = self.node(data);
            let age = self.now() - heartbeat;
            assert!(age >= TimeDelta::zero() && age < TimeDelta::minutes(1), "{age}");
        }
    }

    fn owner(&mut self, task: &str) -> (Option<Uuid>, i64) {
        let id: Uuid = task.parse().unwrap();
        let owner =
            sqlx::query_as("SELECT node_id, lease_epoch FROM task_executions WHERE task_id = $1");
        wait(owner.bind(id).fetch_one(&mut self.connection)).unwrap()
    }
}

/// The program of this test's shim does shift a clock: else the rest would prove nothing.
#[track_caller]
fn assert_shifted(scene: &Scene, shift_s: i64) {
    let mut command = Command::new("date");
    scene.skew(command.arg("+%s"), shift_s);
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let shifted: i64 = said.trim().parse().unwrap();
    let off = shifted - Utc::now().timestamp() - shift_s;
    assert!(off.abs() < 3600, "{off}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_wrong_clock_takes_no_lease_and_loses_none() {
    for shift_s in [DAY_S, -DAY_S] {
        let mut scene = Scene::new().await;
        assert_shifted(&scene, shift_s);
        let repository = notes(&scene.home, "notes");
        let right = scene.home.data();
        let mut first = scene.home.up_with(lease);
        let held = add_command(&scene.home, &repository, GATED, CHECK);
        let tree = wait_at_gate(&scene.home, &right, &held);
        let mut wrong = scene.up("skewed", shift_s);
        let skewed = scene.data("skewed");
        scene.wait_for_looks([&right, &skewed]);
        let (node, _) = scene.node(&right);
        assert_eq!(scene.owner(&held), (Some(node), 1), "{shift_s}: nobody took it");
        open(&tree);
        wait_until("it is done", || row(&scene.home, &held).status.is_final());
        assert_done_once(&scene.home, &repository, &held);
        assert_eq!(first.stop(), 0);

        // The other way about: the one with the right clock takes nothing of the other.
        let held = add_command(&scene.home, &repository, GATED, CHECK);
        let tree = wait_at_gate(&scene.home, &skewed, &held);
        let _first = scene.home.up_with(lease);
        scene.wait_for_looks([&right, &skewed]);
        let (node, _) = scene.node(&skewed);
        assert_eq!(scene.owner(&held), (Some(node), 1), "{shift_s}: nobody took it");
        open(&tree);
        wait_until("it is done", || row(&scene.home, &held).status.is_final());
        assert_eq!((row(&scene.home, &held).attempts, scene.owner(&held).1), (1, 1));
        assert_eq!(wrong.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_by_the_databases_clock() {
    for shift_s in [DAY_S, -DAY_S] {
        let mut scene = Scene::new().await;
        let repository = notes(&scene.home, "notes");
        let task = add_command(&scene.home, &repository, QUICK, CHECK);
        let far = add_command(&scene.home, &repository, QUICK, CHECK);
        // One that comes due in a moment, and one that comes due within the day that the clock is off.
        let wait_for = "UPDATE tasks SET status = 'waiting', waiting_for = 'retry_at', updated_at = now(), \
             wake_at = now() + make_interval(secs => CASE WHEN id = $1 THEN 4 ELSE 3600 END)";
        let id: Uuid = task.parse().unwrap();
        wait(sqlx::query(wait_for).bind(id).execute(&mut scene.connection)).unwrap();
        let due = row(&scene.home, &task).wake_at.unwrap();
        let _wrong = scene.up("skewed", shift_s);
        wait_until("it is done", || row(&scene.home, &task).status.is_final());
        let done = row(&scene.home, &task);
        assert_eq!((done.status.as_str(), done.attempts), ("completed", 1), "{shift_s}");
        assert!(done.started_at.unwrap() >= due, "{shift_s}: {done:?}");
        assert_eq!(row(&scene.home, &far).status.as_str(), "waiting", "{shift_s}");
        // What the node itself puts off comes due by the same clock: the name of the host is not found.
        let program = "sh -c 'echo \"curl: (6) Could not resolve host: example.org\" >&2; exit 6'";
        let failing = add_command(&scene.home, &repository, program, CHECK);
        wait_until("its first attempt is over", || {
            let task = row(&scene.home, &failing);
            task.status.is_final() || task.wake_at.is_some()
        });
        if let Some(wake_at) = row(&scene.home, &failing).wake_at {
            let delay = wake_at - row(&scene.home, &failing).updated_at;
            assert!(
                delay >= TimeDelta::zero() && delay < TimeDelta::hours(1),
                "{shift_s}: {delay}"
            );
        }
    }
}

/// Ids begin with the time of the node that made them. Lists are in their order, whole, and end; what was
/// added is claimed, whoever's clock its id is of.
#[tokio::test(flavor = "multi_thread")]
async fn ids_of_another_day_are_listed_and_claimed_like_all_others() {
    let scene = Scene::new().await;
    let repository = notes(&scene.home, "notes");
    let mut ids = Vec::new();
    for (number, shift_s) in [0, DAY_S, -DAY_S, 0, DAY_S, -DAY_S, 0].into_iter().enumerate() {
        let title = format!("{number}");
        let repo = repository.to_str().unwrap();
        let options = ["--command", QUICK, "--check", CHECK, &title];
        let mut command = scene.home.command(&["task", "add", "--json", "--repo", repo]);
        scene.skew(command.args(options), shift_s);
        let added: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        ids.push(added["tasks"][0]["id"].as_str().unwrap().to_owned());
    }
    let mut newest_first = ids.clone();
    newest_first.sort();
    newest_first.reverse();
    assert_ne!(newest_first.first(), ids.last(), "their ids say another time");
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut arguments = vec!["task", "list", "--json", "--limit", "2"];
        arguments.extend(cursor.iter().flat_map(|cursor| ["--cursor", cursor]));
        let page = scene.home.run(&arguments).ok().json();
        let tasks = page["tasks"].as_array().unwrap();
        seen.extend(tasks.iter().map(|task| task["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = Some(next.to_owned());
    }
    assert_eq!(seen, newest_first);
    let mut right = scene.home.up_with(lease);
    let mut wrong = scene.up("skewed", -DAY_S);
    for id in &ids {
        wait_until("all are done", || row(&scene.home, id).status.is_final());
        let done = row(&scene.home, id);
        assert_eq!((done.status.as_str(), done.attempts), ("completed", 1));
        let found = scene.home.task(&id[id.len() - 8..]);
        assert_eq!(found["id"], Value::from(id.as_str()));
    }
    assert_eq!((right.stop(), wrong.stop()), (0, 0));
    let audit = scene.home.run(&["audit", "verify", "--json"]).ok().json();
    assert_eq!(audit["ok"], true, "{audit}");
    let behind = add(&scene.home, &repository, &["--driver", "none", "--after", &ids[1], "behind"]);
    assert_eq!(row(&scene.home, &behind).status.as_str(), "ready");
}
