//! Crates that rustc's and clippy's proposals can mend, and one that they cannot.

use std::fs;
use std::path::Path;

use journeyman_domain::check::{Check, CheckKind};

use super::harness::{check, has, mend, mend_folder};

const MANIFEST: &str =
    "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";

fn cargo_test() -> Vec<Check> {
    vec![check("cargo test --offline", CheckKind::Test)]
}

#[test]
fn a_wrong_name_and_an_unused_import_in_a_test() {
    let lib = "pub fn double(n: u32) -> u32 {\n    n * 2\n}\n\npub fn four(n: u32) -> u32 {\n    doubel(n) + doubel(n)\n}\n\n\
               #[cfg(test)]\nmod tests {\n    use super::*;\n    use std::fmt::Write;\n\n    #[test]\n    fn works() {\n        assert_eq!(four(2), 8);\n    }\n}\n";
    let outcome = mend(&[("Cargo.toml", MANIFEST), ("src/lib.rs", lib)], cargo_test());
    assert_eq!(
        outcome.finished(),
        "mended E0425 (2 places) in src/lib.rs; unused_imports in src/lib.rs; the check passes"
    );
    let wanted = lib.replace("doubel", "double").replace("    use std::fmt::Write;\n", "");
    assert_eq!(outcome.text("src/lib.rs"), wanted);
}

#[test]
fn what_an_error_hid_is_mended_after_it() {
    // The wrong method hides the missing `mut`s of the same function, the import hides both.
    let lib = "pub fn tally(text: &str) -> HashMap<char, usize> {\n    let counts = HashMap::new();\n    let longest = String::new();\n    for c in text.chars() {\n        *counts.entry(c).or_insert(0) += 1;\n        longest.push_strr(\"ü\");\n    }\n    counts\n}\n";
    let main = "fn main() {\n    let counts = sample::taly(\"a\");\n    println!(\"{}\", counts.len());\n}\n";
    let files = [("Cargo.toml", MANIFEST), ("src/lib.rs", lib), ("src/main.rs", main)];
    let outcome = mend(&files, vec![check("cargo build --offline", CheckKind::Build)]);
    outcome.finished();
    let wanted = lib
        .replace("let counts", "let mut counts")
        .replace("let longest", "let mut longest")
        .replace("push_strr", "push_str");
    assert_eq!(
        outcome.text("src/lib.rs").trim_start_matches('\n'),
        format!("use std::collections::HashMap;\n\n{wanted}")
    );
    assert_eq!(outcome.text("src/main.rs"), main.replace("taly", "tally"));
}

#[test]
fn an_import_outweighs_a_similar_name_and_two_names_of_one_line_go_together() {
    // `HashSet` resembles the trait `Hasher`, and both names of the import are wrong.
    let lib = "use std::hash::Hasher;\n\nuse words::{lowr, uper};\n\nmod words;\n\npub fn both(text: &str, _: &impl Hasher) -> HashSet<String> {\n    [lowr(text), uper(text)].into()\n}\n";
    let words = "pub fn lower(text: &str) -> String {\n    text.to_lowercase()\n}\n\npub fn upper(text: &str) -> String {\n    text.to_uppercase()\n}\n";
    let files = [("Cargo.toml", MANIFEST), ("src/lib.rs", lib), ("src/words.rs", words)];
    let outcome = mend(&files, cargo_test());
    outcome.finished();
    let wanted = lib.replace("lowr", "lower").replace("uper", "upper");
    assert_eq!(outcome.text("src/lib.rs"), format!("use std::collections::HashSet;\n{wanted}"));
}

#[test]
fn a_missing_semicolon_and_a_misspelt_trait_method() {
    let lib = "pub struct Point(pub i32);\n\nimpl std::fmt::Display for Point {\n    fn fmtt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {\n        let n = self.0\n        write!(f, \"{n}\")\n    }\n}\n";
    let outcome = mend(&[("Cargo.toml", MANIFEST), ("src/lib.rs", lib)], cargo_test());
    outcome.finished();
    assert_eq!(
        outcome.text("src/lib.rs"),
        lib.replace("fmtt", "fmt").replace("self.0\n", "self.0;\n")
    );
}

