//! Kill -9 of the daemon at each step's border and inside a stream: what was journaled is never asked
//! for again.

use std::time::Duration;

use journeyman_domain::model::Wire;
use journeyman_domain::status::Status;
use journeyman_testkit::model::{Misbehaviour, Reply, Script};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::scene::{Scene, note};
use crate::recovery::scene::{row, run_of};
use crate::support::{Home, signal, wait_until};

fn add(scene: &Scene, repository: &std::path::Path) -> String {
    let path = repository.to_str().unwrap();
    let added = scene.home.run(&["task", "add", "--json", "--repo", path, "Make it two"]).ok();
    added.json()["tasks"][0]["id"].as_str().unwrap().to_owned()
}

fn is_over(scene: &Scene, task: &str) -> bool {
    let status = scene.home.task(task)["status"].as_str().unwrap().to_owned();
    ["completed", "failed", "timeout", "parked"].contains(&status.as_str())
}

/// The daemon is killed as soon as the journal has `entries` entries.
async fn killed_after(entries: usize) -> bool {
    let names = note(&Home::new().await);
    let script = Script::turns([
        Reply::call("read", &json!({ "path": "note.txt" })),
        names.edit("one", "three"),
        Reply::call("bash", &json!({ "command": "cat note.txt" })),
        Reply::text("Done."),
        names.edit("three", "two"),
        Reply::text("Done now."),
    ]);
    let scene = Scene::new(Wire::OpenAiChat, script).await;
    let broken = note(&scene.home);
    let mut daemon = scene.home.up();
    let task = add(&scene, &broken.repository);
    let store = scene.home.store().clone();
    let id = task.parse().unwrap();
    let mut reached = false;
    loop {
        let steps = store.journal().tail(id, None, 1_000).await.unwrap();
        if steps.len() >= entries {
            reached = true;
        }
        if reached || steps.iter().any(|step| step.kind == "outcome") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    daemon.kill();
    let _daemon = scene.home.up();
    wait_until("the task is over", || is_over(&scene, &task));
    let done = scene.home.task(&task);
    assert_eq!((&done["status"], &done["attempts"]), (&json!("completed"), &json!(1)), "{done}");
    broken.is_mended(&scene.home, &done);
    assert_eq!(scene.server.violations(), [""; 0]);
    // A journaled answer is never asked for again; one whose way into the journal was cut off may be,
    // and there is at most one of those.
    let again: usize = scene.server.all_answered().values().map(|times| times - 1).sum();
    assert!(again <= 1, "{again} answers were asked for again");
    let journal = store.journal().tail(id, None, 1_000).await.unwrap();
    let answers = journal.iter().filter(|step| step.kind == "model_response").count();
    assert_eq!(answers, 6);
    reached
}

#[tokio::test(flavor = "multi_thread")]
async fn at_each_border_of_a_step() {
    for entries in 1..=26 {
        if !killed_after(entries).await {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_a_stream() {
    let names = note(&Home::new().await);
    let script = Script::turns([
        Reply::call("read", &json!({ "path": "note.txt" })),
        names.edit("one", "two"),
        Reply::text("Done."),
    ])
    .misbehave_at(1, Misbehaviour::HangStream { after_events: 2 });
    let scene = Scene::new(Wire::AnthropicMessages, script).await;
    let broken = note(&scene.home);
    let mut daemon = scene.home.up();
    let task = add(&scene, &broken.repository);
    assert!(scene.server.wait_until(Duration::from_mins(1), |seen| seen.len() == 2));
    std::thread::sleep(Duration::from_millis(200));
    daemon.kill();
    let _daemon = scene.home.up();
    wait_until("the task is over", || is_over(&scene, &task));
    broken.is_mended(&scene.home, &scene.home.task(&task));
    scene.nothing_paid_twice();
    assert_eq!(scene.server.requests().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_the_next_try_outlives_the_daemon() {
    let names = note(&Home::new().await);
    let script = names.mended_at_once().misbehave_at(0, Misbehaviour::rate_limit_s(8));
    let scene = Scene::new(Wire::OpenAiResponses, script).await;
    let broken = note(&scene.home);
    let mut daemon = scene.home.up();
    let task = add(&scene, &broken.repository);
    let store = scene.home.store().clone();
    let waits = || async {
        let runs = store.runs().of_task(task.parse().unwrap()).await.unwrap();
        let calls = store.calls().of_request(runs.first()?.id, 2).await.unwrap();
        calls.first().and_then(|call| call.next_attempt_at)
    };
    let mut due = None;
    while due.is_none() {
        due = waits().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    daemon.kill();
    let _daemon = scene.home.up();
    wait_until("the task is over", || is_over(&scene, &task));
    broken.is_mended(&scene.home, &scene.home.task(&task));
    scene.nothing_paid_twice();
    let requests = scene.server.requests();
    assert_eq!(requests.len(), 3);
    let runs = store.runs().of_task(task.parse().unwrap()).await.unwrap();
    let tries = store.calls().of_request(runs[0].id, 2).await.unwrap();
    assert_eq!(tries.iter().map(|one| one.attempt).collect::<Vec<_>>(), [1, 2]);
    assert!(tries[1].started_at >= due.unwrap() - chrono::TimeDelta::milliseconds(2), "{tries:?}");
}

/// A node that fell asleep just before it asked finds its run with another one, and pays for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn asleep_just_before_it_asks() {
    let names = note(&Home::new().await);
    let script = Script::turns([
        Reply::call("read", &json!({ "path": "note.txt" })),
        names.edit("one", "two"),
        Reply::text("Done."),
    ]);
    let scene = Scene::new(Wire::OpenAiChat, script).await;
    let short_lease = |command: &mut std::process::Command| {
        command.env("JOURNEYMAN__SCHEDULER__LEASE_S", "3");
    };
    let mut first = scene.home.up_with(|command| {
        short_lease(command);
        command.env("JOURNEYMAN_FAILPOINT", "model.call:before:2=stop");
    });
    let task = add(&scene, &note(&scene.home).repository);
    let stat = format!("/proc/{}/stat", first.child.id());
    wait_until("it stands still", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
    let _other = scene.home.up_beside("other", short_lease);
    // Not by way of a daemon that stands still.
    wait_until("the other one is done with it", || {
        row(&scene.home, &task).status == Status::Completed
    });
    signal(first.child.id(), "CONT");
    wait_until("the first one knows", || scene.home.daemon_log().contains("the lease is lost"));
    assert_eq!(first.stop(), 0, "{}", scene.home.daemon_log());
    scene.nothing_paid_twice();
}

/// Reasons of its own that a database has to refuse for a while: a time limit, a standby, no room, no memory, a disk.
const REFUSALS: &str = "CREATE SEQUENCE refusals; \
     CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ \
     DECLARE codes text[] := ARRAY['57014', '25006', '53100', '53200', '53400', '58030']; nth int; BEGIN \
         nth := nextval('refusals'); \
         IF nth <= 6 THEN RAISE EXCEPTION 'not now' USING ERRCODE = codes[nth]; END IF; \
         RETURN NEW; END $$; \
     CREATE TRIGGER refuse BEFORE INSERT ON run_steps FOR EACH ROW WHEN (NEW.kind = 'model_response') \
         EXECUTE FUNCTION refuse()";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_database_refuses_for_a_while_is_paid_once() {
    let names = note(&Home::new().await);
    let script = Script::turns([names.edit("one", "two"), Reply::text("Done.")]);
    let scene = Scene::new(Wire::OpenAiChat, script).await;
    let mut database = PgConnection::connect(&scene.home.database_url()).await.unwrap();
    database.execute(REFUSALS).await.unwrap();
    let mut daemon = scene.home.up();
    let task = add(&scene, &note(&scene.home).repository);
    wait_until("it is over", || row(&scene.home, &task).status.is_final());
    assert_eq!(row(&scene.home, &task).status, Status::Completed, "{}", scene.home.daemon_log());
    assert_eq!(row(&scene.home, &task).attempts, 1);
    scene.nothing_paid_twice();
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_changed_between_two_lives_are_the_journals_again_and_it_is_said() {
    let names = note(&Home::new().await);
    let script = names.mended_at_once();
    let scene = Scene::new(Wire::OpenAiChat, script).await;
    let broken = note(&scene.home);
    let mut first = scene.home.up_with(|command| {
        command.env("JOURNEYMAN_FAILPOINT", "model.call:before:2=kill");
    });
    let task = add(&scene, &broken.repository);
    wait_until("it is killed", || first.child.try_wait().unwrap().is_some());
    let run = run_of(&scene.home, &task).to_string();
    let tree = scene.home.data().join("runs").join(&run).join("tree");
    std::fs::write(tree.join("note.txt"), "theirs\n").unwrap();
    std::fs::write(tree.join("theirs.txt"), "theirs\n").unwrap();
    let _second = scene.home.up();
    wait_until("the task is over", || is_over(&scene, &task));
    broken.is_mended(&scene.home, &scene.home.task(&task));
    scene.nothing_paid_twice();
    let log = scene.home.daemon_log();
    let mut lines = log.lines().filter(|line| line.contains(&run));
    assert!(lines.any(|line| line.contains("not those of its journal")), "{log}");
    assert!(log.contains("did not stop in order"), "{log}");
}
