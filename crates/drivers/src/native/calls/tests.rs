use super::*;

fn toolbox(patching: bool) -> Toolbox {
    Toolbox { patching, workspace: "/w/tree".into(), network: false, call_timeout_ms: 60_000 }
}

fn good(patching: bool, name: &str, arguments: &str) -> ToolCall {
    take(patching, name, arguments).unwrap()
}

fn take(patching: bool, name: &str, arguments: &str) -> Result<ToolCall, String> {
    let call = CallRequest { call_id: "p".into(), name: name.into(), arguments: arguments.into() };
    toolbox(patching).take(&call, "t1c1".into(), false)
}

fn taken(title: &str, tool: Tool) -> ToolCall {
    ToolCall { call_id: "t1c1".into(), title: title.into(), tool }
}

fn bash(command: &str, timeout_ms: Option<u64>) -> Tool {
    let argv = ["bash", "-c", command].map(String::from).to_vec();
    Tool::Exec(Exec { argv, timeout_ms, ..Exec::default() })
}

#[test]
fn good_calls_become_actions() {
    assert_eq!(
        good(false, "bash", r#"{"command":"cargo test\n  --all","timeout_s":9}"#),
        taken("bash: cargo test --all", bash("cargo test\n  --all", Some(9_000)))
    );
    assert_eq!(
        good(false, "bash", r#"{"command":"x","timeout_s":99999}"#),
        taken("bash: x", bash("x", Some(60_000)))
    );
    assert_eq!(
        good(false, "bash", r#"{"command":"x","timeout_s":null}"#),
        taken("bash: x", bash("x", None))
    );
    assert_eq!(
        good(false, "edit", r#"{"path":"/w/tree/src/a","old":"x","new":"y"}"#),
        taken(
            "edit src/a",
            Tool::Replace { path: "src/a".into(), old: "x".into(), new: "y".into(), all: false }
        )
    );
    assert_eq!(
        good(true, "write", r#"{"path":"a","content":""}"#),
        taken("write a", Tool::Write { path: "a".into(), content: String::new() })
    );
    assert_eq!(
        good(false, "read", r#"{"path":"/w/tree"}"#),
        taken("read .", Tool::View { path: ".".into(), offset: 1, limit: 2_000 })
    );
    assert_eq!(
        good(false, "read", r#"{"path":"/w/treehouse","offset":5,"limit":99999}"#),
        taken(
            "read /w/treehouse",
            Tool::View { path: "/w/treehouse".into(), offset: 5, limit: 2_000 }
        )
    );
    let patch = "*** Begin Patch\n*** Delete File: a\n*** Delete File: b\n*** End Patch";
    let arguments = serde_json::json!({ "patch": patch }).to_string();
    assert_eq!(
        good(true, "apply_patch", &arguments),
        taken("patch a, b", Tool::Patch { patch: patch.into() })
    );
}

#[test]
fn a_title_is_one_bounded_line() {
    let command = serde_json::json!({ "command": format!("a\u{1b}\t{}", "ü".repeat(200)) });
    let title = take(false, "bash", &command.to_string()).unwrap().title;
    assert_eq!(title, format!("bash: a {}…", "ü".repeat(TITLE - 8)));
}

#[test]
fn what_is_wrong_with_a_call_is_told() {
    let cases = [
        ("shell", "{}", "there is no tool 'shell'; the tools are bash, edit, write, read"),
        (
            "apply_patch",
            "{}",
            "there is no tool 'apply_patch'; the tools are bash, edit, write, read",
        ),
        ("bash", "ls", "the arguments of bash are no JSON: expected value at line 1 column 1"),
        ("bash", "[1]", "the arguments of bash are no JSON object"),
        ("bash", "", "this call to bash was not done: the required 'command' is missing"),
        ("bash", r#"{"command":7}"#, "this call to bash was not done: 'command' must be a string"),
        (
            "bash",
            r#"{"command":" "}"#,
            "this call to bash was not done: 'command' is empty or holds a NUL character",
        ),
        (
            "bash",
            r#"{"command":"x","timeout_s":0}"#,
            "this call to bash was not done: 'timeout_s' must be a whole number from 1",
        ),
        (
            "edit",
            r#"{"path":"a","old":"x","new":"y","replace_all":"yes"}"#,
            "this call to edit was not done: 'replace_all' must be true or false",
        ),
        (
            "write",
            r#"{"path":"a","content":"x","mode":1}"#,
            "this call to write was not done: it takes no 'mode', only path, content",
        ),
        ("read", r#"{"path":""}"#, "this call to read was not done: 'path' is empty"),
    ];
    for (name, arguments, told) in cases {
        assert_eq!(take(false, name, arguments), Err(told.to_owned()));
    }
    assert_eq!(
        take(true, "apply_patch", r#"{"patch":"x"}"#),
        Err(
            "this call to apply_patch was not done: 'patch' is no patch: the patch cannot be read \
             at its line 1: it must begin with '*** Begin Patch'"
                .to_owned()
        )
    );
}

#[test]
fn a_call_that_was_cut_off_is_told_so_unless_it_is_whole() {
    let cut = |arguments: &str| {
        let name = "write".to_owned();
        let call = CallRequest { call_id: "p".into(), name, arguments: arguments.into() };
        toolbox(false).take(&call, "t1c1".into(), true)
    };
    assert!(cut(r#"{"path":"a","content":"half of"#).unwrap_err().contains("smaller step"));
    assert!(cut(r#"{"path":"a"}"#).unwrap_err().contains("smaller step"));
    assert!(cut(r#"{"path":"a","content":"all"}"#).is_ok());
}

#[test]
fn calls_written_as_text_are_seen_and_plain_words_are_not() {
    let names = toolbox(false).names();
    for text in [
        "I run it.\n<tool_call>\n{\"name\": \"bash\", \"arguments\": {}}\n</tool_call>",
        "<function=edit><parameter=path>",
        "```json\n{\"tool\": \"read\", \"parameters\": {\"path\": \"a\"}}\n```",
        "{\"name\":\"bash\",\"arguments\":{\"command\":\"ls\"}}",
    ] {
        assert!(is_call_as_text(text, &names), "{text}");
    }
    for text in [
        "All tests pass now.",
        "```json\n{\"name\": \"package\", \"input\": 1}\n```",
        "The parser takes `<tool_call>` now.",
        "```bash\nls\n```",
    ] {
        assert!(!is_call_as_text(text, &names), "{text}");
    }
}
