//! A file of 100,000 tasks: all of it, or nothing with the line named.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::{notes, refuse, tasks};
use crate::support::{Home, wait_until};

const LINES: usize = 100_000;
const BROKEN: usize = 57_312;
/// Lines of a graph, in layers of a hundred.
const LINKED: usize = 20_000;

/// A file of so many good tasks, but for the line that `broken` has.
fn write(home: &Home, repository: &Path, broken: Option<(usize, &str)>) {
    let mut text = String::new();
    for number in 1..=LINES {
        match broken {
            Some((line, words)) if line == number => text.push_str(words),
            Some(_) | None => {
                let line = json!({ "repo": repository, "prompt": format!("task {number}"), "driver": "none" });
                write!(text, "{line}").unwrap();
            }
        }
        text.push('\n');
    }
    std::fs::write(home.folder.path().join("many.jsonl"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_thousand_lines_the_broken_one_is_named() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    write(&home, &repository, Some((BROKEN, r#"{"repo":"x","prompt":"y""#)));
    let refused = refuse(&home, &["task", "add", "--file", "many.jsonl"], 2, "usage");
    let said = format!("many.jsonl, line {BROKEN}: EOF while parsing an object at column ");
    assert!(refused.message.starts_with(&said), "{refused:?}");
    assert!(refused.message.ends_with("; nothing was added"), "{refused:?}");
    // One that is a task, but makes no sense, is found by the runtime.
    let senseless =
        json!({ "repo": repository, "prompt": "y", "driver": "none", "priority": "soon" });
    write(&home, &repository, Some((BROKEN, &senseless.to_string())));
    let refused = refuse(&home, &["task", "add", "--file", "many.jsonl"], 2, "usage");
    let said = format!("task {BROKEN}: 'soon' is no priority; known are ");
    assert!(refused.message.starts_with(&said), "{refused:?}");
    assert_eq!(tasks(&home), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_lines_are_added_at_once() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    write(&home, &repository, None);
    let mut daemon = home.up();
    let added = home.run(&["task", "add", "--json", "--file", "many.jsonl"]).ok().json();
    let titles: Vec<_> = added["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["title"].as_str().unwrap())
        .collect();
    let expected: Vec<_> = (1..=LINES).map(|number| format!("task {number}")).collect();
    assert_eq!(titles, expected, "in the order of the file");
    let mut connection = PgConnection::connect(&home.database_url()).await.unwrap();
    wait_until("all are done", || {
        let left = sqlx::query_scalar("SELECT count(*) FROM tasks WHERE status <> 'completed'");
        let left: i64 = crate::recovery::scene::wait(left.fetch_one(&mut connection)).unwrap();
        left == 0
    });
    assert_eq!(daemon.stop(), 0);
    crate::queue::invariants::assert_drained(&mut connection).await;
}

/// Each waits for two of the layer before it: what looks for cycles looks at each edge once.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_graph_is_added_at_once() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let mut text = String::new();
    for number in 0..LINKED {
        let layer = number / 100 * 100;
        let before = [number % 100, (number + 1) % 100].map(|place| layer.checked_sub(100 - place));
        let after: Vec<_> = before.into_iter().flatten().map(|other| other.to_string()).collect();
        let task = json!({ "key": number.to_string(), "repo": repository, "prompt": "x",
            "driver": "none", "after": after });
        writeln!(text, "{task}").unwrap();
    }
    std::fs::write(home.folder.path().join("graph.jsonl"), text).unwrap();
    let _daemon = home.up_with(|command| {
        command.env("JOURNEYMAN__SYSTEM__MAINTENANCE_MODE", "true");
    });
    home.run(&["task", "add", "--file", "graph.jsonl"]).ok();
    let mut connection = PgConnection::connect(&home.database_url()).await.unwrap();
    let counts: (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE status = 'ready'), count(*) FILTER (WHERE status = 'waiting'), \
             (SELECT count(*) FROM task_dependencies) FROM tasks",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    let [waiting, edges] = [LINKED - 100, 2 * (LINKED - 100)].map(|n| i64::try_from(n).unwrap());
    assert_eq!(counts, (100, waiting, edges));
    crate::queue::invariants::assert_holds(&mut connection).await;
}
