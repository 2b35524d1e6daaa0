use proptest::prelude::*;

use super::*;
use crate::check::CheckKind;

fn outcome(name: &str, code: i32, tests: Option<TestReport>) -> CheckOutcome {
    CheckOutcome {
        check: name.into(),
        kind: CheckKind::Test,
        ended: Ended::Exited { code },
        duration_ms: 1,
        tests,
        head: String::new(),
        tail: None,
    }
}

/// A report with names: "a b -c ?d" has a and b passed, c failed, d skipped.
fn report(names: &str) -> TestReport {
    let mut report = TestReport::default();
    for name in names.split_whitespace() {
        match name
            .strip_prefix('-')
            .map(|name| (name, true))
            .or_else(|| name.strip_prefix('?').map(|name| (name, false)))
        {
            Some((name, true)) => report.failed.push(name.into()),
            Some((name, false)) => report.skipped.push(name.into()),
            None => report.passed.push(name.into()),
        }
    }
    report.passed_count = report.passed.len() as u64;
    report.failed_count = report.failed.len() as u64;
    report.skipped_count = report.skipped.len() as u64;
    report
}

fn counts(passed: u64, failed: &[&str]) -> TestReport {
    TestReport {
        passed_count: passed,
        failed_count: failed.len() as u64,
        failed: failed.iter().map(|name| (*name).to_owned()).collect(),
        ..TestReport::default()
    }
}

fn run(tests: &TestReport) -> CheckOutcome {
    outcome("t", i32::from(tests.failed_count > 0), Some(tests.clone()))
}

/// The comparison and the reasons of one check with these tests.
fn one(before: &TestReport, now: &TestReport, change: &Change) -> (Comparison, Vec<String>) {
    let verdict = judge(&[run(before)], &[run(now)], change);
    assert_eq!(verdict.verified, verdict.reasons.is_empty());
    (verdict.checks[0].1, verdict.reasons)
}

#[test]
fn the_five_ways_of_a_check() {
    let none = Change::default();
    let way = |before: &str, now: &str| one(&report(before), &report(now), &none);
    assert_eq!(way("a b", "a b c"), (Comparison::Passes, vec![]));
    assert_eq!(way("a -b", "a b"), (Comparison::Mended, vec![]));
    assert_eq!(way("a -b -c", "a b -c"), (Comparison::Better, vec![]));
    assert_eq!(
        way("a b", "a -b"),
        (
            Comparison::Broken,
            vec![
                "t passed before the change and now ends with exit code 1; 1 test newly fails: b"
                    .into()
            ]
        )
    );
    assert_eq!(
        way("a -b", "a -b"),
        (
            Comparison::StillFails,
            vec!["t ends with exit code 1, as before the change, and nothing got better".into()]
        )
    );
    assert_eq!(way("a -b -c", "-a b -c").0, Comparison::StillFails);
}

#[test]
fn tests_do_not_vanish() {
    let none = Change::default();
    let way = |before: &str, now: &str| one(&report(before), &report(now), &none);
    let gone = "t: 1 test of the base no longer runs, and nothing explains it: b";
    // A failing test that is deleted or skipped is not mended.
    assert_eq!(way("a -b", "a"), (Comparison::Mended, vec![gone.into()]));
    assert_eq!(way("a -b", "a ?b"), (Comparison::Mended, vec![gone.into()]));
    assert_eq!(way("a b", "a"), (Comparison::Passes, vec![gone.into()]));
    // One that was skipped before may go.
    assert_eq!(way("a ?b", "a"), (Comparison::Passes, vec![]));
    // Moved to another module.
    assert_eq!(way("a x::b", "a y::b"), (Comparison::Passes, vec![]));
    // One new test explains one missing test.
    assert_eq!(way("w::b x::b", "y::b").1.len(), 1);
    // Renaming does not hide a test that is skipped now.
    let renamed = Change { replaced_tests: vec![("b".into(), "c".into())], ..Change::default() };
    assert_eq!(one(&report("a b"), &report("a c"), &renamed), (Comparison::Passes, vec![]));
    assert_eq!(one(&report("a b"), &report("a ?b c"), &renamed).1, [gone]);
    assert_eq!(one(&report("a b"), &report("a -c"), &renamed).1.len(), 2);
}

