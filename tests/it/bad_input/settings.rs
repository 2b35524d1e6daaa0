//! Settings that cannot be used: the key, the file and the line are named.

use std::os::unix::ffi::OsStrExt as _;

use super::{refuse, refuse_with, run, state_of};
use crate::support::Home;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_is_named_with_key_and_line() {
    let home = Home::new().await;
    let folder = home.folder.path().join("config");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("journeyman.toml");
    let cases: [(&[u8], &str); 7] = [
        (b"[run]\nrounds = 3\nroundz = 4\n", ":3: roundz: unknown field `roundz`, expected one of"),
        (b"[run]\n# how often\nrounds = \"many\"\n", ":3: rounds: invalid type: string \"many\""),
        (b"[run]\nrounds = -1\n", ":2: rounds: invalid value: integer `-1`"),
        (b"[sandbox]\nnamespaces = \"maybe\"\n", ":2: namespaces: unknown variant `maybe`"),
        (b"[log]\n\n[nope]\nkey = 1\n", ":3: unknown field `nope`, expected one of"),
        (b"[run\n", ":1: unclosed table"),
        (b"\xff\xfe", " cannot be read: "),
    ];
    for (text, said) in cases {
        std::fs::write(&file, text).unwrap();
        let refused = refuse(&home, &["task", "list"], 2, "config");
        let expected = format!("{}{said}", file.display());
        assert!(refused.message.starts_with(&expected), "{refused:?}, not {expected}");
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let refused = refuse(&home, &["up"], 2, "config");
    assert!(refused.message.contains("journeyman.toml cannot be read"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_variable_is_named() {
    let home = Home::new().await;
    for (name, value, said) in [
        ("JOURNEYMAN__RUN__ROUNDZ", "3", "there is no setting 'run.roundz'"),
        ("JOURNEYMAN__RUN__ROUNDS", "many", "'many' is no integer"),
        ("JOURNEYMAN__RUN__ROUNDS", "-1", "invalid value: integer `-1`"),
        ("JOURNEYMAN__RUN", "1", "there is no setting 'run'"),
    ] {
        let refused = refuse_with(&home, &["task", "list"], &[(name, value)], 2, "config");
        let named = format!("the environment variable {name}: ");
        assert!(refused.message.starts_with(&named), "{refused:?}");
        assert!(refused.message.contains(said), "{refused:?}, not {said}");
    }
    // Others' variables may hold anything.
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    let ran = home.command(&["task", "list"]).env("ODD", odd).env(odd, "x").output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn config_set_writes_nothing_wrong() {
    let home = Home::new().await;
    let unknown = refuse(&home, &["config", "set", "run.roundz", "3"], 2, "config");
    assert!(unknown.message.contains("there is no setting 'run.roundz'"), "{unknown:?}");
    let bad = refuse(&home, &["config", "set", "run.rounds", "many"], 2, "config");
    assert!(bad.message.contains("run.rounds does not take 'many'"), "{bad:?}");
    assert!(!home.folder.path().join("config/journeyman.toml").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_of_the_repository_fails_the_work_with_its_line() {
    let home = Home::new().await;
    for (number, (text, said)) in [
        ("rounds = 2\nchecks = [\n", ".journeyman.toml:"),
        ("rounds = 2\ncheks = []\n", ".journeyman.toml:2: unknown field `cheks`"),
        ("check_timeout_s = \"long\"\n", ".journeyman.toml:1: invalid type: string \"long\""),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("notes{number}");
        let repository = home.repository(&name, &[("n", "1\n"), (".journeyman.toml", text)]);
        let before = state_of(&repository);
        let ran = run(&home, &repository, "echo two >> n", "true", &[]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let error = ran.json()["error"].as_str().unwrap().to_owned();
        assert!(error.starts_with(said), "{error}");
        assert_eq!(state_of(&repository), before);
    }
}
