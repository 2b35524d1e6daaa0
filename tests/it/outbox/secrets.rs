//! What a user writes down without thought stays on this machine.

use super::scene::{Scene, TOKEN};
use crate::recovery::scene::{CHECK, QUICK};
use crate::support::{Ran, git};

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_a_prompt_and_of_a_check_do_not_leave_with_a_delivery() {
    let scene = Scene::new().await;
    let shaped = format!("ghp_{}", "q7".repeat(18));
    // One is where the branch takes its name from, the other where the title is cut.
    let prompt = format!("Use {TOKEN} to write {}{shaped} two", "the word ".repeat(8));
    assert_eq!(prompt.find(&shaped), Some(115), "the cut after 119 letters is within it");
    let check = format!(": {TOKEN} {shaped}; {CHECK}");
    let repository = scene.repository.to_str().unwrap();
    let options =
        ["run", "--json", "--repo", repository, "--deliver", "pr", "--command", QUICK, "--check"];
    let mut command = scene.home.command(&[&options[..], &[&check, &prompt]].concat());
    scene.set_up(&mut command);
    let ran = Ran::from(command.output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    let task = ran.json();
    scene.assert_sent_once(task["id"].as_str().unwrap());

    let branch = task["branch"].as_str().unwrap();
    assert!(branch.ends_with("-use-to-write-the-word-the-word-the-word"), "{branch}");
    let message = git(&scene.remote.bare(), &["log", "-1", "--format=%B", branch]);
    let masked = format!("Use *** to write {}*** two", "the word ".repeat(8));
    assert_eq!(message, masked);
    let pull = scene.forge.pulls().remove(0);
    assert_eq!(pull.title, masked);
    let line = format!("- `: *** ***; {CHECK}`: failed on the base, passes now\n");
    assert!(pull.body.starts_with(&masked) && pull.body.contains(&line), "{}", pull.body);
}
