use super::*;

fn evidence(phase: Phase, source: &str, text: &str) -> Evidence {
    Evidence {
        phase,
        source: (!source.is_empty()).then(|| source.to_owned()),
        exit_code: Some(1),
        signal: None,
        timed_out: false,
        http_status: None,
        sqlstate: None,
        model_failure: None,
        text: text.to_owned(),
    }
}

#[track_caller]
fn check(phase: Phase, source: &str, text: &str, category: Category, kind: &str) {
    let found = classify(&evidence(phase, source, text));
    assert_eq!((found.category, found.kind.as_str()), (category, kind), "{found:?}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of one line a tool")]
fn what_the_tools_say() {
    use Category as C;
    for (source, text, category, kind) in [
        (
            "cargo check",
            "error[E0308]: mismatched types\n --> src/lib.rs:3:5\n",
            C::BuildType,
            "rustc:E0308",
        ),
        (
            "cargo check",
            "error[E0425]: cannot find value `x` in this scope\n",
            C::BuildCompile,
            "rustc:E0425",
        ),
        (
            "cargo clippy",
            "error: unneeded `return`\n = note: `-D clippy::needless-return` implied\n = help: allow(clippy::needless_return)\n",
            C::Lint,
            "clippy:needless_return",
        ),
        ("cargo clippy", "error: use of `to_ne_bytes`\n  --> src/a.rs:12:21\n   |\n", C::Lint, ""),
        (
            "cargo check",
            "error: unused variable: `x`\n = note: `-D unused-variables` implied by `-D warnings`\n",
            C::Lint,
            "rustc:unused_variables",
        ),
        (
            "npm run build",
            "src/a.ts(3,5): error TS2322: Type 'x' is not assignable\n",
            C::BuildType,
            "tsc:TS2322",
        ),
        (
            "npm run lint",
            "/r/a.js\n  1:7  error  'x' is never used  no-unused-vars\n",
            C::Lint,
            "eslint:no-unused-vars",
        ),
        ("ruff check", "a.py:1:8: F401 [*] `os` imported but unused\n", C::Lint, "ruff:F401"),
        ("ruff check", "F401 [*] `os` imported but unused\n --> a.py:1:8\n", C::Lint, "ruff:F401"),
        (
            "pytest",
            "E   ModuleNotFoundError: No module named 'numpy'\n",
            C::EnvMissing,
            "missing_module:numpy",
        ),
        (
            "pytest",
            "    def test_a():\n>       assert 1 == 2\nE       AssertionError: nope\n",
            C::TestAssertion,
            "exception:AssertionError",
        ),
        (
            "make test",
            "sh: 1: npm: not found\nmake: *** [Makefile:2: test] Error 127\n",
            C::EnvMissing,
            "missing_command:npm",
        ),
        (
            "go test",
            "--- FAIL: TestX (0.00s)\n    a_test.go:4: want 1\nFAIL\tx\t0.1s\n",
            C::TestAssertion,
            "",
        ),
        ("go build", "./a.go:3:5: undefined: foo\n", C::BuildCompile, "go:undefined"),
        (
            "make",
            "a.c:1:10: fatal error: zlib.h: No such file or directory\n",
            C::EnvMissing,
            "missing_header:zlib.h",
        ),
        (
            "cargo test",
            "test a ... FAILED\nthread 'a' (7) panicked at src/lib.rs:9:24:\nsum is wrong\n",
            C::TestAssertion,
            "panic:ASSERT",
        ),
        (
            "run",
            "==1==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x1\nWRITE of size 4\n",
            C::ProgramCrash,
            "crash:Heap-buffer-overflow WRITE 4",
        ),
        (
            "npm run test",
            "write: No space left on device (os error 28)\n",
            C::ResourceDisk,
            "disk:full",
        ),
        ("git apply", "CONFLICT (content): Merge conflict in a.rs\n", C::MergeConflict, "conflict"),
        ("lint", "something went another way\n", C::Lint, ""),
        ("x", "nothing to see\n", C::Unknown, ""),
    ] {
        check(Phase::Verify, source, text, category, kind);
    }
    check(
        Phase::Prepare,
        "npm ci",
        "npm error code ERESOLVE\n",
        C::DependencyResolution,
        "npm:ERESOLVE",
    );
    check(
        Phase::Prepare,
        "cargo fetch",
        "error: no matching package named `serd` found\n",
        C::DependencyResolution,
        "cargo:no_matching_package:serd",
    );
    check(
        Phase::Act,
        "model",
        "Error: prompt is too long: 200001 tokens\n",
        C::ContextOverflow,
        "context",
    );
    check(Phase::Act, "edit", "old_string was not found in src/lib.rs\n", C::ToolMisuse, "edit");
}