#[test]
fn a_type_error_ends_stuck_and_the_tree_is_what_it_was() {
    let lib = "use std::fmt::Write;\n\npub fn size(text: &str) -> usize {\n    text\n}\n";
    let outcome = mend(&[("Cargo.toml", MANIFEST), ("src/lib.rs", lib)], cargo_test());
    assert_eq!(outcome.stuck(), "nothing was mended; left:\nsrc/lib.rs:4: E0308: mismatched types");
    assert_eq!(outcome.changed(), Vec::<&str>::new());
}

#[test]
fn a_guess_that_leads_nowhere_is_taken_back() {
    // `size` is near enough to `sise`, but what it yields does not fit, two lines further down.
    let lib = "pub fn size(text: &str) -> usize {\n    text.len()\n}\n\npub fn name(text: &str) -> Vec<char> {\n    let found = sise(text);\n    drop(text);\n    found\n}\n";
    let outcome = mend(&[("Cargo.toml", MANIFEST), ("src/lib.rs", lib)], cargo_test());
    assert_eq!(
        outcome.stuck(),
        "nothing was mended; left:\nsrc/lib.rs:6: E0425: cannot find function `sise` in this scope"
    );
    assert!(outcome.titles().contains(&"put the workspace back"), "{:?}", outcome.titles());
    assert_eq!(outcome.changed(), Vec::<&str>::new());
}

#[test]
fn an_assertion_is_never_touched() {
    let lib = "pub fn double(n: u32) -> u32 {\n    n * 2\n}\n\n#[cfg(test)]\nmod tests {\n    use super::*;\n\n    #[test]\n    fn works() {\n        assert_eq!(\n            doubel(2),\n            4\n        );\n    }\n}\n";
    let outcome = mend(&[("Cargo.toml", MANIFEST), ("src/lib.rs", lib)], cargo_test());
    assert!(outcome.stuck().contains("src/lib.rs:12: E0425"), "{}", outcome.stuck());
    assert_eq!(outcome.changed(), Vec::<&str>::new());
}

#[test]
fn clippy_is_asked_where_it_is_a_check_in_a_crate_of_a_sub_folder() {
    if !has("cargo", &["clippy", "--version"]) || !has("cargo", &["fmt", "--version"]) {
        return;
    }
    let lib = "pub fn first(items: &[u32]) -> Option<u32> {\n  if items.len() == 0 {\n        return None;\n    }\n    return Some(items[0].clone());\n}\n";
    let clippy =
        check("cargo clippy --manifest-path sub/Cargo.toml -- -D warnings", CheckKind::Lint);
    let format = check("cargo fmt --manifest-path sub/Cargo.toml --check", CheckKind::Lint);
    let outcome =
        mend(&[("sub/Cargo.toml", MANIFEST), ("sub/src/lib.rs", lib)], vec![clippy, format]);
    outcome.finished();
    assert_eq!(
        outcome.text("sub/src/lib.rs"),
        "pub fn first(items: &[u32]) -> Option<u32> {\n    if items.is_empty() {\n        return None;\n    }\n    Some(items[0])\n}\n"
    );
}

#[test]
fn a_failing_test_is_named_and_not_guessed_at() {
    let lib =
        "pub fn one() -> u32 {\n    2\n}\n\n#[test]\nfn is_one() {\n    assert_eq!(one(), 1);\n}\n";
    let outcome = mend(&[("Cargo.toml", MANIFEST), ("src/lib.rs", lib)], cargo_test());
    assert!(
        outcome.stuck().contains("left:\ncargo test --offline ended with exit code 101"),
        "{}",
        outcome.stuck()
    );
    assert_eq!(outcome.titles(), ["cargo check", "cargo test --offline"]);
}

#[test]
fn the_example_is_broken_and_is_mended() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/broken-crate");
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in super::harness::tree(&example) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let outcome = mend_folder(folder.path(), cargo_test());
    outcome.finished();
    assert_eq!(outcome.changed(), ["src/lib.rs", "src/tally.rs", "tests/table.rs"]);
    let before = std::str::from_utf8(&outcome.before["tests/table.rs"]).unwrap();
    assert_eq!(outcome.text("tests/table.rs"), before.replace("columns_width", "column_widths"));
}
