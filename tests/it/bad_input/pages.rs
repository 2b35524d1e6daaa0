//! Each code that the program can print has a page in `docs/errors/`, and each page a code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Words in the sources that a code follows, and what is between.
const MARKS: [(&str, &str); 5] =
    [("Exit::", ","), ("StatusCode::", ","), ("wrong", "("), ("code:", ""), (".status", "(),")];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code right after a mark: `Exit::Usage, "usage"`.
fn code<'t>(after_mark: &'t str, between: &str) -> Option<&'t str> {
    let rest = after_mark.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let rest = rest.strip_prefix(between)?.strip_prefix('"')?;
    let (code, after) = rest.split_once('"')?;
    // An argument, and not the next arm of a match.
    let is_argument = after.starts_with([',', ')', '.']);
    (is_argument && code.chars().all(|c| c.is_ascii_lowercase() || c == '_')).then_some(code)
}

fn codes() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("crates/web/src"), &mut files);
    let mut found = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap();
        let dense: String = product.split_whitespace().collect();
        for (mark, between) in MARKS {
            let places = dense.split(mark).skip(1);
            found.extend(places.filter_map(|place| code(place, between)).map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors");
    let mut pages = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let code = name.strip_suffix(".md").unwrap_or_else(|| panic!("{name} is no page"));
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let parts = [format!("# `{code}`\n\nExit status "), "## Cause\n".into()];
        assert!(text.starts_with(&parts[0]) && text.contains(&parts[1]), "{name}");
        assert!(text.contains("## What to do\n"), "{name}");
        pages.insert(code.to_owned());
    }
    assert_eq!(codes(), pages);
    // The search finds each way to write a code.
    for known in ["usage", "busy", "too_large", "not_a_repository", "already_running", "internal"] {
        assert!(pages.contains(known), "{known}");
    }
}
