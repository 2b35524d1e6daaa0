//! What is billed is counted, also where no answer came of it, and stays within what the user set.

use std::time::Duration;

use journeyman_domain::model::Wire;
use journeyman_testkit::model::{Misbehaviour, Reply, Script};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::scene::{Scene, note};
use crate::support::wait_until;

/// A model that has much to say, and whose answers break off.
fn breaking(times: usize, misbehaviour: Misbehaviour) -> Script {
    Script::turns([Reply::text("word ".repeat(2_000))]).misbehave_times(0, times, misbehaviour)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_break_off_are_billed_and_keep_within_the_budget() {
    for wire in Wire::ALL {
        let script = breaking(50, Misbehaviour::CutStream { after_events: 3 });
        let scene = Scene::with(*wire, script, "retries = 30").await;
        let prices = scene.home.folder.path().join("config/pricing.toml");
        let text = std::fs::read_to_string(&prices).unwrap();
        // Or the cache would make the later tries cheap.
        std::fs::write(&prices, text.replace("cache_read = 0.3", "cache_read = 3.0")).unwrap();
        let broken = note(&scene.home);
        let ran = scene.run(&broken.repository, &["--budget", "0.03"]);
        let task = ran.json();
        let waits = (ran.code, &task["status"], &task["waiting_for"]);
        assert_eq!(waits, (4, &json!("waiting"), &json!("budget")), "{wire} {task}");
        let cost = task["cost_usd"].as_f64().unwrap();
        assert!(cost > 0.005 && cost <= 0.03, "{wire} {cost}");
        let asked = scene.server.requests().len();
        assert!((2..=12).contains(&asked), "{wire} {asked}");
        let stats = scene.home.run(&["stats", "--json"]).ok().json();
        assert_eq!(stats["models"][0]["failures"], json!(asked), "{stats}");
        let billed = stats["models"][0]["cost_usd"].as_f64().unwrap();
        assert!((billed - cost).abs() < 1e-9, "{wire} {billed} {cost}");
        assert_eq!(scene.server.violations(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_waits_for_any_more_is_billed() {
    for wire in Wire::ALL {
        let script = breaking(1, Misbehaviour::HangStream { after_events: 12 });
        let scene = Scene::new(*wire, script).await;
        let broken = note(&scene.home);
        let _daemon = scene.home.up();
        let path = broken.repository.to_str().unwrap();
        scene.home.run(&["task", "add", "--repo", path, "Make the test pass"]).ok();
        assert!(scene.server.wait_until(Duration::from_mins(1), |seen| seen.len() == 1));
        // The answer's first events are on their way.
        std::thread::sleep(Duration::from_millis(500));
        scene.home.run(&["task", "cancel", "latest"]).ok();
        let stats = || scene.home.run(&["stats", "--json"]).ok().json();
        wait_until("the bill is there", || stats()["models"][0]["cost_usd"].is_number());
        let models = stats()["models"][0].clone();
        assert_eq!((&models["answers"], &models["failures"]), (&json!(0), &json!(0)), "{models}");
        assert!(models["cost_usd"].as_f64().unwrap() > 0.003, "{wire} {models}");
        assert!(models["output_tokens"].as_i64().unwrap() > 0, "{wire} {models}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_only_keeps_the_line_open_does_not_outlast_the_run() {
    let script = breaking(50, Misbehaviour::OnlyComments { after_events: 3 });
    let scene = Scene::with(Wire::OpenAiChat, script, "").await;
    let broken = note(&scene.home);
    let ran = scene.run(&broken.repository, &["--time", "3"]);
    let task = ran.json();
    assert_eq!((ran.code, &task["waiting_for"]), (4, &json!("budget")), "{task}");
    let error = task["error"].as_str().unwrap();
    assert!(error.contains("limit") && error.contains('3'), "{error}");
    assert_eq!(scene.server.requests().len(), 1);
    assert!(task["tokens"].as_i64().unwrap() > 1_000, "the try is billed: {task}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_was_reached_before_a_crash_is_no_consent() {
    let script = Script::by(|seen| {
        Reply::call("bash", &json!({ "command": format!("echo look {}", seen.turn) }))
    });
    let scene = Scene::new(Wire::OpenAiChat, script).await;
    scene.settings("[run]\nsteps = 3");
    let broken = note(&scene.home);
    let mut daemon = scene.home.up();
    let path = broken.repository.to_str().unwrap();
    let added = scene.home.run(&["task", "add", "--json", "--repo", path, "Look"]).ok().json();
    let id = added["tasks"][0]["id"].as_str().unwrap();
    let waits = || scene.home.task(id)["status"] == "waiting";
    wait_until("it waits", waits);
    // The same rows as if it had died between the limit and the end: its execution is taken over.
    let mut database = PgConnection::connect(&scene.home.database_url()).await.unwrap();
    let asked = scene.server.requests().len();
    scene.home.run(&["task", "resume", id]).ok();
    wait_until("three steps more", || scene.server.requests().len() > asked && waits());
    let asked = scene.server.requests().len();
    daemon.kill();
    for statement in [
        "UPDATE task_executions SET status = 'running', reclaims = 0, last_step_seq = 0, \
             lease_expires_at = now() - interval '1 hour'",
        "UPDATE agent_tasks SET status = 'running'",
        "UPDATE tasks SET status = 'running', waiting_for = NULL",
    ] {
        database.execute(statement).await.unwrap();
    }
    let _daemon = scene.home.up();
    wait_until("it waits again", waits);
    assert_eq!(scene.server.requests().len(), asked, "nobody has given it more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_runtime_has_spent_counts_for_the_day() {
    let script = Script::by(|seen| {
        Reply::call("bash", &json!({ "command": format!("echo look {}", seen.turn) }))
    });
    let scene = Scene::new(Wire::OpenAiChat, script).await;
    let file = scene.home.folder.path().join("config/journeyman.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("[model]\n", "[model]\ndaily_budget_usd = 5\n");
    std::fs::write(&file, text).unwrap();
    scene.settings("[run]\nsteps = 3");
    let broken = note(&scene.home);
    let _daemon = scene.home.up();
    let path = broken.repository.to_str().unwrap();
    let add = || scene.home.run(&["task", "add", "--repo", path, "Look"]).ok();
    let shown = || scene.home.run(&["task", "show", "latest", "--json"]).json();
    add();
    wait_until("it waits", || shown()["status"] == "waiting");
    assert!(shown()["error"].as_str().unwrap().contains("3 steps"), "{}", shown());
    let mut database = PgConnection::connect(&scene.home.database_url()).await.unwrap();
    let spent = "INSERT INTO model_calls (run_id, request_seq, attempt, provider, model, wire, \
         started_at, duration_ms, cost_nanousd) SELECT id, 99, 1, 'p', 'm', 'openai_chat', now(), 1, \
         4990000000 FROM agent_tasks LIMIT 1";
    database.execute(spent).await.unwrap();
    let asked = scene.server.requests().len();
    add();
    wait_until("it waits", || shown()["status"] == "waiting");
    assert!(shown()["error"].as_str().unwrap().contains("the day's budget of 5"), "{}", shown());
    assert_eq!(scene.server.requests().len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_and_an_answer_let_a_run_go_on_that_was_put_aside() {
    for (misbehaviour, waiting_for, wish) in [
        (Misbehaviour::rate_limit_s(3_600), "rate_limit", &["retry"][..]),
        (Misbehaviour::unauthorized(), "input", &["answer", "The key is right now."]),
    ] {
        let script = Script::turns([
            Reply::call("edit", &json!({ "path": "note.txt", "old": "one", "new": "two" })),
            Reply::text("Done."),
        ]);
        let scene = Scene::new(Wire::OpenAiChat, script.misbehave_at(0, misbehaviour)).await;
        let broken = note(&scene.home);
        let mut daemon = scene.home.up();
        let path = broken.repository.to_str().unwrap();
        let added = scene.home.run(&["task", "add", "--json", "--repo", path, "Make it two"]);
        let id = added.ok().json()["tasks"][0]["id"].as_str().unwrap().to_owned();
        wait_until("it waits", || scene.home.task(&id)["status"] == "waiting");
        assert_eq!(scene.home.task(&id)["waiting_for"], waiting_for);
        // The gateway that was told to wait an hour would do so; the next one knows what the rows say.
        daemon.stop();
        let _daemon = scene.home.up();
        let arguments = [&["task", wish[0], &id][..], &wish[1..]].concat();
        scene.home.run(&arguments).ok();
        wait_until("it is completed", || scene.home.task(&id)["status"] == "completed");
        broken.is_mended(&scene.home, &scene.home.task(&id));
    }
}
