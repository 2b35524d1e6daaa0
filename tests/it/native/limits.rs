//! Budgets, steps and time: nothing beyond them, and the run goes on where the user gives more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use journeyman_domain::model::Wire;
use journeyman_testkit::model::{Reply, Script, Seen};
use serde_json::json;

use super::scene::{Scene, note};
use crate::support::{Home, wait_until};

/// A model that looks at ever other things and never comes to an end.
fn wanderer() -> Script {
    Script::by(|seen| {
        let command = format!("echo look {}; head -c 9000 /dev/zero | tr '\\0' x", seen.turn);
        Reply::call("bash", &json!({ "command": command }))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_kept_told_of_and_can_be_raised() {
    let names = note(&Home::new().await);
    let (old, right) = (names.old, names.right);
    let script = Script::by(move |seen| {
        if seen.says("budget-raised") || seen.turn >= 30 {
            return Reply::text("Done.");
        }
        if seen.turn == 29 {
            return Reply::call("edit", &json!({ "path": "note.txt", "old": old, "new": right }));
        }
        let command = format!("echo look {}; head -c 9000 /dev/zero | tr '\\0' x", seen.turn);
        Reply::call("bash", &json!({ "command": command }))
    });
    let scene = Scene::new(Wire::OpenAiChat, script).await;
    let broken = note(&scene.home);
    let ran = scene.run(&broken.repository, &["--budget", "0.30"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    let task = ran.json();
    let id = task["id"].as_str().unwrap();
    assert_eq!((&task["status"], &task["waiting_for"]), (&json!("waiting"), &json!("budget")));
    let cost = task["cost_usd"].as_f64().unwrap();
    assert!(cost <= 0.30 && cost > 0.15, "{cost}");
    assert!(task["error"].as_str().unwrap().contains("budget"), "{task}");
    let asked = scene.server.requests().len();
    let told = scene.server.requests().iter().any(|seen| seen.says("More than 80 % of a limit"));
    assert!(told, "the model was told that little is left");

    // Without more it goes on waiting; with more it goes on where it was.
    let daemon = scene.home.up();
    scene.home.run(&["task", "resume", id]).ok();
    wait_until("it waits again", || scene.home.task(id)["status"] == "waiting");
    assert_eq!(scene.server.requests().len(), asked);
    scene.home.run(&["task", "resume", id, "--budget", "20"]).ok();
    wait_until("it is completed", || scene.home.task(id)["status"] == "completed");
    let done = scene.home.task(id);
    assert_eq!((&done["verified"], &done["attempts"]), (&json!(true), &json!(1)), "{done}");
    broken.is_mended(&scene.home, &done);
    scene.nothing_paid_twice();
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_of_the_task_and_not_of_each_attempt() {
    // Each attempt looks at much, and ends without having mended anything.
    let script = Script::by(|seen| {
        if seen.turn >= 4 {
            return Reply::text("Done.");
        }
        let command = format!("echo look {}; head -c 9000 /dev/zero | tr '\\0' x", seen.turn);
        Reply::call("bash", &json!({ "command": command }))
    });
    let scene = Scene::new(Wire::OpenAiChat, script).await;
    let broken = note(&scene.home);
    let _daemon = scene.home.up();
    let ran = scene.run(&broken.repository, &["--budget", "0.30"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let id = ran.json()["id"].as_str().unwrap().to_owned();
    let first = ran.json()["cost_usd"].as_f64().unwrap();
    assert!(first > 0.01 && first < 0.15, "{first}");
    let has_ended = || {
        let status = &scene.home.task(&id)["status"];
        status == "failed" || status == "waiting"
    };
    for _ in 0..40 {
        if scene.home.task(&id)["status"] != "failed" {
            break;
        }
        scene.home.run(&["task", "retry", &id]).ok();
        wait_until("another attempt has ended", has_ended);
    }
    let task = scene.home.task(&id);
    assert_eq!((&task["status"], &task["waiting_for"]), (&json!("waiting"), &json!("budget")));
    assert_eq!(task["error"], "the budget of 0.3 US dollars is used up");
    let cost = task["cost_usd"].as_f64().unwrap();
    assert!(cost > 0.15 && cost <= 0.30, "{cost}");

    scene.home.run(&["task", "resume", &id, "--budget", "20"]).ok();
    wait_until("the last attempt goes on", || scene.home.task(&id)["status"] == "failed");
    assert_eq!(scene.home.task(&id)["attempts"], task["attempts"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_a_paused_task_gets_holds() {
    let look = Reply::call("bash", &json!({ "command": "echo look; date +%N" }));
    let look = look.wait_before_headers(Duration::from_millis(200));
    let scene = Scene::new(Wire::AnthropicMessages, Script::by(move |_| look.clone())).await;
    let broken = note(&scene.home);
    let _daemon = scene.home.up();
    let path = broken.repository.to_str().unwrap();
    scene.home.run(&["task", "add", "--repo", path, "Make the test pass"]).ok();
    assert!(scene.server.wait_until(Duration::from_mins(1), |seen| seen.len() >= 3));
    scene.home.run(&["task", "pause", "latest"]).ok();
    wait_until("it is paused", || scene.home.task("latest")["status"] == "paused");
    let asked = scene.server.requests().len();
    scene.home.run(&["task", "resume", "latest", "--budget", "0.0001"]).ok();
    wait_until("it waits", || scene.home.task("latest")["status"] == "waiting");
    let task = scene.home.task("latest");
    assert_eq!((&task["waiting_for"], &task["attempts"]), (&json!("budget"), &json!(1)), "{task}");
    assert_eq!(task["error"], "the budget of 0.0001 US dollars is used up");
    assert_eq!(scene.server.requests().len(), asked, "nothing is asked for beyond it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_steps_waits_for_the_user() {
    let scene = Scene::new(Wire::AnthropicMessages, wanderer()).await;
    scene.settings("[run]\nsteps = 3");
    let broken = note(&scene.home);
    let ran = scene.run(&broken.repository, &[]);
    assert_eq!(ran.code, 4, "{ran:?}");
    let task = ran.json();
    assert_eq!(task["waiting_for"], "budget");
    assert_eq!(task["error"], "the limit of 3 steps is reached");
    assert_eq!((&task["branch"], &task["verified"]), (&json!(null), &json!(null)));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_counted_where_no_price_is_known() {
    let scene = Scene::new(Wire::OpenAiResponses, wanderer()).await;
    std::fs::remove_file(scene.home.folder.path().join("config/pricing.toml")).unwrap();
    scene.settings("[run]\ntokens = 30000");
    let broken = note(&scene.home);
    let ran = scene.run(&broken.repository, &["--budget", "1"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    let task = ran.json();
    assert_eq!(task["cost_usd"], json!(null));
    assert!((15_000..=30_000).contains(&task["tokens"].as_i64().unwrap()), "{task}");
    assert!(task["error"].as_str().unwrap().contains("30000 tokens"), "{task}");
    let stats = scene.home.run(&["stats"]).ok().stdout;
    assert!(stats.contains("unknown"), "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_days_budget_holds_for_all_tasks() {
    let scene = Scene::new(Wire::OpenAiChat, wanderer()).await;
    let file = scene.home.folder.path().join("config/journeyman.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("[model]\n", "[model]\ndaily_budget_usd = 0.2\n");
    std::fs::write(&file, text).unwrap();
    let broken = note(&scene.home);
    let ran = scene.run(&broken.repository, &[]);
    assert_eq!(ran.code, 4, "{ran:?}");
    let task = ran.json();
    assert_eq!(task["waiting_for"], "budget");
    assert!(task["error"].as_str().unwrap().contains("the day's budget of 0.2"), "{task}");
    assert!(task["cost_usd"].as_f64().unwrap() <= 0.2, "{task}");
    assert!(task["wake_at"].as_str().unwrap().contains("T00:00:00"), "{task}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_loops_is_stopped() {
    let script = Script::by(|_| Reply::call("bash", &json!({ "command": "echo the same" })));
    let scene = Scene::new(Wire::OpenAiChat, script).await;
    let broken = note(&scene.home);
    let ran = scene.run(&broken.repository, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let requests = scene.server.requests().len();
    assert!((5..=12).contains(&requests), "{requests}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_window_is_compacted_and_the_work_goes_on() {
    let names = note(&Home::new().await);
    let (old, right) = (names.old, names.right);
    let looks = AtomicUsize::new(0);
    let script = Script::by(move |seen| {
        let look = looks.fetch_add(1, Ordering::Relaxed);
        if seen.answers_only() {
            Reply::text("Goal: two. Done: looked at x. Next: edit.")
        } else if seen.says("changed note.txt") {
            Reply::text("Done.")
        } else if look >= 40 {
            Reply::call("edit", &json!({ "path": "note.txt", "old": old, "new": right }))
        } else {
            let command = format!("echo look {look}; head -c 9000 /dev/zero | tr '\\0' x");
            Reply::call("bash", &json!({ "command": command }))
        }
    });
    let scene = Scene::with(Wire::AnthropicMessages, script.allow_compaction(), "").await;
    let config = scene.home.folder.path().join("config");
    for file in ["journeyman.toml", "pricing.toml"] {
        let text = std::fs::read_to_string(config.join(file)).unwrap();
        let text = text.replace("200000", "32000").replace("200_000", "32_000");
        std::fs::write(config.join(file), text).unwrap();
    }
    let broken = note(&scene.home);
    let ran = scene.run(&broken.repository, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    broken.is_mended(&scene.home, &ran.json());
    assert_eq!(scene.server.violations(), [""; 0]);
    let requests = scene.server.requests();
    assert!(requests.iter().any(Seen::answers_only), "it was compacted");
    let longest = requests.iter().map(|seen| seen.body.to_string().len()).max().unwrap();
    assert!(longest < 32_000 * 4, "{longest}");
}
