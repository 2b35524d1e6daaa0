//! The machine's clock jumps back a day: between two lives, and in the middle of one. To the database, everything that
//! it has written down then is of tomorrow.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::scene::by_hand;
use crate::bad_input::clock::shim;
use crate::recovery::scene::{
    CHECK, GATED, QUICK, add, add_command, assert_done_once, delivered_note, is_over, notes, open,
    row, wait, wait_at_gate,
};
use crate::support::{Home, wait_until};

/// All that the database has written down is of tomorrow, as after its own clock has jumped back a day.
fn jump(home: &Home) {
    let mut hand = by_hand(home);
    let columns = "SELECT c.table_name, c.column_name FROM information_schema.columns c \
         JOIN information_schema.tables t USING (table_schema, table_name) \
         WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.data_type LIKE 'timestamp%' \
             AND c.table_name IN ('tasks', 'task_executions', 'agent_tasks', 'runtime_nodes', 'task_leases', \
                 'child_processes', 'run_steps', 'model_calls')";
    let columns: Vec<(String, String)> =
        wait(sqlx::query_as(columns).fetch_all(&mut hand)).unwrap();
    assert!(columns.len() > 15, "{columns:?}");
    for (table, column) in columns {
        let later = format!("UPDATE {table} SET {column} = {column} + interval '1 day'");
        wait(hand.execute(AssertSqlSafe(later))).unwrap();
    }
}

fn lease(command: &mut std::process::Command) {
    command.env("JOURNEYMAN__SCHEDULER__LEASE_S", "2").env("JOURNEYMAN__SCHEDULER__POLL_MS", "200");
}

/// When a node was heard of last, and whether that is still to come.
fn heartbeat(home: &Home) -> (DateTime<Utc>, bool) {
    let mut looker = wait(PgConnection::connect(&home.database_url())).unwrap();
    let last = "SELECT heartbeat_at, heartbeat_at > now() + interval '1 minute' FROM runtime_nodes \
         ORDER BY id DESC LIMIT 1";
    wait(sqlx::query_as(last).fetch_one(&mut looker)).unwrap()
}

fn set(file: &Path, shift_s: i64) {
    std::fs::write(file, shift_s.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_back_a_day_stops_nothing() {
    for within_a_life in [false, true] {
        let home = Home::new().await;
        let shim = shim(home.folder.path());
        let file = home.folder.path().join("shift");
        set(&file, 0);
        let clock = |command: &mut std::process::Command| {
            lease(command);
            command.env("LD_PRELOAD", &shim).env("TEST_CLOCK_FILE", &file);
        };
        let repository = notes(&home, "notes");
        let mut first = home.up_with(clock);
        // Ten minutes are enough, and a day more or less is no part of them.
        let options = ["--command", GATED, "--check", CHECK, "--time", "600", "Write two"];
        let task = add(&home, &repository, &options);
        let mut tree = wait_at_gate(&home, &home.data(), &task);
        if !within_a_life {
            first.kill();
        }
        set(&file, -86_400);
        jump(&home);
        let mut daemon = if within_a_life { first } else { home.up_with(clock) };
        if within_a_life {
            wait_until("its heartbeat is of today", || !heartbeat(&home).1);
            let (before, _) = heartbeat(&home);
            wait_until("it has renewed its leases for a while", || {
                heartbeat(&home).0 - before > TimeDelta::seconds(3)
            });
        } else {
            tree = wait_at_gate(&home, &home.data(), &task);
        }
        let other = add_command(&home, &repository, QUICK, CHECK);
        wait_until("new work is done", || is_over(&home, &other));
        open(&tree);
        wait_until("it is done", || is_over(&home, &task));
        for task in [&task, &other] {
            assert_done_once(&home, &repository, task);
            assert_eq!(delivered_note(&home, &repository, task), "one\ntwo");
        }
        let executions = wait(home.store().executions().of_task(row(&home, &task).id)).unwrap();
        let epoch = if within_a_life { 1 } else { 2 };
        assert_eq!((executions.len(), executions[0].lease_epoch), (1, epoch));
        let took = executions[0].duration_ms.unwrap();
        assert!((0..86_000_000).contains(&took), "{took}");
        let shown = home.run(&["task", "show", &task]).ok().stdout;
        assert!(!shown.contains("took      -"), "{shown}");
        assert_eq!(daemon.stop(), 0);
    }
}
