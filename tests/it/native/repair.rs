//! A failing test that the model repairs after one wrong attempt: each language over each wire.

use journeyman_domain::model::Wire;
use journeyman_testkit::model::Script;
use serde_json::json;

use super::scene::{Broken, Scene, go, python, rust, typescript};
use crate::support::Home;

async fn repairs(wire: Wire, broken: fn(&Home) -> Broken, lines: &str) {
    // The script needs the repository's names, which need no home.
    let names = broken(&Home::new().await);
    let scene = Scene::with(wire, names.mended_at_the_second_try(), lines).await;
    let broken = broken(&scene.home);
    let ran = scene.run(&broken.repository, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let task = ran.json();
    assert_eq!(
        (&task["status"], &task["verified"], &task["attempts"], &task["driver"], &task["model"]),
        (
            &json!("completed"),
            &json!(true),
            &json!(1),
            &json!("native"),
            &json!("scripted/small-1")
        ),
        "{task}"
    );
    broken.is_mended(&scene.home, &task);
    scene.nothing_paid_twice();
    // What the runtime found went back, and the model's own word did not count.
    let requests = scene.server.requests();
    assert_eq!(requests.len(), 5);
    assert!(requests[3].says("doubles") && !requests[2].says("verif"), "{:?}", requests[3].last);
    bill(&scene, &task);
}

/// The bill is that of the server, token by token.
fn bill(scene: &Scene, task: &serde_json::Value) {
    let id = task["id"].as_str().unwrap();
    let stats = scene.home.run(&["stats", "--json"]).ok().json();
    let row = &stats["models"][0];
    let count = |key: &str| row[key].as_i64().unwrap();
    assert_eq!((count("answers"), count("failures")), (5, 0), "{row}");
    let (uncached, cached, written, output) = (
        count("uncached_input_tokens"),
        count("cache_read_tokens"),
        count("cache_write_tokens"),
        count("output_tokens"),
    );
    assert_eq!(task["tokens"].as_i64().unwrap(), uncached + cached + written + output);
    let nanousd = uncached * 3_000 + cached * 300 + written * 3_750 + output * 15_000;
    #[expect(clippy::cast_precision_loss, reason = "a few cents")]
    let cost = nanousd as f64 / 1e9;
    assert!((task["cost_usd"].as_f64().unwrap() - cost).abs() < 1e-9, "{task}");
    assert!((row["cost_usd"].as_f64().unwrap() - cost).abs() < 1e-9, "{row}");
    let shown = scene.home.run(&["task", "show", id]).ok().stdout;
    assert!(shown.contains(&format!("cost      ${cost:.4}")), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_over_chat_completions() {
    repairs(Wire::OpenAiChat, rust, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_over_responses() {
    repairs(Wire::OpenAiResponses, rust, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_over_messages() {
    repairs(Wire::AnthropicMessages, rust, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_over_each_wire() {
    for wire in Wire::ALL {
        repairs(*wire, python, "").await;
    }
}

/// Whether `node` runs TypeScript by itself.
fn node_runs_typescript() -> bool {
    let version = std::process::Command::new("node").arg("--version").output();
    let Ok(version) = version else { return false };
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    let mut parts = text.trim().trim_start_matches('v').split('.').map(str::parse::<u32>);
    let (major, minor) = (parts.next().and_then(Result::ok), parts.next().and_then(Result::ok));
    major > Some(23)
        || (major == Some(22) && minor >= Some(18))
        || (major == Some(23) && minor >= Some(6))
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_over_each_wire() {
    if !node_runs_typescript() {
        eprintln!("skipped: no node that runs TypeScript by itself");
        return;
    }
    for wire in Wire::ALL {
        repairs(*wire, typescript, "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn go_over_each_wire() {
    if std::process::Command::new("go").arg("version").output().is_err() {
        eprintln!("skipped: Go is not installed");
        return;
    }
    for wire in Wire::ALL {
        repairs(*wire, go, "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_knows_no_tools_works_under_a_schema() {
    let names = python(&Home::new().await);
    let script = Script::turns([
        names.edit(names.old, names.right),
        journeyman_testkit::model::Reply::text("Mended."),
    ]);
    let scene = Scene::with(Wire::OpenAiChat, script, "tool_mode = \"json_schema\"").await;
    let broken = python(&scene.home);
    let ran = scene.run(&broken.repository, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    broken.is_mended(&scene.home, &ran.json());
    let requests = scene.server.requests();
    assert!(requests.iter().all(|seen| seen.wants_json() && seen.tool_names().is_empty()));
    scene.nothing_paid_twice();
}
