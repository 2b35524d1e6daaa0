//! The samples are what the runners really printed; only folders were renamed.

use super::*;

/// One line a status: "2 passed: a, b".
fn shown(output: &str) -> String {
    let check = Check {
        name: "test".into(),
        kind: CheckKind::Test,
        argv: vec![],
        network: false,
        timeout_ms: None,
    };
    let Some(report) = read(&check, output) else {
        return "nothing".into();
    };
    format!(
        "{} passed: {}\n{} failed: {}\n{} skipped: {}",
        report.passed_count,
        report.passed.join(", "),
        report.failed_count,
        report.failed.join(", "),
        report.skipped_count,
        report.skipped.join(", ")
    )
}

macro_rules! sample {
    ($name:literal) => {
        shown(include_str!(concat!("samples/", $name, ".txt")))
    };
}

#[test]
fn rust_runners() {
    assert_eq!(
        sample!("cargo"),
        "5 passed: demo doc src/lib.rs - add, demo src/lib.rs tests::ok, demo src/lib.rs tests::panics, \
         it tests/it.rs it_ok, it tests/it.rs it_two\n\
         1 failed: demo src/lib.rs tests::bad\n1 skipped: demo src/lib.rs tests::ign"
    );
    assert_eq!(sample!("cargo-quiet"), "5 passed: \n1 failed: tests::bad\n1 skipped: ");
    assert_eq!(
        sample!("cargo-nocapture"),
        "2 passed: it tests/it.rs it_ok, it tests/it.rs it_two\n0 failed: \n0 skipped: "
    );
    assert_eq!(
        sample!("nextest"),
        "4 passed: demo tests::ok, demo tests::panics, demo::it it_ok, demo::it it_two\n\
         1 failed: demo tests::bad\n1 skipped: "
    );
}

#[test]
fn an_aborted_binary_keeps_what_it_told() {
    let output = "     Running unittests src/lib.rs (target/debug/deps/demo-8348ca7a80742723)\n\nrunning 2 tests\n\
                  test a ... ok\nerror: test failed, to rerun pass `--lib`\n\nCaused by:\n  process didn't exit \
                  successfully: `demo` (signal: 6, SIGABRT: process abort signal)\n";
    assert_eq!(shown(output), "1 passed: demo src/lib.rs a\n0 failed: \n0 skipped: ");
}

#[test]
fn a_test_tried_again_keeps_its_last_status() {
    let output = " Nextest run ID 1 with nextest profile: default\n  TRY 1 FAIL [   0.011s] (1/2) demo a\n  \
                  TRY 2 PASS [   0.010s] (1/2) demo a\n     SIGABRT [   0.1s] (2/2) demo b\n     \
                  Summary [   0.1s] 2 tests run: 1 passed (1 flaky), 1 failed, 0 skipped\n   \
                  FLAKY 2/2 [   0.010s] demo a\n";
    assert_eq!(shown(output), "1 passed: demo a\n1 failed: demo b\n0 skipped: ");
}

#[test]
fn python_runners() {
    assert_eq!(
        sample!("pytest-verbose"),
        "4 passed: tests/test_a.py::TestC::test_m, tests/test_a.py::test_ok, tests/test_a.py::test_p[1], \
         tests/test_a.py::test_p[a b]\n\
         2 failed: tests/test_a.py::test_bad, tests/test_a.py::test_err\n\
         2 skipped: tests/test_a.py::test_skip, tests/test_a.py::test_xf"
    );
    assert_eq!(
        sample!("pytest-quiet"),
        "4 passed: \n2 failed: tests/test_a.py::test_bad, tests/test_a.py::test_err\n2 skipped: "
    );
    assert_eq!(
        sample!("unittest"),
        "2 passed: test_u.T.test_a, test_u.T.test_doc\n2 failed: test_u.T.test_e, test_u.T.test_f\n\
         2 skipped: test_u.T.test_s, test_u.T.test_xf"
    );
    assert_eq!(
        shown(
            "[gw0] [ 50%] PASSED tests/t.py::a \n[gw1] [100%] FAILED tests/t.py::b \n= 1 failed, 1 passed in 0.10s =\n"
        ),
        "1 passed: tests/t.py::a\n1 failed: tests/t.py::b\n0 skipped: "
    );
}

#[test]
fn go_test() {
    let all = "2 passed: example.com/x TestBad/b, example.com/x TestOk\n\
               3 failed: example.com/x TestBad, example.com/x TestBad/sub_a, example.com/x/broken\n\
               1 skipped: example.com/x TestSkip";
    assert_eq!(sample!("go-verbose"), all);
    assert_eq!(sample!("go-json"), all);
    assert_eq!(
        sample!("go"),
        "0 passed: \n2 failed: example.com/x, example.com/x/broken\n0 skipped: "
    );
}

#[test]
fn javascript_runners() {
    let node = "2 passed: suite > in ok, top ok\n2 failed: suite, suite > in bad, top bad\n\
                2 skipped: suite > in skip, suite > later";
    assert_eq!(sample!("node-tap"), node);
    assert_eq!(sample!("node-spec"), node);
    assert_eq!(
        sample!("jest"),
        "3 passed: \n2 failed: t/a.test.js > suite > in bad, t/a.test.js > top bad\n1 skipped: "
    );
    let named = "3 passed: t/a.test.js > suite > in ok, t/a.test.js > top ok, t/b.test.js > b ok\n\
                 2 failed: t/a.test.js > suite > in bad, t/a.test.js > top bad\n\
                 1 skipped: t/a.test.js > suite > in skip";
    assert_eq!(sample!("jest-verbose"), named);
    assert_eq!(sample!("vitest-verbose"), named);
    assert_eq!(
        sample!("vitest"),
        "3 passed: \n2 failed: t/a.test.js > suite > in bad, t/a.test.js > top bad\n1 skipped: "
    );
    assert_eq!(
        sample!("mocha"),
        "2 passed: suite > in ok, top ok\n2 failed: suite > in bad, top bad\n1 skipped: suite > in skip"
    );
}

#[test]
fn several_runners_in_one_check_are_added_up() {
    let both =
        concat!(include_str!("samples/cargo.txt"), include_str!("samples/pytest-verbose.txt"));
    let shown = shown(both);
    assert!(
        shown.starts_with("9 passed: demo doc src/lib.rs - add, ")
            && shown.contains("\n3 failed: "),
        "{shown}"
    );
}

#[test]
fn other_output_is_no_report() {
    for output in [
        "",
        "make: *** [Makefile:2: test] Error 1\n",
        "5 passed the gate\nok\nTests: many\n",
        "\u{1b}[31m\r\n",
    ] {
        assert_eq!(shown(output), "nothing", "{output:?}");
    }
}

#[test]
fn equal_names_stay_apart() {
    let output = "running 2 tests\ntest a ... ok\ntest a ... FAILED\n\nfailures:\n    a\n\ntest result: FAILED. \
                  1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
    assert_eq!(shown(output), "1 passed: a\n1 failed: a #2\n0 skipped: ");
}

proptest::proptest! {
    #[test]
    fn no_output_breaks_a_reader(output in "(?s)(test |ok|FAILED|--- PASS: |\\.\\.\\. |PASS |FAIL\t|● |✓ |✔ |[0-9]\\) |= |passed|\\(|\\)|\\[|:|> | in |[0-9]|s|\n|\r|\x1b\\[|ä){0,60}") {
        let _ = shown(&output);
    }
}
