//! Agents that do what they should not.

use std::path::Path;

use journeyman_launcher::probe;

use super::{delivered, notes, run, state_of};
use crate::support::{Home, PROGRAM, Ran, git, wait_until};

/// Command lines of all processes that have this word in theirs.
pub(super) fn processes_with(word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(word) {
            found.push(line);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_leaves_in_the_background_dies_with_it() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    // A number that no other process has in its arguments.
    let number = 1_000_000_000 + u64::from(std::process::id());
    let agent = format!(
        "setsid sleep {number} & sleep {number} & env -i setsid -f nohup sleep {number} \
         >/dev/null 2>&1; echo two >> note.txt"
    );
    delivered(&run(&home, &repository, &agent, "true", &[]));
    assert_eq!(processes_with(&format!("sleep {number}")), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_destroys_git_or_the_workspace_changes_only_its_own_copy() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let before = state_of(&repository);
    let agent = "rm -rf .git; git init -q; git config core.worktree /; echo two >> note.txt";
    let (_, branch) = delivered(&run(&home, &repository, agent, "true", &[]));
    assert_eq!(git(&repository, &["show", &format!("{branch}:note.txt")]), "one\ntwo");
    assert_eq!(git(&repository, &["ls-tree", "--name-only", &branch]), "note.txt");

    let agent = "rm -rf {workspace} {workspace}/../git {workspace}/../index; echo gone";
    let ran = run(&home, &repository, agent, "test -e note.txt", &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.json()["verification"]["checks"][0]["comparison"], "broken");
    assert_eq!(state_of(&repository), before);
    assert_eq!(git(&repository, &["fsck", "--strict"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_writes_only_where_it_may() {
    if !probe(Path::new(PROGRAM)).namespaces() {
        eprintln!("namespaces are not permitted here: nothing confines a program");
        return;
    }
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let before = state_of(&repository);
    // Beside the temporary folder, which a program has for itself.
    let outside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let places = [outside.path(), &repository, &home.data(), Path::new("/tmp"), Path::new("/etc")];
    let marks = places.map(|place| place.join(format!("mark-{}", std::process::id())));
    let touches = marks
        .iter()
        .fold("touch".to_owned(), |line, mark| format!("{line} \"{}\"", mark.display()));
    let agent = format!("{touches}; ln -s /etc out; touch out/x; echo two >> note.txt");
    let (_, branch) = delivered(&run(&home, &repository, &agent, "true", &[]));
    assert_eq!(marks.map(|mark| mark.exists()), [false; 5]);
    assert_eq!(git(&repository, &["ls-tree", "--name-only", &branch]), "note.txt\nout");
    assert_eq!(state_of(&repository), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_no_secret_of_ours() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let path = repository.to_str().unwrap();
    let program = "sh -c 'env > env.txt; cat /proc/$PPID/environ >> env.txt; true'";
    let arguments =
        ["run", "--json", "--repo", path, "--command", program, "--check", "env | tee seen; true"];
    let secret = "value-that-nobody-may-see";
    let mut command = home.command(&[&arguments[..], &["Do it"]].concat());
    for name in ["FOO_TOKEN", "OPENAI_API_KEY", "GITHUB_TOKEN", "PGPASSWORD", "LD_LIBRARY_PATH_X"] {
        command.env(name, secret);
    }
    let ran = Ran::from(command.output().unwrap());
    let (_, branch) = delivered(&ran);
    let given = git(&repository, &["show", &format!("{branch}:env.txt")]);
    assert!(given.contains("JOURNEYMAN_PROMPT=Do it"), "{given}");
    for unwanted in [secret, "FOO_TOKEN", "DATABASE_URL", "JOURNEYMAN_DATA", "JOURNEYMAN_CONFIG"] {
        assert!(!given.contains(unwanted), "{unwanted} in {given}");
    }
    let logs = home.run(&["task", "logs", "latest", "--full", "--json"]).ok().stdout;
    assert!(!logs.contains(secret), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_a_fifo_and_a_locked_folder_are_no_obstacle() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let agent = "head -c 52428800 /dev/zero > big; mkfifo pipe; mkdir shut; echo x > shut/x; \
                 chmod 0 shut/x; chmod 555 shut";
    let (_, branch) = delivered(&run(&home, &repository, agent, "test -s big", &[]));
    assert_eq!(git(&repository, &["cat-file", "-s", &format!("{branch}:big")]), "52428800");
    let names = git(&repository, &["ls-tree", "-r", "--name-only", &branch]);
    assert_eq!(names, "big\nnote.txt\nshut/x");
    // The run's folder goes with the run.
    let runs = home.data().join("runs");
    wait_until("the run's folder is removed", || {
        std::fs::read_dir(&runs).is_ok_and(|mut entries| entries.next().is_none())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_passed_on_as_it_is() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let prompt = "Say \"it's\" `id` $(id) \\ {workspace} 😀\n--json\r\n\ttab";
    let path = repository.to_str().unwrap();
    let program = r#"sh -c 'printf %s "$1" > given.txt; printf %s "$JOURNEYMAN_PROMPT" | cmp - given.txt' sh {prompt}"#;
    let ran = home.run(&[
        "run",
        "--json",
        "--repo",
        path,
        "--command",
        program,
        "--check",
        "true",
        prompt,
    ]);
    let (task, branch) = delivered(&ran);
    assert_eq!(task["prompt"], prompt);
    assert!(branch.ends_with("-say-it-s-id-id-workspace"), "{branch}");
    assert_eq!(git(&repository, &["show", &format!("{branch}:given.txt")]), prompt);
}
