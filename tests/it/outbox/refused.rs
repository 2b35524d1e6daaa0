//! What cannot be sent: refused before any work where that can be known, else given up with one sentence.

use journeyman_domain::outbox::EffectState;
use serde_json::{Value, json};

use super::scene::{Scene, TOKEN};
use crate::recovery::scene::{CHECK, QUICK, notes};
use crate::support::{Home, Ran, git, wait_until};

/// The code and the sentence of a refusal.
fn problem(ran: &Ran) -> (String, String) {
    let last = ran.stderr.lines().last().unwrap_or_default();
    let document: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{ran:?}"));
    let text = |name: &str| document["error"][name].as_str().unwrap_or_default().to_owned();
    (text("code"), text("message"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_without_a_forge_is_refused_before_any_work() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let path = repository.to_str().unwrap();
    let try_it = |verb: &[&str]| {
        let options =
            ["--json", "--repo", path, "--deliver", "pr", "--command", QUICK, "Write two"];
        home.run(&[verb, &options].concat())
    };
    for verb in [&["run"][..], &["task", "add"]] {
        let ran = try_it(verb);
        assert_eq!((ran.code, problem(&ran).0.as_str()), (2, "no_remote"), "{ran:?}");
    }
    git(&repository, &["remote", "add", "one", "git@github.com:acme/one.git"]);
    git(&repository, &["remote", "add", "two", "git@github.com:acme/two.git"]);
    assert_eq!(problem(&try_it(&["run"])).0, "no_remote");
    let secret = "hunter22-of-the-remote";
    let address = format!("https://me:{secret}@gitlab.com/acme/notes.git");
    git(&repository, &["remote", "add", "origin", &address]);
    let ran = try_it(&["task", "add"]);
    let expected = "the remote https://gitlab.com/acme/notes.git is on no forge that is known; pull requests are \
                    made on github.com";
    assert_eq!((ran.code, problem(&ran)), (2, ("unknown_forge".into(), expected.into())));
    assert!(!ran.stderr.contains(secret), "{ran:?}");
    let listed = home.run(&["task", "list", "--json"]).ok().json();
    assert_eq!(listed["tasks"], json!([]));
    assert_eq!(git(&repository, &["branch", "--list"]), "* main");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_works_needs_a_token_and_who_only_adds_does_not() {
    let scene = Scene::new().await;
    let path = scene.repository.to_str().unwrap();
    let options = ["--json", "--repo", path, "--deliver", "pr", "--command", QUICK, "Write two"];
    let without = |verb: &[&str]| {
        let mut command = scene.home.command(&[verb, &options].concat());
        scene.set_up(&mut command);
        Ran::from(command.env_remove("GITHUB_TOKEN").output().unwrap())
    };
    let ran = without(&["run"]);
    let expected = "there is no token for 127.0.0.1: the secret env:GITHUB_TOKEN cannot be read: GITHUB_TOKEN is \
                    not set";
    assert_eq!((ran.code, problem(&ran)), (3, ("missing".into(), expected.into())), "{ran:?}");
    assert_eq!(without(&["task", "add"]).code, 0);
}

/// A node without a token leaves a pull request to one that has it, and says so meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_waits_for_a_node_with_a_token() {
    let scene = Scene::new().await;
    // Such a node takes no such task from a user; but what others took it works on.
    let path = scene.repository.to_str().unwrap();
    let fixed = ["task", "add", "--json", "--repo", path, "--deliver", "pr", "--check", CHECK];
    let options = ["--command", QUICK, "Write two"];
    let mut command = scene.home.command(&[&fixed[..], &options].concat());
    scene.set_up(&mut command);
    let added = Ran::from(command.output().unwrap()).ok().json();
    let task = added["tasks"][0]["id"].as_str().unwrap().to_owned();
    let _without = scene.home.up_with(|command| {
        scene.set_up(command);
        command.env_remove("GITHUB_TOKEN");
    });
    let request = || scene.effects(&task).get(1).cloned();
    wait_until("it says what it waits for", || {
        request().is_some_and(|request| request.last_error.is_some())
    });
    let waiting = request().unwrap();
    assert_eq!((waiting.state, waiting.attempts), (EffectState::Pending, 0));
    let shown = scene.home.run(&["task", "show", &task]).ok().stdout;
    let host = &scene.effects(&task)[0].host.clone().unwrap();
    let expected = format!(
        "  request   pending, 127.0.0.1/acme/notes: it waits for a node with a token; on {host} there is no token \
         for 127.0.0.1: the secret env:GITHUB_TOKEN cannot be read: GITHUB_TOKEN is not set\n"
    );
    assert!(shown.contains(&expected), "{shown}");
    let _with = scene.home.up_beside("with", |command| scene.set_up(command));
    let effects = scene.wait_for_done(&task);
    assert_eq!((effects[1].attempts, effects[1].last_error.as_deref()), (1, None));
    assert_ne!(effects[0].node_id, effects[1].node_id);
    scene.assert_sent_once(&task);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_settings_are_named() {
    let scene = Scene::new().await;
    let said = |name: &str, value: &str| {
        let mut command = scene.home.command(&["task", "list", "--json"]);
        scene.set_up(&mut command);
        let ran = Ran::from(command.env(name, value).output().unwrap());
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(!ran.stderr.contains(TOKEN), "{ran:?}");
        problem(&ran)
    };
    for address in ["ftp://api.github.com", "api.github.com", "", "https://"] {
        let (code, message) = said("JOURNEYMAN__GITHUB__API_URL", address);
        assert_eq!(code, "config");
        let expected = format!("[github]: api_url '{address}' is no address");
        assert!(message.starts_with(&expected), "{message}");
    }
    let (_, message) = said("JOURNEYMAN__GITHUB__TOKEN", TOKEN);
    let expected = "[github]: token is no reference; write env:NAME, file:PATH or command:CMD";
    assert_eq!(message, expected);
    let (_, message) = said("JOURNEYMAN__GITHUB__TOKENS", "x");
    assert!(message.ends_with("there is no setting 'github.tokens'"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_taken_is_named_and_the_next_one_sends_it() {
    let scene = Scene::new().await;
    let path = scene.repository.to_str().unwrap();
    let options = [
        "run",
        "--repo",
        path,
        "--deliver",
        "pr",
        "--command",
        QUICK,
        "--check",
        "true",
        "Write two",
    ];
    let mut command = scene.home.command(&options);
    scene.set_up(&mut command);
    let ran = Ran::from(command.env("GITHUB_TOKEN", "an-old-word-of-nobody").output().unwrap());
    assert_eq!(ran.code, 1, "{ran:?}");
    let expected = "127.0.0.1 does not take the token that github.token names; give it one that may open pull \
                    requests on 127.0.0.1/acme/notes (Bad credentials)";
    assert!(ran.stdout.contains(expected), "{ran:?}");
    assert!(ran.stdout.contains("send it again: journeyman task resend"), "{ran:?}");
    assert!(!format!("{ran:?}").contains("an-old-word-of-nobody"), "{ran:?}");
    let task = scene.home.task("latest");
    assert_eq!((&task["status"], scene.forge.opened()), (&"completed".into(), 0));
    let id = task["id"].as_str().unwrap();

    let resent = scene.home.run(&["task", "resend", id]).ok();
    assert!(resent.stderr.contains("no daemon is running; `journeyman up` sends it"), "{resent:?}");
    let _daemon = scene.up();
    let effects = scene.wait_for_done(id);
    scene.assert_sent_once(id);
    assert_eq!(effects[0].attempts, 1, "{effects:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_lets_nobody_in_is_given_up_at_once() {
    let scene = Scene::new().await;
    scene.remote.deny(true).unwrap();
    let (code, task) = scene.run_json(&[]);
    assert_eq!(code, 1, "{task}");
    let push = &task["deliveries"][0];
    assert_eq!((&push["state"], &push["attempts"]), (&json!("failed"), &json!(1)));
    let said = push["last_error"].as_str().unwrap();
    assert!(said.starts_with("git is not let in by 127.0.0.1:acme/notes.git: "), "{said}");
    // The work itself is done.
    assert_eq!((&task["status"], &task["verified"]), (&json!("completed"), &json!(true)));
}