#[test]
fn without_names_counts_are_compared() {
    let none = Change::default();
    let way = |before: TestReport, now: TestReport| one(&before, &now, &none);
    assert_eq!(way(counts(5, &[]), counts(6, &[])), (Comparison::Passes, vec![]));
    let fewer = "t ran 4 tests of which 4 passed; on the base it ran 5, of which 5 passed";
    assert_eq!(way(counts(5, &[]), counts(4, &[])), (Comparison::Passes, vec![fewer.into()]));
    // The failing test was deleted: as many pass as before, but fewer ran.
    assert_eq!(way(counts(5, &["x"]), counts(5, &[])).1.len(), 1);
    assert_eq!(way(counts(5, &["x", "y"]), counts(6, &["y"])), (Comparison::Better, vec![]));
    assert_eq!(way(counts(5, &["x"]), counts(5, &["y"])).0, Comparison::StillFails);
}

#[test]
fn a_check_must_run_speak_and_be_held_to_its_base() {
    let none = Change::default();
    let silent = judge(&[run(&report("a"))], &[outcome("t", 0, None)], &none);
    assert_eq!(silent.reasons, ["t passes, but no longer says which tests ran"]);
    assert_eq!(silent.missing, ["a"]);
    let dropped =
        judge(&[outcome("lint", 0, None), run(&report("a"))], &[run(&report("a"))], &none);
    assert_eq!(dropped.reasons, ["lint ran on the base, but not on the change"]);
    let nothing = judge(&[], &[], &none);
    assert!(!nothing.checked && !nothing.verified && nothing.reasons.len() == 1);
    let first = judge(&[], &[outcome("lint", 1, None)], &none);
    assert_eq!(first.reasons, ["lint ends with exit code 1"]);
    // A base that did not compile told of no tests: none may fail now.
    let compiled = judge(&[outcome("t", 101, None)], &[run(&report("a -b"))], &none);
    assert_eq!(compiled.checks, [("t".to_owned(), Comparison::StillFails)]);
    // "|| true" in a script hides nothing.
    let hidden = judge(&[run(&report("a b"))], &[outcome("t", 0, Some(report("a -b")))], &none);
    assert_eq!(hidden.reasons, ["t exits with success, but tests fail; 1 test newly fails: b"]);
    let hangs =
        CheckOutcome { ended: Ended::TimedOut { after_ms: 90_000 }, ..outcome("t", 0, None) };
    assert_eq!(
        judge(&[run(&report("a"))], &[hangs], &none).reasons,
        ["t passed before the change and now hangs: it was stopped after 90 s"]
    );
}

/// A diff of one file.
fn diff_of(path: &str, lines: &str) -> Change {
    let [old, new] = ['-', '+'].map(|sign| {
        lines.lines().filter(|line| !line.starts_with(if sign == '-' { '+' } else { '-' })).count()
    });
    Change::from_diff(&format!(
        "--- a/{path}\n+++ b/{path}\n@@ -1,{old} +1,{new} @@\n{}\n",
        lines.trim_end()
    ))
}

