//! The files that tasks declare, and which tasks may not work at the same time for it.
//!
//! A pattern is a path from the repository's top, of segments between slashes: `*` is any part of a segment, `?`
//! one character of it, `**` any number of segments. It also means everything beneath what it names, so that
//! `src/parser` is the whole folder.

use crate::ids::{CodebaseId, TaskId};

/// Characters of a pattern.
const LONGEST: usize = 256;

/// What a task declared, as far as the decision asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The task.
    pub task: TaskId,
    /// Its repository.
    pub codebase: CodebaseId,
    /// Its patterns.
    pub globs: Vec<String>,
}

/// A task that must wait for another one's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collision {
    /// Who waits.
    pub task: TaskId,
    /// Who works on the files.
    pub holder: TaskId,
}

/// Which of `asking`, in their order, must wait: those whose files another one holds, or one before them gets.
pub fn collisions(asking: &[Declared], holders: &[Declared]) -> Vec<Collision> {
    let mut admitted: Vec<&Declared> = holders.iter().collect();
    let mut found = Vec::new();
    for one in asking {
        let holder = admitted.iter().find(|other| {
            other.task != one.task
                && other.codebase == one.codebase
                && shared(&one.globs, &other.globs).is_some()
        });
        match holder {
            Some(holder) => found.push(Collision { task: one.task, holder: holder.task }),
            None => admitted.push(one),
        }
    }
    found
}

/// The first pattern of `ours` that some path matches which `theirs` match, too.
pub fn shared<'a>(ours: &'a [String], theirs: &[String]) -> Option<&'a str> {
    let meets = |our: &&String| theirs.iter().any(|their| overlap(our, their));
    ours.iter().find(meets).map(String::as_str)
}

/// Why a pattern is none; `None` where it is sound.
pub fn fault(pattern: &str) -> Option<&'static str> {
    if pattern.trim().is_empty() {
        Some("is empty")
    } else if pattern.chars().count() > LONGEST {
        Some("is longer than 256 characters")
    } else if pattern.starts_with('/') {
        Some("begins with a slash; it counts from the repository's top")
    } else if pattern.split('/').any(|segment| segment == "..") {
        Some("leads out of the repository")
    } else if pattern.contains(['[', ']', '{', '}', '\\', '\0']) {
        Some("may have no wildcards but *, ? and **")
    } else {
        None
    }
}

/// Whether some path matches both.
fn overlap(one: &str, other: &str) -> bool {
    let segments = |pattern| -> Vec<&str> {
        let named =
            str::split(pattern, '/').filter(|segment| !segment.is_empty() && *segment != ".");
        named.chain(["**"]).collect()
    };
    let (one, other) = (segments(one), segments(other));
    meet(&one, &other, &|segment| *segment == "**", &|one, other| {
        let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
        meet(&one, &other, &|character| *character == '*', &|one, other| {
            one == other || *one == '?' || *other == '?'
        })
    })
}

/// Whether some sequence is matched by both of these, whose `any` stands for any number of elements. Row by row,
/// from the end: `row[j]` says whether the rests from `i` and `j` can meet.
fn meet<T>(
    one: &[T],
    other: &[T],
    any: &dyn Fn(&T) -> bool,
    equal: &dyn Fn(&T, &T) -> bool,
) -> bool {
    let mut below = vec![false; other.len() + 1];
    for i in (0..=one.len()).rev() {
        let mut row = vec![false; other.len() + 1];
        for j in (0..=other.len()).rev() {
            row[j] = match (one.get(i), other.get(j)) {
                (None, None) => true,
                (Some(a), _) if any(a) => below[j] || j < other.len() && row[j + 1],
                (_, Some(b)) if any(b) => row[j + 1] || i < one.len() && below[j],
                (Some(a), Some(b)) => equal(a, b) && below[j + 1],
                (None, Some(_)) | (Some(_), None) => false,
            };
        }
        below = row;
    }
    below[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn patterns_meet_where_a_path_matches_both() {
        for (one, other, expected) in [
            ("src/parser", "src/parser/lexer.rs", true),
            ("src/parser/", "src/printer", false),
            ("src/*.rs", "src/*.md", false),
            ("src/*.rs", "src/l?b.*", true),
            ("**/*.md", "docs", true),
            ("**", "a/b/c", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "b/**", false),
            ("./src", "src", true),
            ("src", "source", false),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} {other}");
            assert_eq!(overlap(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn who_comes_first_gets_the_files_and_others_wait_for_it() {
        let codebase = CodebaseId::from_uuid(Uuid::from_u128(1));
        let declared = |number: u128, globs: &[&str]| Declared {
            task: TaskId::from_uuid(Uuid::from_u128(number)),
            codebase,
            globs: globs.iter().map(|glob| (*glob).to_owned()).collect(),
        };
        let holder = declared(1, &["docs"]);
        let elsewhere = Declared {
            codebase: CodebaseId::from_uuid(Uuid::from_u128(2)),
            ..declared(2, &["docs", "src"])
        };
        let asking = [
            declared(3, &["docs/a.md"]),
            declared(4, &["src/a", "src/b"]),
            declared(5, &["src/b/c"]),
            declared(6, &["docs/x", "tests"]), // gets nothing, so it keeps nobody from the tests
            declared(7, &["tests"]),
            elsewhere,
        ];
        let found: Vec<_> = collisions(&asking, &[holder])
            .iter()
            .map(|collision| {
                (collision.task.as_uuid().as_u128(), collision.holder.as_uuid().as_u128())
            })
            .collect();
        assert_eq!(found, [(3, 1), (5, 4), (6, 1)]);
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        assert_eq!(fault("src/**/*.rs"), None);
        for pattern in ["", " ", "/src", "a/../../b", "src/{a,b}", "[ab]"] {
            assert!(fault(pattern).is_some(), "{pattern}");
        }
    }

    /// Whether a path matches a pattern, by trying.
    fn matches(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, _) => true, // everything beneath
            (Some((&"**", rest)), _) => (0..=path.len()).any(|n| matches(rest, &path[n..])),
            (Some((first, rest)), Some((name, below))) => {
                matches_name(first.as_bytes(), name.as_bytes()) && matches(rest, below)
            }
            (Some(_), None) => false,
        }
    }

    fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => (0..=name.len()).any(|n| matches_name(rest, &name[n..])),
            (Some((b'?', rest)), Some((_, below))) => matches_name(rest, below),
            (Some((a, rest)), Some((b, below))) => a == b && matches_name(rest, below),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    fn patterns() -> impl Strategy<Value = Vec<&'static str>> {
        let segment = proptest::sample::select(vec!["a", "b", "ab", "*", "?", "a*", "*b", "**"]);
        proptest::collection::vec(segment, 1..4)
    }

    proptest! {
        #[test]
        fn two_patterns_meet_just_where_there_is_such_a_path(one in patterns(), other in patterns()) {
            let names = ["a", "b", "aa", "ab", "ba", "bb"];
            let mut paths: Vec<Vec<&str>> = vec![vec![]];
            let mut found = false;
            for _ in 0..5 {
                paths = paths.iter().flat_map(|path| names.map(|name| [path.as_slice(), &[name]].concat())).collect();
                found = found || paths.iter().any(|path| matches(&one, path) && matches(&other, path));
            }
            prop_assert_eq!(overlap(&one.join("/"), &other.join("/")), found);
        }
    }
}
