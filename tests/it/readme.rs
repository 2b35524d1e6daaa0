//! Every command of the README is run as it stands there.

use std::path::Path;

use crate::support::{Home, Ran, git, wait_until};

/// The commands of the console block that follows a comment which begins so.
fn commands(comment: &str) -> Vec<Vec<String>> {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, rest) = readme.split_once(comment).unwrap();
    let (_, rest) = rest.split_once("```console\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let lines = block.lines().map(|line| line.strip_prefix("$ journeyman ").unwrap());
    lines.map(|line| shlex::split(line).unwrap()).collect()
}

fn run_all(home: &Home, repository: &Path, commands: &[Vec<String>]) {
    for command in commands {
        let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        let output = home.command(&arguments).current_dir(repository).output().unwrap();
        let ran = Ran::from(output);
        assert_eq!(ran.code, 0, "journeyman {command:?}: {ran:?}");
        // `task apply` of a verified branch leaves the tree clean; nothing else touches it.
        assert_eq!(git(repository, &["status", "--porcelain"]), "", "after {command:?}");
    }
}

fn example(home: &Home) -> std::path::PathBuf {
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/broken-crate"));
    let repository = home.folder.path().join("columns");
    let copied = std::process::Command::new("cp").arg("-r").arg(source).arg(&repository).status();
    assert!(copied.unwrap().success());
    // What a build of the example may have left behind.
    let _ = std::fs::remove_dir_all(repository.join("target"));
    git(&repository, &["init", "-q", "-b", "main"]);
    git(&repository, &["add", "-A"]);
    git(&repository, &["commit", "-qm", "broken"]);
    git(&repository, &["config", "user.name", "You"]);
    git(&repository, &["config", "user.email", "you@localhost"]);
    repository
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task() {
    let home = Home::new().await;
    let repository = example(&home);
    run_all(&home, &repository, &commands("<!-- tested: each line"));
    run_all(&home, &repository, &commands("<!-- tested -->"));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_model() {
    use journeyman_domain::model::Wire;
    use journeyman_testkit::model::{Reply, Script};
    let script = Script::by(|seen| {
        let call = |name: &str, arguments| Reply::call(name, &arguments);
        match seen.turn {
            _ if seen.tool_names() == ["report"] => {
                call("report", serde_json::json!({ "status": "ok" }))
            }
            0 => {
                let mend = "sed -i 's/columns_width(&self/column_widths(\\&self/; s/let lines/let mut lines/' \
                            src/lib.rs && sed -i 's/columns_width/column_widths/' tests/table.rs && \
                            sed -i '2i use std::collections::BTreeMap;' src/tally.rs";
                call("bash", serde_json::json!({ "command": mend }))
            }
            _ => Reply::text("The callers know the new name."),
        }
    });
    let scene = crate::native::Scene::new(Wire::OpenAiResponses, script).await;
    let repository = example(&scene.home);
    run_all(&scene.home, &repository, &commands("<!-- tested: with a model"));
    let task = scene.home.task("latest");
    assert_eq!((&task["verified"], &task["driver"]), (&true.into(), &"native".into()), "{task}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_daemon() {
    let home = Home::new().await;
    let repository = example(&home);
    let mut daemon = home.up();
    run_all(&home, &repository, &commands("<!-- tested: after"));
    wait_until("the tasks are completed", || {
        let listed = home.run(&["task", "list", "--json"]).json();
        let tasks = listed["tasks"].as_array().unwrap().clone();
        tasks.len() >= 3 && tasks.iter().all(|task| task["status"] == "completed")
    });
    assert_eq!(daemon.stop(), 0);
}