#[test]
fn where_the_base_names_no_tests_none_may_be_removed() {
    let silent = [outcome("t", 101, None)];
    let way = |base: &[CheckOutcome], now: &str, change: &Change| {
        judge(base, &[run(&report(now))], change).reasons
    };
    let removes = diff_of("t.py", "-def test_a(): pass\n x = 1");
    let gone = "the change removes the test test_a, and the base could not say whether it passes";
    assert_eq!(way(&silent, "m::b", &removes), [gone]);
    assert_eq!(way(&[], "m::b", &removes)[0], gone);
    let verdict = judge(&silent, &[run(&report("b"))], &removes);
    assert_eq!((verdict.missing, verdict.verified), (vec!["test_a".to_owned()], false));
    let renames = diff_of("t.py", "-def test_a(): pass\n+def test_b(): pass");
    assert_eq!(way(&silent, "test_b", &renames), [""; 0]);
    let moves = Change::from_diff(
        "--- a/t.py\n+++ b/t.py\n@@ -1,2 +1 @@\n-def test_a(): pass\n x = 1\n\
         --- a/u.py\n+++ b/u.py\n@@ -1 +1,2 @@\n x = 1\n+def test_a(): pass\n",
    );
    assert_eq!(moves.removed_tests, [""; 0]);
    assert_eq!(way(&silent, "test_a", &moves), [""; 0]);
    // What the base could tell is judged by what runs.
    assert_eq!(way(&[run(&report("?test_a b"))], "b", &removes), [""; 0]);
    let failing =
        [outcome("t", 101, None), CheckOutcome { check: "u".into(), ..run(&report("c")) }];
    let both = [run(&report("b")), CheckOutcome { check: "u".into(), ..run(&report("c")) }];
    assert_eq!(judge(&failing, &both, &removes).reasons, [gone]);
    // A linter that fails says nothing of tests.
    let lint = CheckOutcome { kind: CheckKind::Lint, ..outcome("lint", 1, None) };
    let linted = CheckOutcome { kind: CheckKind::Lint, ..outcome("lint", 0, None) };
    let verdict = judge(&[lint, run(&report("b"))], &[linted, run(&report("b"))], &removes);
    assert_eq!(verdict.reasons, [""; 0]);
}

#[test]
fn what_defines_the_checks_is_named_and_must_not_hide_tests() {
    let settings = |lines: &str| diff_of("Cargo.toml", lines);
    let off = settings(" [lib]\n+test = false");
    let dependency = settings(" [dependencies]\n+serde = \"1\"");
    for change in [&off, &dependency] {
        assert_eq!(change.check_paths, ["Cargo.toml"]);
    }
    assert_eq!((off.check_edits.len(), dependency.check_edits.len()), (1, 0));
    let silent = outcome("t", 101, None);
    let now = run(&report("b"));
    let of = |base: &CheckOutcome, now: &CheckOutcome, change: &Change| {
        judge(std::slice::from_ref(base), std::slice::from_ref(now), change)
    };
    // A manifest that keeps the base from being built is mended as anything else is.
    let mended = of(&silent, &now, &dependency);
    assert_eq!((mended.verified, mended.edited_checks), (true, vec!["Cargo.toml".to_owned()]));
    let hidden =
        "what decides the tests is changed, and t cannot be compared with the base: Cargo.toml";
    assert_eq!(of(&silent, &now, &off).reasons, [hidden]);
    assert_eq!(of(&silent, &outcome("t", 0, None), &off).reasons, [hidden]);
    // A target that does nothing any more.
    let gutted = diff_of("Makefile", " all:\n-test: all\n+test:");
    let makes =
        |code| CheckOutcome { kind: CheckKind::Custom, ..outcome("make check", code, None) };
    assert!(!of(&makes(2), &makes(0), &gutted).verified);
    // Where tests can be compared, their number speaks.
    assert!(of(&now, &now, &off).verified);
    assert!(of(&run(&report("a -b")), &run(&report("a b")), &off).verified);
    let fewer = of(&run(&report("a b")), &now, &dependency);
    assert_eq!(
        fewer.reasons[1..],
        ["fewer tests run, and what defines the checks is changed: Cargo.toml"]
    );
    // The mechanic's ordinary work: sources, also those that are built before the others.
    let source = diff_of("build.rs", "-    let x = 1;\n+    let mut x = 1;");
    assert!(of(&silent, &now, &source).verified);
    assert!(of(&silent, &now, &diff_of("Cargo.lock", "-test\n+tests")).verified);
    let renamed = Change::from_diff(
        "diff --git a/Makefile b/old.mk\nrename from Makefile\nrename to old.mk\n",
    );
    assert_eq!(renamed.check_edits, ["Makefile"]);
}

