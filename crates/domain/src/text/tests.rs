use proptest::prelude::*;

use super::patch::{FileChange, PatchError, apply, parse};
use super::replace::{Miss, replace};
use super::view::{LINE_CHARACTERS, VIEW_BYTES, view};

#[test]
fn a_view_has_numbers_and_says_what_is_left() {
    assert_eq!(view("a\nb\nc\n", 1, 10), "     1\ta\n     2\tb\n     3\tc\n");
    assert_eq!(view("a\nb\nc\n", 2, 1), "     2\tb\n[1 lines more; read on with offset 3]");
    assert_eq!(view("a\nb", 3, 5), "[the file has only 2 lines]");
    assert_eq!(view("", 1, 5), "[the file is empty]");
    let long = format!("{}\n", "ü".repeat(LINE_CHARACTERS + 7));
    assert_eq!(
        view(&long, 0, 0),
        format!("     1\t{} [7 characters more]\n", "ü".repeat(LINE_CHARACTERS))
    );
    let many = view(
        &format!(
            "{}
",
            "x".repeat(999)
        )
        .repeat(100),
        1,
        u64::MAX,
    );
    assert!(many.len() < VIEW_BYTES + 100 && many.contains("read on with offset 33"), "{many}");
}

#[test]
fn one_place_is_replaced_and_several_only_at_wish() {
    assert_eq!(replace("a b a", "b", "c", false), Ok("a c a".into()));
    assert_eq!(replace("a\nb\na", "a", "c", true), Ok("c\nb\nc".into()));
    assert_eq!(
        replace("a\nb\na", "a", "c", false),
        Err(Miss::Several { count: 2, lines: vec![1, 3] })
    );
    assert_eq!(replace("a", "", "c", false), Err(Miss::Empty));
    assert_eq!(replace("a", "a", "a", true), Err(Miss::Same));
    let told = Miss::Several { count: 12, lines: (1..=10).collect() }.to_string();
    assert!(told.contains("12 times") && told.contains("9, 10, …"), "{told}");
}

#[test]
fn a_file_with_crlf_keeps_it() {
    let file = "one\r\ntwo\r\nthree\r\n";
    assert_eq!(
        replace(file, "one\ntwo\n", "1\n2\n3\n", false),
        Ok("1\r\n2\r\n3\r\nthree\r\n".into())
    );
    assert_eq!(replace(file, "two", "2\n2", false), Ok("one\r\n2\r\n2\r\nthree\r\n".into()));
    assert_eq!(replace(file, "two\r\n", "2\r\n", false), Ok("one\r\n2\r\nthree\r\n".into()));
    // A file of both kinds: as given, where that is there.
    assert_eq!(replace("a\nb\nc\r\n", "a\nb", "x\ny", false), Ok("x\ny\nc\r\n".into()));
}

#[test]
fn a_miss_tells_the_nearest_lines_and_other_white_space() {
    let file = "fn main() {\n    let total = sum(1, 2);\n    print(total);\n}\n";
    assert_eq!(
        replace(file, "let total = sum(1, 3);\nprint(total);", "x", false),
        Err(Miss::NotFound {
            other_whitespace: None,
            nearest: Some("     2\t    let total = sum(1, 2);\n     3\t    print(total);\n".into()),
        })
    );
    let spaced = replace(file, "\tlet total = sum(1, 2);\n\tprint(total);", "x", false);
    let told = spaced.unwrap_err().to_string();
    assert_eq!(
        told,
        "the text to replace is not in the file; with other white space it stands at line 2: copy \
         that exactly; the nearest lines are:\n     2\t    let total = sum(1, 2);\n     3\t    \
         print(total);"
    );
    assert_eq!(
        replace(file, "nothing of the kind", "x", false),
        Err(Miss::NotFound { other_whitespace: None, nearest: None })
    );
}

fn patched(patch: &str, old: Option<&str>) -> Result<Option<String>, PatchError> {
    let changes = parse(patch)?;
    assert_eq!(changes.len(), 1);
    apply(&changes[0], old)
}

#[test]
fn a_patch_adds_deletes_moves_and_updates() {
    let changes = parse(
        "*** Begin Patch\n*** Add File: a/new.txt\n+one\n+\n*** Delete File: old.txt\n*** Update \
         File: from.txt\n*** Move to: to.txt\n@@\n-x\n+y\n*** End Patch\n",
    )
    .unwrap();
    assert_eq!(
        changes[..2],
        [
            FileChange::Add { path: "a/new.txt".into(), content: "one\n\n".into() },
            FileChange::Delete { path: "old.txt".into() },
        ]
    );
    let FileChange::Update { path, move_to, .. } = &changes[2] else { panic!("{changes:?}") };
    assert_eq!((path.as_str(), move_to.as_deref()), ("from.txt", Some("to.txt")));
    assert_eq!(apply(&changes[0], None), Ok(Some("one\n\n".into())));
    assert_eq!(apply(&changes[1], Some("z")), Ok(None));
    assert_eq!(apply(&changes[2], Some("x\n")), Ok(Some("y\n".into())));
    assert_eq!(
        apply(&changes[0], Some("")).unwrap_err().to_string(),
        "a/new.txt: it exists already; update it instead"
    );
    assert_eq!(apply(&changes[1], None).unwrap_err().to_string(), "old.txt: there is no such file");
}

