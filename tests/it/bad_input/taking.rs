//! Taking a result where it cannot be taken: as a whole or not at all.

use std::path::Path;

use super::{notes, refuse, run, state_of};
use crate::support::{Home, git};

fn write(repository: &Path, name: &str, text: &str) {
    std::fs::write(repository.join(name), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_not_applied_over_what_is_not_committed() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    write(&repository, ".gitignore", "ignored.txt\n");
    git(&repository, &["add", "-A"]);
    git(&repository, &["commit", "-q", "-m", "ignore"]);
    let agent = "echo two >> note.txt; echo theirs > new.txt; \
                 echo theirs > ignored.txt; git add -f ignored.txt";
    run(&home, &repository, agent, "true", &[]).ok();
    let apply = ["task", "apply", "latest"];

    write(&repository, "note.txt", "one\nmine\n");
    let before = state_of(&repository);
    let refused = refuse(&home, &apply, 2, "conflict");
    assert_eq!(
        refused.message,
        "the working tree has uncommitted changes (note.txt); commit or stash them first"
    );
    assert_eq!(state_of(&repository), before);

    git(&repository, &["checkout", "-q", "note.txt"]);
    write(&repository, "new.txt", "mine\n");
    let before = state_of(&repository);
    let refused = refuse(&home, &apply, 2, "conflict");
    assert_eq!(
        refused.message,
        "files that are not committed are where the commit adds its own (new.txt); \
         move them away first"
    );
    assert_eq!(state_of(&repository), before);
    assert_eq!(std::fs::read_to_string(repository.join("new.txt")).unwrap(), "mine\n");

    std::fs::remove_file(repository.join("new.txt")).unwrap();
    home.run(&apply).ok();
    assert_eq!(git(&repository, &["show", "HEAD:new.txt"]), "theirs");
    let again = home.run(&apply).ok();
    assert!(again.stdout.contains("is in the current branch already"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ignored_file_is_not_overwritten() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    run(&home, &repository, "echo theirs > secret.env", "true", &[]).ok();
    write(&repository, ".git/info/exclude", "secret.env\n");
    write(&repository, "secret.env", "mine\n");
    let before = state_of(&repository);
    let refused = refuse(&home, &["task", "apply", "latest"], 2, "conflict");
    assert!(refused.message.contains("(secret.env)"), "{refused:?}");
    assert_eq!(state_of(&repository), before);
    assert_eq!(std::fs::read_to_string(repository.join("secret.env")).unwrap(), "mine\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_leaves_everything_as_it_was() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    run(&home, &repository, "echo theirs > note.txt; echo x > x", "true", &[]).ok();
    write(&repository, "note.txt", "mine\n");
    git(&repository, &["commit", "-q", "-am", "mine"]);
    let before = state_of(&repository);
    let refused = refuse(&home, &["task", "apply", "latest"], 2, "conflict");
    assert_eq!(
        refused.message,
        "the commit does not apply to the current branch; it conflicts in note.txt"
    );
    assert_eq!(state_of(&repository), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_without_a_change_has_an_empty_diff_and_nothing_to_apply() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let task = run(&home, &repository, "true", "true", &[]).ok().json();
    assert_eq!((&task["branch"], &task["verified"]), (&serde_json::Value::Null, &true.into()));
    assert_eq!(home.run(&["task", "diff", "latest"]).ok().stdout, "");
    let diff = home.run(&["task", "diff", "latest", "--json"]).ok().json();
    assert_eq!(diff, serde_json::json!({ "diff": "" }));
    let refused = refuse(&home, &["task", "apply", "latest"], 2, "conflict");
    assert!(refused.message.ends_with(" has delivered no commit"), "{refused:?}");
}
