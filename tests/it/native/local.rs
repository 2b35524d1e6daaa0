//! A real small model on a local server, driven end to end. It need not solve anything; the loop must
//! end cleanly, and the account of tokens must be that of the server.

use serde_json::json;

use super::scene::note;
use crate::support::Home;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a local model: JOURNEYMAN_LOCAL_MODEL=http://127.0.0.1:PORT/v1"]
async fn a_local_model_is_driven_to_a_clean_end() {
    let address = std::env::var("JOURNEYMAN_LOCAL_MODEL").unwrap();
    let mode = std::env::var("JOURNEYMAN_LOCAL_MODEL_TOOLS").unwrap_or("json_schema".to_owned());
    let home = Home::new().await;
    let config = home.folder.path().join("config");
    std::fs::create_dir_all(&config).unwrap();
    let settings = format!(
        "[model]\ndefault = \"local/small\"\n[run]\nsteps = 5\nrounds = 2\n[providers.local]\n\
         wire = \"openai_chat\"\nbase_url = \"{address}\"\nkey = \"\"\ntool_mode = \"{mode}\"\n\
         context_window = 4096\nmax_output_tokens = 200\ntemperature = 0.2\n"
    );
    std::fs::write(config.join("journeyman.toml"), settings).unwrap();
    let tested = home.run(&["agent", "test", "General Assistant", "--json"]).ok().json();
    assert_eq!(tested["model"]["calls_tools"], json!(true), "{tested}");

    let broken = note(&home);
    let path = broken.repository.to_str().unwrap();
    let ran = home.run(&["run", "--json", "--repo", path, "Write the word two into note.txt"]);
    let task = ran.json();
    assert!([0, 1, 4].contains(&ran.code), "{ran:?}");
    assert!(task["verified"] == json!(true) || task["error"].is_string(), "{task}");
    let store = home.store();
    let id = task["id"].as_str().unwrap().parse().unwrap();
    let steps = store.journal().tail(id, None, 1_000).await.unwrap();
    let answers: Vec<_> = steps.iter().filter(|step| step.kind == "model_response").collect();
    assert!(!answers.is_empty(), "{task}");
    let mut tokens = 0;
    for answer in &answers {
        assert_eq!(answer.payload["turn"]["usage_known"], json!(true), "{}", answer.payload);
        let usage = &answer.payload["turn"]["usage"];
        for class in ["uncached_input", "cache_read", "cache_write", "output"] {
            tokens += usage[class].as_i64().unwrap();
        }
    }
    let used = store.runs().used_by_task(id).await.unwrap();
    assert_eq!(task["tokens"].as_i64(), Some(tokens));
    assert_eq!(used.calls, i64::try_from(answers.len()).unwrap());
    assert_eq!((task["cost_usd"].as_f64(), used.is_cost_known), (None, false));
}