#[test]
fn reasons_without_a_failing_program_are_evidence_of_their_own() {
    let none = Change::default();
    let of = |verdict: &Verdict, claimed| {
        reasons_evidence(verdict, claimed).map(|evidence| (evidence.source.unwrap(), evidence.text))
    };
    let lost = judge(&[run(&report("a b"))], &[run(&report("a"))], &none);
    let gone = "t: 1 test of the base no longer runs, and nothing explains it: b";
    assert_eq!(of(&lost, true), Some(("claim".into(), gone.into())));
    assert_eq!(of(&lost, false), Some(("verdict".into(), gone.into())));
    // A program that failed is evidence already; what stands beside it is not.
    let mut broken = judge(&[run(&report("a"))], &[run(&report("-a"))], &none);
    assert_eq!(of(&broken, true), None);
    broken.reasons.push("secret is changed, which the repository forbids".into());
    assert_eq!(
        of(&broken, true),
        Some(("claim".into(), "secret is changed, which the repository forbids".into()))
    );
    let hidden = judge(&[run(&report("a b"))], &[outcome("t", 0, Some(report("a -b")))], &none);
    assert!(of(&hidden, true).is_some());
    for fine in [judge(&[], &[], &none), judge(&[], &[run(&report("a"))], &none)] {
        assert_eq!(of(&fine, true), None);
    }
}

