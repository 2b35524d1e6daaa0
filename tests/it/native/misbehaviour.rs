//! Everything that a provider or a model can do wrong: one clear sentence, nothing lost, nothing paid
//! twice.

use journeyman_domain::model::Wire;
use journeyman_testkit::model::{Ending, Misbehaviour, ProviderError, Reply, Script};
use serde_json::{Value, json};

use super::scene::{KEY, Scene, note};
use crate::support::{Home, wait_until};

/// Short time limits.
const QUICK: &str = "header_timeout_s = 1\nidle_timeout_s = 1";

fn script() -> Script {
    Script::turns([
        Reply::call("read", &json!({ "path": "note.txt" })),
        Reply::call("edit", &json!({ "path": "note.txt", "old": "one", "new": "two" })),
        Reply::text("Done."),
    ])
}

/// A misbehaviour that passes: the run completes, and every answer was paid once.
async fn passes(wire: Wire, misbehaviour: Misbehaviour, failures: i64) -> Scene {
    let what = format!("{wire} {misbehaviour:?}");
    let scene = Scene::with(wire, script().misbehave_at(1, misbehaviour), QUICK).await;
    let broken = note(&scene.home);
    let ran = scene.run(&broken.repository, &[]);
    assert_eq!(ran.code, 0, "{what} {ran:?}");
    broken.is_mended(&scene.home, &ran.json());
    let stats = scene.home.run(&["stats", "--json"]).ok().json();
    assert_eq!(stats["models"][0]["failures"], json!(failures), "{what}");
    scene
}

/// A misbehaviour that does not pass: the task waits, or has failed, with a sentence.
async fn stands(wire: Wire, misbehaviour: Misbehaviour, expected: (&str, &str)) -> Scene {
    let what = format!("{wire} {misbehaviour:?}");
    let script = script().misbehave_times(1, 50, misbehaviour);
    let scene = Scene::with(wire, script, &format!("{QUICK}\nretries = 1")).await;
    let broken = note(&scene.home);
    let daemon = scene.home.up();
    let path = broken.repository.to_str().unwrap();
    scene.home.run(&["task", "add", "--repo", path, "Make the test pass"]).ok();
    let shown = || scene.home.run(&["task", "show", "latest", "--json"]).json();
    wait_until("it waits or has failed", || {
        ["waiting", "failed"].contains(&shown()["status"].as_str().unwrap())
    });
    let task = shown();
    drop(daemon);
    let state = task["waiting_for"].as_str().or(task["status"].as_str()).unwrap();
    assert_eq!(state, expected.0, "{what} {task}");
    let error = task["error"].as_str().unwrap();
    assert!(error.contains(expected.1), "{what}: {error}");
    assert!(!error.contains('\n') && error.len() < 1_000, "{what}: {error}");
    assert_eq!(scene.server.answered(&conversation(&scene), 0), 1, "{what}: paid once");
    nowhere(&scene, task["id"].as_str().unwrap());
    scene
}

fn conversation(scene: &Scene) -> String {
    scene.server.requests()[0].conversation.clone()
}

