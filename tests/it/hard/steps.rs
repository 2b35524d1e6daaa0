//! Any step of any run can be looked at, compared and restored: from the base and the database alone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::scene::{PROGRAM, Standing, by_hand, change, repository};
use crate::recovery::scene::{add_command, is_over, open, row, run_of, steps, wait_at_gate};
use crate::support::{Home, git, wait_until};

/// The tree of a folder that is no repository.
fn tree_of(home: &Home, folder: &Path) -> String {
    let git_dir = home.folder.path().join("hash.git");
    if !git_dir.exists() {
        git(home.folder.path(), &["init", "-q", "--bare", git_dir.to_str().unwrap()]);
    }
    let places = ["--git-dir", git_dir.to_str().unwrap(), "--work-tree", folder.to_str().unwrap()];
    let run = |arguments: &[&str]| git(folder, &[&places, arguments].concat());
    run(&["read-tree", "--empty"]);
    // Whatever its own rules ignore is a part of it, too.
    run(&["add", "-A", "-f", "."]);
    run(&["write-tree"])
}

/// A task with its whole journal behind it.
fn done(home: &Home, repository: &Path) -> String {
    let task = add_command(home, repository, PROGRAM, super::scene::CHECK);
    let standing = Standing::of(home, task.clone());
    open(&standing.tree());
    wait_until("it is done", || is_over(home, &task));
    assert_eq!(row(home, &task).status.as_str(), "completed");
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_can_be_looked_at_compared_and_restored() {
    let home = Home::new().await;
    let repository = repository(&home, "notes");
    let daemon = home.up();
    let task = done(&home, &repository);
    let run = run_of(&home, &task).to_string();
    wait_until("the run's folder is gone", || !home.data().join("runs").join(&run).exists());
    let before = git(&repository, &["status", "--porcelain", "--ignored"]);

    // What each state must be, from what the snapshots say of themselves.
    let journal = steps(&home, &task);
    let base = git(&repository, &["rev-parse", "main^{tree}"]);
    let branch = row(&home, &task).branch.unwrap();
    let delivered = git(&repository, &["rev-parse", &format!("{branch}^{{tree}}")]);
    let mut trees = Vec::new();
    for step in 0..=journal.len() {
        let folder = home.folder.path().join(format!("step-{step}"));
        let (number, to) = (step.to_string(), folder.to_str().unwrap());
        let restore = ["task", "restore", &task, "--step", &number, "--to", to, "--json"];
        let document = home.run(&restore).ok().json();
        assert!(!folder.join(".git").exists());
        let tree = tree_of(&home, &folder);
        assert_eq!(document["tree"], Value::from(tree.as_str()), "step {step}");
        assert_eq!(document["run"], Value::from(run.as_str()));
        trees.push(tree);
    }
    let changed: Vec<usize> = (1..trees.len()).filter(|n| trees[*n] != trees[n - 1]).collect();
    let with_snapshot = journal.iter().filter(|step| step.snapshot_tree.is_some());
    let with_snapshot: Vec<usize> =
        with_snapshot.map(|step| usize::try_from(step.seq).unwrap()).collect();
    assert_eq!(changed, with_snapshot);
    assert_eq!(changed.len(), 2, "one a round");
    assert_eq!((&trees[0], trees.last().unwrap()), (&base, &delivered));
    // Modes, links and what was not tracked.
    let first = home.folder.path().join(format!("step-{}", changed[0]));
    let mode = std::fs::metadata(first.join("deep/run.sh")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111);
    let link = std::fs::read_link(first.join("deep/link")).unwrap();
    assert_eq!(link, Path::new("../note.txt"));
    assert!(!first.join("gone.txt").exists());

    // The log says which they are.
    let log = home.run(&["task", "logs", &task]).ok().stdout;
    for step in &changed {
        assert!(log.contains(&format!("  {step:>4}*  ")), "{log}");
    }
    assert_eq!(log.matches("*  ").count(), changed.len(), "{log}");
    let events = home.run(&["task", "logs", &task, "--json"]).ok().stdout;
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events: Vec<_> = events.filter(|event| !event["snapshot"].is_null()).collect();
    let numbers: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    let places = changed.iter().map(|step| 1_000_000 + u64::try_from(*step).unwrap());
    assert_eq!(numbers, places.collect::<Vec<_>>());

    // The diff of a step is what it did; from the base it is all so far.
    let diff = |options: &[&str]| {
        let words = [&["task", "diff", &task], options].concat();
        home.run(&words).ok().stdout
    };
    let (one, two) = (changed[0].to_string(), changed[1].to_string());
    let first = diff(&["--step", &one]);
    assert!(first.contains("+++ b/half") && first.contains("new file mode 120000"), "{first}");
    assert!(!first.contains("+two"), "{first}");
    let second = diff(&["--step", &two]);
    assert!(second.contains("+two") && !second.contains("half"), "{second}");
    let all = diff(&["--step", &two, "--from", "0"]);
    assert!(all.contains("+two") && all.contains("+++ b/half"), "{all}");
    assert_eq!(diff(&["--step", &one, "--from", &one]).trim(), "");
    let back = diff(&["--step", "0", "--from", &two]);
    assert!(back.contains("-two"), "{back}");
    assert_eq!(all.trim(), diff(&[]).trim());

    // Nothing is left of looking, and the user's repository is as it was.
    assert_eq!(std::fs::read_dir(home.data().join("runs")).unwrap().count(), 0);
    assert_eq!(git(&repository, &["status", "--porcelain", "--ignored"]), before);
    git(&repository, &["fsck", "--strict"]);
    drop(daemon);
    // It needs no daemon.
    let to = home.folder.path().join("later");
    home.run(&["task", "restore", &task, "--step", &one, "--to", to.to_str().unwrap()]).ok();
    assert_eq!(tree_of(&home, &to), trees[changed[0]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_overwrites_nothing_and_says_what_is_wrong() {
    let home = Home::new().await;
    let repository = repository(&home, "notes");
    let _daemon = home.up();
    let waits = ["task", "add", "--json", "--repo", "notes", "--driver", "none", "milestone"];
    let none = home.run(&waits).ok().json()["tasks"][0]["id"].as_str().unwrap().to_owned();
    let task = done(&home, &repository);
    let restore = |task: &str, step: &str, to: &Path| {
        let to = to.to_str().unwrap();
        home.run(&["task", "restore", task, "--step", step, "--to", to, "--json"])
    };
    let full = home.folder.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("mine"), "mine").unwrap();
    let empty = home.folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let link = home.folder.path().join("link");
    std::os::unix::fs::symlink(&empty, &link).unwrap();
    for (step, to, code, says) in [
        ("3", full.clone(), "conflict", "is there already"),
        ("3", full.join("mine"), "conflict", "is there already"),
        ("3", link.clone(), "conflict", "is there already"),
        ("3", repository.join("new"), "usage", "lies in the repository"),
        ("3", repository.join(".git/new"), "usage", "lies in the repository"),
        ("99", home.folder.path().join("new"), "usage", "there is no step 99"),
        ("-1", home.folder.path().join("new"), "usage", ""),
    ] {
        let refused = restore(&task, step, &to);
        assert_eq!(refused.code, 2, "{refused:?}");
        let error: Value = serde_json::from_str(refused.stderr.trim()).unwrap_or_default();
        if !says.is_empty() {
            assert_eq!(error["error"]["code"], json!(code), "{refused:?}");
            let message = error["error"]["message"].as_str().unwrap();
            assert!(message.contains(says), "{message}");
        }
    }
    assert!(!home.folder.path().join("new").exists() && !repository.join("new").exists());
    assert_eq!(std::fs::read_to_string(full.join("mine")).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0);
    assert_eq!(restore(&none, "0", &empty).code, 2, "a task without a run has no steps");
    restore(&task, "3", &empty).ok();
    assert!(empty.join("half").exists());

    // A pack that is gone is said, and nothing is made up; what does not need it can still be had.
    let run = run_of(&home, &task);
    let lose = format!(
        "DELETE FROM blobs WHERE hash = (SELECT pack_blob FROM run_steps WHERE run_id = '{run}' AND seq = 3)"
    );
    change(&mut by_hand(&home), &lose);
    let damaged = restore(&task, "3", &home.folder.path().join("damaged"));
    assert_eq!(damaged.code, 1, "{damaged:?}");
    let error: Value = serde_json::from_str(damaged.stderr.trim()).unwrap();
    assert_eq!(error["error"]["code"], "damaged");
    assert!(!home.folder.path().join("damaged").exists());
    assert_eq!(std::fs::read_dir(home.data().join("runs")).unwrap().count(), 0);
}

/// While it runs, too: nobody's folder is touched.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_task_can_be_looked_at() {
    let home = Home::new().await;
    let repository = repository(&home, "notes");
    let _daemon = home.up();
    let [standing] = Standing::many(&home, &repository);
    let to = home.folder.path().join("look");
    let words = ["task", "restore", &standing.task, "--step", "3", "--to", to.to_str().unwrap()];
    home.run(&words).ok();
    assert_eq!(std::fs::read_to_string(to.join("note.txt")).unwrap(), "one\n");
    let tree = wait_at_gate(&home, &home.data(), &standing.task);
    open(&tree);
    wait_until("it is done", || is_over(&home, &standing.task));
    assert_eq!(row(&home, &standing.task).status.as_str(), "completed");
}