const FILE: &str = "fn a() {\n    one();\n}\n\nfn b() {\n    one();\n}\n";

fn update(body: &str) -> String {
    format!("*** Begin Patch\n*** Update File: f\n{body}*** End Patch")
}

#[test]
fn hunks_are_located_by_context_in_their_order() {
    let second = update("@@ fn b() {\n-    one();\n+    two();\n");
    assert_eq!(
        patched(&second, Some(FILE)),
        Ok(Some("fn a() {\n    one();\n}\n\nfn b() {\n    two();\n}\n".into()))
    );
    let both =
        update(" fn a() {\n-    one();\n+    1();\n }\n\n fn b() {\n@@\n-    one();\n+    2();\n");
    assert_eq!(
        patched(&both, Some(FILE)),
        Ok(Some("fn a() {\n    1();\n}\n\nfn b() {\n    2();\n}\n".into()))
    );
    let after = update("@@ fn a() {\n+    zero();\n");
    assert_eq!(
        patched(&after, Some("fn a() {\n}\n")),
        Ok(Some("fn a() {\n    zero();\n}\n".into()))
    );
    assert_eq!(patched(&update("@@\n+end\n"), Some("a")), Ok(Some("a\nend\n".into())));
    let at_end = update("@@\n-x\n+y\n*** End of File\n");
    assert_eq!(patched(&at_end, Some("x\nx\n")), Ok(Some("x\ny\n".into())));
}

#[test]
fn white_space_at_line_ends_does_not_matter_and_stays_the_files() {
    let patch = update("@@\n a\n-b\n+c\n d\n");
    assert_eq!(patched(&patch, Some("a  \nb\t\nd \n")), Ok(Some("a  \nc\nd \n".into())));
    assert_eq!(patched(&patch, Some("a\r\nb\r\nd\r\n")), Ok(Some("a\r\nc\r\nd\r\n".into())));
    assert_eq!(patched(&patch, Some("a\nb\nd")), Ok(Some("a\nc\nd".into())), "no last line end");
}

#[test]
fn what_does_not_fit_is_told_with_file_and_hunk() {
    let sentences = [
        (
            update("@@ fn c() {\n-x\n"),
            "f, hunk 1: the line 'fn c() {' is not in the file after line 0",
        ),
        (
            update("@@\n-}\n+)\n@@\n-fn a() {\n"),
            "f, hunk 2: its first line 'fn a() {' is not in the file after line 3",
        ),
        (
            update("@@\n fn a() {\n-    two();\n"),
            "f, hunk 1: its lines are not in the file as they stand in the patch; 'fn a() {' is at \
             line 1 but the lines after it are others",
        ),
    ];
    for (patch, sentence) in sentences {
        assert_eq!(patched(&patch, Some(FILE)).unwrap_err().to_string(), sentence);
    }
    let forms = [
        ("", 1, "it must begin with '*** Begin Patch'"),
        ("*** Begin Patch\n*** Add File: a\n+x", 4, "'*** End Patch' is missing"),
        ("*** Begin Patch\n*** End Patch", 2, "it changes no file"),
        ("*** Begin Patch\n*** Add File:\n*** End Patch", 2, "the path is missing"),
        (
            "*** Begin Patch\n*** Update File: a\n@@\nwrong\n*** End Patch",
            4,
            "each line of a hunk begins with ' ', '-', '+' or '@@'",
        ),
        (
            "*** Begin Patch\n*** Update File: a\n@@\n same\n*** End Patch",
            3,
            "the hunk that begins here changes nothing",
        ),
        ("*** Begin Patch\n*** Update File: a\n*** End Patch", 3, "a has no hunk"),
    ];
    for (patch, line, reason) in forms {
        assert_eq!(parse(patch), Err(PatchError::Form { line, reason: reason.into() }), "{patch}");
    }
}

/// The lines, each after this sign.
fn lines(sign: &str, lines: &[String]) -> String {
    lines.iter().flat_map(|line| [sign, line, "\n"]).collect()
}

proptest! {
    /// The whole old text out, the whole new text in: the applied patch is the new text.
    #[test]
    fn a_patch_of_all_lines_gives_the_new_text(
        old in prop::collection::vec("[a-c ]{0,3}", 1..8),
        new in prop::collection::vec("[a-c ]{0,3}", 0..8),
    ) {
        let minus = lines("-", &old);
        let plus = lines("+", &new);
        let before = lines("", &old);
        let after = lines("", &new);
        prop_assert_eq!(patched(&update(&format!("@@\n{minus}{plus}")), Some(&before)), Ok(Some(after)));
    }

    #[test]
    fn no_text_makes_any_of_them_panic(content in any::<String>(), a in any::<String>(), b in any::<String>()) {
        let _ = replace(&content, &a, &b, true);
        let _ = parse(&a);
        let _ = parse(&update(&a)).map(|changes| changes.iter().for_each(|change| { let _ = apply(change, Some(&content)); }));
        let _ = view(&content, 1, 5);
    }
}