/// The key is in no document and no log.
fn nowhere(scene: &Scene, id: &str) {
    for arguments in
        [&["task", "show", id, "--json"][..], &["task", "logs", id, "--full", "--json"]]
    {
        let ran = scene.home.run(arguments);
        assert!(!ran.stdout.contains(KEY) && !ran.stderr.contains(KEY), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_of_weakness_passes() {
    for wire in Wire::ALL {
        for misbehaviour in [
            Misbehaviour::overloaded(),
            Misbehaviour::rate_limit_ms(20),
            Misbehaviour::CutStream { after_events: 2 },
            Misbehaviour::error_after_200(),
        ] {
            let scene = passes(*wire, misbehaviour, 1).await;
            assert_eq!(scene.server.violations(), [""; 0]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_nonsense_pass() {
    for misbehaviour in [
        Misbehaviour::HangHeaders,
        Misbehaviour::HangStream { after_events: 2 },
        Misbehaviour::EndStream { after_events: 2 },
        Misbehaviour::Nonsense,
        Misbehaviour::Html200,
        Misbehaviour::Reset,
        Misbehaviour::internal(),
        Misbehaviour::rate_limit(),
    ] {
        passes(Wire::OpenAiChat, misbehaviour, 1).await;
    }
    for wire in Wire::ALL {
        passes(*wire, Misbehaviour::SplitUtf8, 0).await.nothing_paid_twice();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_user_mends_waits_for_him() {
    for wire in Wire::ALL {
        let auth = stands(*wire, Misbehaviour::unauthorized(), ("input", "401")).await;
        // Tried once: asking again mends no key.
        assert_eq!(auth.server.requests().len(), 2);
        stands(*wire, Misbehaviour::quota(), ("budget", "")).await;
    }
    let refuse = Misbehaviour::Refuse;
    stands(Wire::OpenAiChat, refuse(ProviderError::PaymentRequired), ("budget", "402")).await;
    stands(Wire::OpenAiChat, refuse(ProviderError::Forbidden), ("input", "403")).await;
    stands(Wire::OpenAiChat, refuse(ProviderError::UnknownModel), ("failed", "404")).await;
    stands(Wire::AnthropicMessages, refuse(ProviderError::TooLarge), ("failed", "413")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_stays_away_is_waited_for() {
    let down = stands(Wire::OpenAiChat, Misbehaviour::overloaded(), ("provider", "529")).await;
    assert_eq!(down.server.requests().len(), 3, "one answer, a try and a retry");
    stands(Wire::OpenAiChat, Misbehaviour::rate_limit_s(3_600), ("rate_limit", "429")).await;
    let hung = Misbehaviour::HangStream { after_events: 2 };
    stands(Wire::OpenAiResponses, hung, ("provider", "no further event")).await;
    stands(
        Wire::AnthropicMessages,
        Misbehaviour::HangHeaders,
        ("provider", "no answer from scripted within 1 s"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_waited_for_a_key_goes_on_where_it_was() {
    let script = script().misbehave_at(1, Misbehaviour::unauthorized());
    let scene = Scene::new(Wire::OpenAiChat, script).await;
    let broken = note(&scene.home);
    let ran = scene.run(&broken.repository, &[]);
    assert_eq!(ran.code, 4, "{ran:?}");
    let task = ran.json();
    assert_eq!(task["waiting_for"], "input", "{task}");
    let because = task["because"].as_str().unwrap();
    assert!(because.starts_with("waits for you"), "{because}");
    let _daemon = scene.home.up();
    let id = task["id"].as_str().unwrap();
    scene.home.run(&["task", "resume", id]).ok();
    wait_until("it is completed", || scene.home.task(id)["status"] == "completed");
    let done = scene.home.task(id);
    assert_eq!(done["attempts"], 1, "{done}");
    broken.is_mended(&scene.home, &done);
    scene.nothing_paid_twice();
    assert_eq!(scene.server.requests().len(), 4, "three answers and one refusal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_beyond_all_reason_is_a_week() {
    let waits = stands(
        Wire::OpenAiChat,
        Misbehaviour::rate_limit_s(99_999_999_999_999),
        ("rate_limit", "429"),
    )
    .await;
    let task = waits.home.run(&["task", "show", "latest", "--json"]).json();
    let wake_at: chrono::DateTime<chrono::Utc> = task["wake_at"].as_str().unwrap().parse().unwrap();
    let days = (wake_at - chrono::Utc::now()).num_days();
    assert!((6..=7).contains(&days), "{task}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_full_is_compacted() {
    let names = note(&Home::new().await);
    let script = Script::by(move |seen| match seen.turn {
        _ if seen.answers_only() => Reply::text("Goal: two. Next: edit."),
        turn if turn < 4 => {
            let command = format!("echo {turn}; head -c 9000 /dev/zero | tr '\\0' x");
            Reply::call("bash", &json!({ "command": command }))
        }
        _ if seen.says("Next: edit.") && !seen.says("changed note.txt") => names.edit("one", "two"),
        _ => Reply::text("Done."),
    });
    let script = script.misbehave_at(4, Misbehaviour::context_overflow()).allow_compaction();
    let scene = Scene::with(Wire::OpenAiChat, script, QUICK).await;
    let broken = note(&scene.home);
    let ran = scene.run(&broken.repository, &[]);
    assert_eq!(ran.code, 0, "{:#?}", scene.server.requests());
    broken.is_mended(&scene.home, &ran.json());
    assert_eq!(scene.server.violations(), [""; 0]);
}

/// A model that answers so at its first turn and then works rightly.
async fn mends_after(wire: Wire, first: Reply, told: &str) {
    let script = Script::turns([
        first,
        Reply::call("edit", &json!({ "path": "note.txt", "old": "one", "new": "two" })),
        Reply::text("Done."),
    ]);
    let scene = Scene::new(wire, script).await;
    let broken = note(&scene.home);
    let ran = scene.run(&broken.repository, &[]);
    assert_eq!(ran.code, 0, "{told} {ran:?}");
    broken.is_mended(&scene.home, &ran.json());
    let requests = scene.server.requests();
    assert!(requests[1].last.iter().any(|text| text.contains(told)), "{:?}", requests[1].last);
    scene.nothing_paid_twice();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_slips_is_told_and_goes_on() {
    for wire in Wire::ALL {
        mends_after(*wire, Reply::call("fly", &json!({})), "bash").await;
        mends_after(*wire, Reply::raw_call("read", "{\"path\": "), "JSON").await;
        mends_after(*wire, Reply::call("read", &json!({ "file": "note.txt" })), "path").await;
        passes(*wire, Misbehaviour::EmptyAnswer, 0).await;
    }
    let cut = Reply::raw_call("write", "{\"path\": \"note.txt\", \"content\": \"tw")
        .ending(Ending::Length);
    mends_after(Wire::OpenAiChat, cut, "cut").await;
    let text = "<tool_call>{\"name\": \"bash\", \"arguments\": {\"command\": \"ls\"}}</tool_call>";
    mends_after(Wire::OpenAiChat, Reply::text(text), "tool").await;
    // What PostgreSQL cannot hold is replaced, and nothing fails for it.
    let zero = Reply::call("bash", &json!({ "command": "echo 'a\u{0}b'" }));
    for wire in Wire::ALL {
        let script = Script::turns([
            zero.clone(),
            Reply::call("edit", &json!({ "path": "note.txt", "old": "one", "new": "two" })),
            Reply::text("Done\u{0}."),
        ]);
        let scene = Scene::new(*wire, script.allow_foreign_turns()).await;
        let broken = note(&scene.home);
        let ran = scene.run(&broken.repository, &[]);
        assert_eq!(ran.code, 0, "{ran:?}");
        broken.is_mended(&scene.home, &ran.json());
    }
    let long = json!({ "path": "n".repeat(300), "content": "x" });
    mends_after(Wire::OpenAiChat, Reply::call("write", &long), "File name too long").await;
    let fails = ("bash", json!({ "command": "echo no; exit 1" }));
    let thrice = Reply::calls([fails.clone(), fails.clone(), fails]);
    mends_after(Wire::OpenAiChat, thrice, "failed twice in the same way").await;
    let binary = Reply::call("bash", &json!({ "command": "head -c 20000 /dev/urandom" }));
    mends_after(Wire::OpenAiChat, binary, "binary").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_at_once_are_all_answered() {
    let read = |number: usize| ("read", json!({ "path": "note.txt", "offset": number + 1 }));
    for wire in Wire::ALL {
        mends_after(*wire, Reply::calls((0..100).map(read)), "one").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_prints_a_gigabyte_is_stopped() {
    let flood = Reply::call("bash", &json!({ "command": "yes | head -c 1073741824" }));
    mends_after(Wire::OpenAiChat, flood, "16777216 bytes").await;
}

/// A model that always answers so: the run ends, and says why.
async fn gives_up(first: Reply, said: &str) {
    let scene = Scene::new(Wire::OpenAiChat, Script::by(move |_| first.clone())).await;
    let broken = note(&scene.home);
    let ran = scene.run(&broken.repository, &[]);
    let task: Value = ran.json();
    assert_eq!((ran.code, &task["status"]), (1, &json!("failed")), "{task}");
    let error = task["error"].as_str().unwrap();
    assert!(error.contains(said), "{error}");
    assert!(scene.server.requests().len() <= 4, "{}", scene.server.requests().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_does_not_learn_is_given_up() {
    gives_up(Reply::call("fly", &json!({})), "3 answers").await;
    gives_up(Reply::empty(), "3 empty answers").await;
    gives_up(Reply::text("I cannot help with that.").ending(Ending::Refusal), "refused").await;
}