#[test]
fn structured_evidence_comes_before_text() {
    let text = "error[E0308]: mismatched types\n";
    let base = evidence(Phase::Act, "model", text);
    let kind = |evidence: Evidence| {
        let found = classify(&evidence);
        (found.category, found.kind, found.classified_by)
    };
    assert_eq!(kind(Evidence { http_status: Some(429), ..base.clone() }).1, "http:429");
    let quota = Evidence {
        http_status: Some(429),
        text: r#"{"error":{"code":"insufficient_quota"}}"#.into(),
        ..base.clone()
    };
    assert_eq!(kind(quota).0, Category::Budget);
    assert_eq!(
        kind(Evidence { sqlstate: Some("40001".into()), ..base.clone() }).1,
        "sqlstate:40001"
    );
    assert_eq!(kind(Evidence { timed_out: true, ..base.clone() }).0, Category::TimeoutHard);
    // A signal only suggests, so what the text says comes first.
    assert_eq!(kind(Evidence { signal: Some(9), ..base.clone() }).1, "rustc:E0308");
    let silent = Evidence { signal: Some(9), text: String::new(), ..base };
    assert_eq!(kind(silent), (Category::ResourceMemory, "signal:9".into(), "signal".into()));
}

#[test]
fn equal_failures_have_equal_fingerprints() {
    let run = |folder: &str, time: &str, order: bool| {
        let (a, b) = ("test tests::a ... FAILED\n", "test tests::b ... FAILED\n");
        let tests = if order { format!("{a}{b}") } else { format!("{b}{a}") };
        classify(&evidence(
            Phase::Verify,
            "cargo test",
            &format!(
                "{tests}thread 'tests::a' ({time}) panicked at {folder}/src/lib.rs:9:24:\nwrong sum\ntest result: FAILED. 0 passed; 2 failed; finished in 0.{time}s\n"
            ),
        ))
    };
    let (one, two) = (run("/tmp/a1", "123", true), run("/tmp/b2", "456", false));
    assert_eq!((one.fingerprint.clone(), one.group.clone()), (two.fingerprint, two.group));
    // One test less fails: another failure, of the same kind.
    let text = "test tests::a ... FAILED\nthread 'tests::a' (1) panicked at src/lib.rs:9:24:\nwrong sum\ntest result: FAILED. 1 passed; 1 failed; finished in 0.1s\n";
    let better = classify(&evidence(Phase::Verify, "cargo test", text));
    assert_ne!(better.fingerprint, one.fingerprint);
    assert_eq!(better.group, one.group);
}

#[test]
fn groups_hold_kinds_together_and_apart() {
    let group = |text: &str| classify(&evidence(Phase::Verify, "cargo check", text)).group;
    let one = group("error[E0425]: cannot find value `x` in this scope\n --> src/a.rs:1:1\n");
    assert_eq!(
        one,
        group("error[E0425]: cannot find value `other` in this scope\n --> src/b.rs:7:3\n")
    );
    assert_ne!(one, group("error[E0308]: mismatched types\n --> src/a.rs:1:1\n"));
}

#[test]
fn a_headline_is_one_clean_line() {
    let text = format!(
        "error: cannot push to https://me:hunter2secret@h/x {}\nmore\n",
        "long ".repeat(200)
    );
    let found = classify(&evidence(Phase::Deliver, "", &text));
    assert!(
        found.headline.starts_with("error: cannot push to https://me:***@h/x long "),
        "{}",
        found.headline
    );
    assert!(found.headline.len() <= 200);
    assert_eq!(classify(&evidence(Phase::Act, "", "")).headline, "unknown");
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_it(text in "(?s)(error|\\[E0308\\]|: |\n|    at |#0 0x1 in |\\(|\\)|<|>|::|'|`|File \"|panicked at |ä|[a-z]{1,4}| ){0,60}") {
        let found = classify(&evidence(Phase::Verify, "t", &text));
        proptest::prop_assert_eq!(found.fingerprint.len(), 64);
        proptest::prop_assert!(found.headline.len() <= 200 && !found.headline.contains('\n'));
    }
}

#[test]
fn what_the_runtime_judges_is_no_output_of_a_tool() {
    let of = |source: &str, text: &str| {
        let source = Some(source.to_owned());
        classify(&Evidence { source, ..Evidence::of(Phase::Verify, text.to_owned()) })
    };
    let missing = "t: 1 test of the base no longer runs, and nothing explains it: tests::timeout";
    let found = of(journeyman_domain::failure::CLAIM, missing);
    assert_eq!((found.category, found.headline.as_str()), (Category::AgentFalseSuccess, missing));
    assert_eq!(found.fingerprint, of(journeyman_domain::failure::CLAIM, missing).fingerprint);
    let other = of(journeyman_domain::failure::CLAIM, "Cargo.toml is changed, which is forbidden");
    assert_ne!(found.fingerprint, other.fingerprint);
    let stuck = of(journeyman_domain::failure::VERDICT, missing);
    assert_eq!(stuck.category, Category::AgentStuck);
}

#[test]
fn a_refused_edit_is_a_misuse() {
    let refused = Evidence {
        source: Some("edit".to_owned()),
        ..Evidence::of(Phase::Act, "src/a.rs: there is something else there now".to_owned())
    };
    assert_eq!(classify(&refused).category, Category::ToolMisuse);
}