const DIFF: &str = r#"diff --git a/src/lib.rs b/src/lib.rs
index 1..2 100644
--- a/src/lib.rs
+++ b/src/lib.rs
@@ -1,6 +1,6 @@ mod tests {
     #[test]
     #[should_panic]
-    fn old_name() {
+    fn new_name() {
--- a line that looks like a header
+++ another one
     }
@@ -20,3 +20,2 @@
-    #[tokio::test]
     async fn no_test_any_more() {
     }
diff --git "a/t\303\244 \"x\".py" "b/t\303\244 \"x\".py"
--- "a/t\303\244 \"x\".py"
+++ "b/t\303\244 \"x\".py"
@@ -1 +1 @@
-def test_a(): pass
+def helper(): pass
diff --git a/old place/x.test.js b/new/x.test.js
similarity index 90%
rename from old place/x.test.js
rename to new/x.test.js
--- a/old place/x.test.js	
+++ b/new/x.test.js
@@ -1,2 +1,2 @@
-it("adds", () => {});
+it.skip("adds", () => {});
 test('stays', () => {});
\ No newline at end of file
diff --git a/img a.png b/img a.png
index 3..4 100644
Binary files a/img a.png and b/img a.png differ
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
diff --git a/a_test.go b/a_test.go
deleted file mode 100644
--- a/a_test.go
+++ /dev/null
@@ -1,2 +0,0 @@
-func TestX(t *testing.T) {
-}
"#;

#[test]
fn a_diff_tells_its_paths_and_its_tests() {
    let change = Change::from_diff(DIFF);
    assert_eq!(
        change.paths,
        [
            "a_test.go",
            "img a.png",
            "new/x.test.js",
            "old place/x.test.js",
            "run.sh",
            "src/lib.rs",
            "tä \"x\".py"
        ]
    );
    assert_eq!(
        change.test_paths,
        ["a_test.go", "new/x.test.js", "old place/x.test.js", "src/lib.rs", "tä \"x\".py"]
    );
    assert_eq!(change.removed_tests, ["TestX", "adds", "no_test_any_more", "old_name", "test_a"]);
    // lib.rs loses two tests and gains one, so nothing is said to be replaced.
    assert_eq!(change.replaced_tests, []);
    let renamed =
        "--- a/t.py\n+++ b/t.py\n@@ -1,2 +1,2 @@\n-def test_a():\n+def test_b():\n     pass\n";
    assert_eq!(
        Change::from_diff(renamed).replaced_tests,
        [("test_a".to_owned(), "test_b".to_owned())]
    );
    assert_eq!(Change::from_diff(""), Change::default());
}

#[test]
fn evidence_tells_the_fault_within_its_limit() {
    let mut failing = run(&report("-b"));
    failing.head = format!(
        "{}---- b stdout ----\npanicked at src/lib.rs:1\n",
        "test a ... ok\n".repeat(5_000)
    );
    let verdict = judge(&[run(&report("b"))], std::slice::from_ref(&failing), &Change::default());
    assert_eq!(
        evidence(&verdict, &[failing], 300),
        "- t passed before the change and now ends with exit code 1; 1 test newly fails: b\n\n\
         == t: ends with exit code 1\n---- b stdout ----\npanicked at src/lib.rs:1\n"
    );
}

fn reports() -> impl Strategy<Value = TestReport> {
    proptest::collection::vec((0_u8..3, 0_u8..8), 0..10).prop_map(|tests| {
        let mut seen = BTreeSet::new();
        let names = tests.into_iter().filter(|(_, name)| seen.insert(*name));
        report(
            &names
                .map(|(status, name)| {
                    format!("{} n{name}", ["", "-", "?"][usize::from(status)]).replace(' ', "")
                })
                .collect::<Vec<_>>()
                .join(" "),
        )
    })
}

proptest! {
    #[test]
    fn a_verified_change_loses_no_test(before in reports(), now in reports()) {
        let verdict = judge(&[run(&before)], &[run(&now)], &Change::default());
        if verdict.verified {
            for test in before.passed.iter().chain(&before.failed) {
                prop_assert!(now.passed.contains(test) || now.failed.contains(test));
            }
            for test in &before.passed {
                prop_assert!(now.passed.contains(test), "{test} passed before");
            }
            prop_assert!(now.failed.is_empty() || before.failed.iter().any(|test| now.passed.contains(test)));
        }
    }

    #[test]
    fn an_unchanged_tree_is_verified_where_it_passes(tests in reports()) {
        let verdict = judge(&[run(&tests)], &[run(&tests)], &Change::default());
        prop_assert_eq!(verdict.verified, tests.failed.is_empty());
        prop_assert!(verdict.newly_failing.is_empty() && verdict.missing.is_empty());
    }

    #[test]
    fn the_order_of_checks_says_nothing(a in reports(), b in reports(), c in reports(), d in reports()) {
        let named = |name: &str, tests: &TestReport| CheckOutcome { check: name.into(), ..run(tests) };
        let (x, y) = ([named("x", &a), named("y", &b)], [named("x", &c), named("y", &d)]);
        let forth = judge(&x, &y, &Change::default());
        let back = judge(&[x[1].clone(), x[0].clone()], &[y[1].clone(), y[0].clone()], &Change::default());
        prop_assert_eq!(forth.verified, back.verified);
        prop_assert_eq!(forth.missing, back.missing);
    }

    #[test]
    fn evidence_keeps_its_limit(head in "(?s)(error|ok|ä|\n| ){0,400}", limit in 0_usize..600) {
        let failing = CheckOutcome { head, ..run(&report("-b")) };
        let outcomes = [failing.clone(), CheckOutcome { check: "u".into(), ..failing }];
        let verdict = judge(&[], &outcomes, &Change::default());
        prop_assert!(evidence(&verdict, &outcomes, limit).len() <= limit);
    }

    #[test]
    fn no_text_breaks_the_diff_reader(diff in "(diff --git |a/x|b/x|--- |\\+\\+\\+ |@@ -1,2 \\+1 @@|@@ |\"|\\\\|\\\\303|\n|-|\\+|it\\(|ä| |#\\[test\\]|fn x){0,60}") {
        let change = Change::from_diff(&diff);
        prop_assert!(change.test_paths.iter().all(|path| change.paths.contains(path)));
    }
}
