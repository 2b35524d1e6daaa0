//! What the user can ask about models: `agent test`, `--model`, settings that are wrong.

use journeyman_domain::model::Wire;
use journeyman_testkit::model::{Reply, Script};
use serde_json::json;

use super::scene::{KEY, Scene, note};
use crate::support::{Home, wait_until};

fn reporting() -> Script {
    Script::by(|_| Reply::call("report", &json!({ "status": "ok" })))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_tested_by_asking_its_model() {
    for wire in Wire::ALL {
        let scene = Scene::new(*wire, reporting()).await;
        let tested = scene.home.run(&["agent", "test", "General Assistant", "--json"]).ok().json();
        assert_eq!(
            (&tested["driver"], &tested["model"]["model"], &tested["model"]["calls_tools"]),
            (&json!("native"), &json!("small-1"), &json!(true)),
            "{tested}"
        );
        assert!(tested["model"]["cost_usd"].as_f64().unwrap() > 0.0);
        assert_eq!(scene.server.requests()[0].key(), Some(KEY));
        let told = scene.home.run(&["agent", "test", "General Assistant"]).ok().stdout;
        assert!(told.contains("scripted/small-1 answered in") && told.contains("calls tools"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_nobody_serves_is_refused_with_a_sentence() {
    let scene = Scene::new(Wire::OpenAiChat, Script::turns([]).models(["small-1"])).await;
    let broken = note(&scene.home);
    let ran = scene.run(&broken.repository, &["--model", "nowhere/x-1"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let error = ran.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("404") && error.contains("scripted"), "{error}");
    let tested = scene.home.run(&["agent", "test", "General Assistant", "--model", "openai/gpt-x"]);
    assert_eq!(tested.code, 3, "{tested:?}");
    assert!(tested.stderr.contains("OPENAI_API_KEY is not set"), "{tested:?}");
    assert_eq!(scene.server.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_provider_is_refused_before_it_is_a_task() {
    let home = Home::new().await;
    let broken = note(&home);
    let path = broken.repository.to_str().unwrap();
    let add = |more: &[&str]| home.run(&[&["task", "add", "--repo", path, "Do it"], more].concat());
    let refused = add(&["--model", "acme/x-1"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(
        refused.stderr.contains("it is not clear who serves the model 'acme/x-1'"),
        "{refused:?}"
    );
    let refused = add(&["--model", "ollama/x", "--driver", "mechanic"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("the driver 'mechanic' uses none"), "{refused:?}");
    let refused = add(&["--model", "ollama/x", "--budget", "-1"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    let listed = home.run(&["task", "list", "--json"]).ok().json();
    assert_eq!(listed["tasks"], json!([]));
    // Without any model the driver has nothing to ask.
    let ran = home.run(&["run", "--json", "--repo", path, "--driver", "native", "Do it"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.json()["error"].as_str().unwrap().contains("needs a model"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_missing_is_said_at_once_and_waited_for_by_a_task() {
    let scene = Scene::new(Wire::OpenAiChat, note(&Home::new().await).mended_at_once()).await;
    let broken = note(&scene.home);
    let path = broken.repository.to_str().unwrap();
    let key = scene.home.folder.path().join("config/key");
    let aside = key.with_extension("aside");
    std::fs::rename(&key, &aside).unwrap();
    let refused = scene.run(&broken.repository, &[]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("the provider 'scripted' cannot be used"), "{refused:?}");
    // A task that was added without a runtime waits for the key, and goes on with it.
    scene.home.run(&["task", "add", "--repo", path, "Make it two"]).ok();
    let daemon = scene.home.up();
    let status = || scene.home.task("latest")["status"].as_str().unwrap().to_owned();
    wait_until("it waits", || status() == "waiting");
    assert_eq!(scene.home.task("latest")["waiting_for"], "input");
    drop(daemon);
    std::fs::rename(&aside, &key).unwrap();
    let _daemon = scene.home.up();
    scene.home.run(&["task", "resume", "latest"]).ok();
    wait_until("it is completed", || status() == "completed");
    broken.is_mended(&scene.home, &scene.home.task("latest"));
    scene.nothing_paid_twice();
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_providers_that_are_wrong_are_named() {
    for (lines, said) in [
        ("[providers.x]\nbase_url = \"http://h\"", "[providers.x]: wire is missing"),
        ("[providers.x]\nwire = \"openai_chat\"", "[providers.x]: base_url is missing"),
        ("[providers.x]\nwire = \"openai_chat\"\nbase_url = \"h\"", "does not begin with http"),
        (
            "[providers.x]\nwire = \"openai_chat\"\nbase_url = \"http://h\"\nkey = \"sk-plain-secret\"",
            "key is no reference",
        ),
        ("[providers.x]\nwire = \"telex\"", "telex"),
        ("[providers.x]\ncolour = 1", "colour"),
    ] {
        let home = Home::new().await;
        let config = home.folder.path().join("config");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(config.join("journeyman.toml"), lines).unwrap();
        let ran = home.run(&["agent", "list"]);
        assert_eq!(ran.code, 2, "{lines} {ran:?}");
        assert!(ran.stderr.contains(said), "{lines} {ran:?}");
        assert!(!ran.stderr.contains("sk-plain-secret"), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_and_a_user_may_speak_to_the_model() {
    let scene = Scene::new(Wire::OpenAiChat, note(&Home::new().await).mended_at_once()).await;
    let prompts = scene.home.folder.path().join("config/prompts");
    std::fs::create_dir_all(&prompts).unwrap();
    std::fs::write(prompts.join("default.md"), "You are the user's own words.").unwrap();
    let broken = note(&scene.home);
    std::fs::write(broken.repository.join("AGENTS.md"), "Always whistle.\n".repeat(9_000)).unwrap();
    crate::support::git(&broken.repository, &["add", "-A"]);
    crate::support::git(&broken.repository, &["commit", "-q", "-m", "guide"]);
    let ran = scene.run(&broken.repository, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let first = &scene.server.requests()[0];
    assert!(first.says("Always whistle.") && first.says("AGENTS.md"));
    assert!(first.says("You are the user's own words."));
    assert!(first.body.to_string().len() < 80_000, "{}", first.body.to_string().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_the_prompt_or_of_a_tool_reaches_no_model() {
    let scene = Scene::new(
        Wire::OpenAiChat,
        Script::turns([
            Reply::call("bash", &json!({ "command": format!("echo {KEY}") })),
            Reply::call("edit", &json!({ "path": "note.txt", "old": "one", "new": "two" })),
            Reply::text("Done."),
        ])
        .allow_foreign_turns(),
    )
    .await;
    let broken = note(&scene.home);
    let path = broken.repository.to_str().unwrap();
    let prompt = format!("Use {KEY} to make it two");
    let ran = scene.home.run(&["run", "--json", "--repo", path, &prompt]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let requests = scene.server.requests();
    assert!(!requests[0].says(KEY), "the prompt");
    assert!(!requests[1].last.iter().any(|text| text.contains(KEY)), "the tool's output");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_file_elsewhere_is_hidden_from_the_agent() {
    let elsewhere = crate::launcher::outside();
    let (file, link) = (elsewhere.path().join("real-key"), elsewhere.path().join("key"));
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let (file, link) = (file.display().to_string(), link.display().to_string());
    // Turned round, no mask would know it.
    let command = format!("echo looked; cat {file} {link} | rev");
    let scene = Scene::new(
        Wire::OpenAiChat,
        Script::turns([
            Reply::call("bash", &json!({ "command": command })),
            Reply::call("edit", &json!({ "path": "note.txt", "old": "one", "new": "two" })),
            Reply::text("Done."),
        ]),
    )
    .await;
    let settings = scene.home.folder.path().join("config/journeyman.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let own = scene.home.folder.path().join("config/key").display().to_string();
    assert!(text.contains(&own));
    std::fs::write(&settings, text.replace(&own, &link)).unwrap();
    let ran = scene.run(&note(&scene.home).repository, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let reversed: String = KEY.chars().rev().collect();
    let told = &scene.server.requests()[1].last;
    assert!(told.iter().any(|text| text.contains("looked")), "{told:?}");
    assert!(!told.iter().any(|text| text.contains(&reversed)), "{told:?}");
}
