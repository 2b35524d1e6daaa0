//! Calls that cannot be meant.

use std::path::Path;
use std::process::Stdio;

use super::{notes, refuse, run, state_of, tasks};
use crate::support::{Home, git};

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_word_is_answered_with_the_known_ones() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let before = state_of(&repository);
    let add = ["task", "add", "--repo", repository.to_str().unwrap()];
    let cases: [(&[&str], &str, &str); 13] = [
        (&["--driver", "magic", "x"], "usage", "'magic' is no driver; known are mechanic, command"),
        (&["--priority", "soon", "x"], "usage", "'soon' is no priority; known are low, normal"),
        (&["--deliver", "mail", "x"], "usage", "invalid value 'mail' for '--deliver <DELIVER>'"),
        (&["--agent", "nobody", "x"], "not_found", "there is no agent nobody"),
        (&["--base", "nothing", "x"], "no_such_revision", "'nothing' names no commit in "),
        (&["--base", "--help", "x"], "usage", "a value is required for '--base <REF>'"),
        (&["--after", "12345678", "x"], "not_found", "there is no task 12345678"),
        (&["--due", "tomorrow", "x"], "usage", "'tomorrow' is no time; one looks like 20"),
        (&["--time", "0", "x"], "usage", "the time limit must be 1 to "),
        (&["--command", "it's", "x"], "usage", "a quote is open in: it's"),
        (&["--check", " ", "x"], "usage", "a check is empty"),
        (&[" \n\t"], "usage", "the prompt is empty"),
        (&["--unique", "", "x"], "usage", "the unique key is empty"),
    ];
    for (arguments, code, said) in cases {
        let refused = refuse(&home, &[&add[..], arguments].concat(), 2, code);
        assert!(refused.message.starts_with(said), "{refused:?}, not {said}");
    }
    refuse(&home, &["run", "--repo", repository.to_str().unwrap(), ""], 2, "usage");
    refuse(&home, &["run"], 2, "usage");
    refuse(&home, &["tusk"], 2, "usage");
    refuse(&home, &["task", "list", "--status", "odd"], 2, "usage");
    refuse(&home, &["task", "list", "--codebase", "odd"], 2, "not_found");
    refuse(&home, &["task", "list", "--cursor", "odd"], 2, "usage");
    refuse(&home, &["agent", "set", "Code Generator", "driver=odd"], 2, "usage");
    refuse(&home, &["agent", "show", "odd"], 2, "not_found");
    refuse(&home, &["errors", "show", "odd"], 2, "not_found");
    assert_eq!(tasks(&home), [""; 0]);
    assert_eq!(state_of(&repository), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_names_none_or_several_is_refused() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let path = repository.to_str().unwrap();
    refuse(&home, &["task", "show", "latest"], 2, "not_found");
    for title in ["first", "second"] {
        home.run(&["task", "add", "--repo", path, title]).ok();
    }
    for command in ["show", "watch", "cancel", "retry", "pause", "approve", "logs", "diff", "apply"]
    {
        let refused = refuse(&home, &["task", command, "zz/../%20"], 2, "not_found");
        assert_eq!(refused.message, "there is no task zz/../%20");
    }
    // Ids begin with the time, and these two with the same minute but for the worst of luck.
    let refused = refuse(&home, &["task", "show", "0"], 2, "ambiguous");
    assert_eq!(refused.message, "several tasks match 0");
    assert_eq!(refused.hint.as_deref(), Some("give more of its digits"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_key_is_taken_until_its_task_ends() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let path = repository.to_str().unwrap();
    let add = ["task", "add", "--repo", path, "--unique", "nightly"];
    home.run(&[&add[..], &["first"]].concat()).ok();
    let refused = refuse(&home, &[&add[..], &["second"]].concat(), 2, "conflict");
    assert!(refused.message.ends_with(" has this unique key already"), "{refused:?}");
    home.run(&["task", "cancel", "latest"]).ok();
    home.run(&[&add[..], &["third"]].concat()).ok();
    assert_eq!(tasks(&home), ["third", "first"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_ended_is_not_steered() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let id = run(&home, &repository, "true", "true", &[]).ok().json();
    let id = id["id"].as_str().unwrap();
    for (wish, said) in [
        ("cancel", "cannot be cancelled"),
        ("pause", "cannot be paused"),
        ("resume", "was not put aside"),
        ("retry", "cannot be tried again"),
        ("approve", "does not wait for approval"),
    ] {
        let refused = refuse(&home, &["task", wish, id], 2, "conflict");
        assert!(refused.message.ends_with(&format!(" is completed and {said}")), "{refused:?}");
    }
    refuse(&home, &["task", "answer", id, "yes"], 2, "conflict");
    assert_eq!(home.task(id)["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_daemon_has_a_data_folder() {
    let home = Home::new().await;
    let mut daemon = home.up();
    let refused = refuse(&home, &["up"], 2, "already_running");
    assert!(refused.message.ends_with(&home.data().display().to_string()), "{refused:?}");
    home.run(&["tree"]).ok();
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_the_printing_quietly() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    run(&home, &repository, "seq 100000 > long.txt", "true", &[]).ok();
    for arguments in [
        &["task", "list"][..],
        &["task", "diff", "latest"],
        &["task", "logs", "latest", "--full", "--json"],
        &["completions", "bash"],
        &["man"],
        &["config", "list"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = home.command(arguments).stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!((ran.status.code(), said.as_ref()), (Some(0), ""), "{arguments:?}");
    }
    // A full device is no closed pipe: what was asked for was not given.
    let full = std::fs::File::options().write(true).open(Path::new("/dev/full")).unwrap();
    let ran = home.command(&["task", "list"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1));
    assert!(said.starts_with("error: standard output cannot be written: "), "{said}");
    assert_eq!(git(&repository, &["status", "--porcelain"]), "");
}
