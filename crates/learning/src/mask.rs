//! Replaces what changes from run to run, so that equal failures look equal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// How much is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Only what no two runs share: times, addresses, identifiers, absolute folders.
    Exact,
    /// Names and numbers too, so that failures of one kind look alike.
    Group,
}

/// One expression, so that a text is gone through once. The order decides between overlaps:
/// wide shapes first.
static VOLATILE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?P<url>[a-z][a-z0-9+.-]*://[^\s'\x22<>`)]+)",
        r"|(?P<email>[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z0-9.-]+)",
        r"|(?P<uuid>\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b)",
        r"|(?P<time>\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?\b|\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b|\b\d{1,2}/[A-Z][a-z]{2}/\d{4}\b|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? [A-Z][a-z]{2} +\d{1,2}\b)",
        r"|(?P<path>(?:[A-Za-z]:\\|\.{0,2}/)[^\s:'\x22<>`()\[\],;]*[/\\][^\s:'\x22<>`()\[\],;]+(?::\d+){0,2}|\b[\w.-]+(?:/[\w.@+-]+)+\.\w+(?::\d+){0,2}|\b[\w-]+\.(?:rs|py|go|js|jsx|ts|tsx|mjs|cjs|c|cc|cpp|h|hpp|java|kt|rb|php|cs|swift)(?::\d+){1,2}\b)",
        r"|(?P<duration>\b\d+(?:\.\d+)?\s?(?:ns|µs|us|ms|s|sec|secs|seconds?|minutes?|min|hours?|h)\b)",
        r"|(?P<address>\b0[xX][0-9a-fA-F]+\b|\b[0-9a-f]{7,64}\b|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b)",
        r"|(?P<thread>\((?:pid |tid )?\d{3,}\)|\b(?:pid|tid|PID|port)[ =:]\d+)",
        r"|(?P<quoted>`[^`\n]{1,200}`|'[^'\n]{1,200}'|\x22[^\x22\n]{1,200}\x22|\u{2018}[^\u{2019}\n]{1,200}\u{2019})",
        r"|(?P<number>\b\d+(?:\.\d+)*\b)",
    ))
    .ok()
});

/// The text with volatile parts replaced.
pub(crate) fn mask(text: &str, detail: Detail) -> Cow<'_, str> {
    let Some(volatile) = VOLATILE.as_ref() else { return Cow::Borrowed(text) };
    // The fewer words, the more a quoted name says of the kind: "use of `to_ne_bytes`".
    let terse = detail == Detail::Group
        && volatile.replace_all(text, "_").split_whitespace().count() <= TERSE_WORDS;
    volatile.replace_all(text, |found: &Captures<'_>| replacement(found, detail, terse))
}

/// What names are quoted with.
const QUOTES: [char; 5] = ['`', '\'', '"', '\u{2018}', '\u{2019}'];

/// Words of a headline, below which the names in it are part of its kind.
const TERSE_WORDS: usize = 5;

fn replacement(found: &Captures<'_>, detail: Detail, terse: bool) -> String {
    let whole = found.get(0).map_or("", |part| part.as_str());
    let exact = detail == Detail::Exact;
    let is = |name| found.name(name).is_some();
    if is("path") {
        // Where on this machine it lies says nothing; which file does.
        let name = whole.rsplit(['/', '\\']).next().unwrap_or_default();
        let name = name.split(':').next().unwrap_or_default();
        return if exact && !is_temporary(whole) { name.to_owned() } else { "<path>".to_owned() };
    }
    if is("address") && !is_address(whole) {
        return if exact { whole.to_owned() } else { number_or_word(whole) };
    }
    if is("quoted") {
        return quoted(whole, exact, terse);
    }
    if is("number") {
        return if exact { whole.to_owned() } else { "0".to_owned() };
    }
    let name = ["url", "email", "uuid", "time", "duration", "address", "thread"]
        .into_iter()
        .find(|name| is(name));
    format!("<{}>", name.unwrap_or("other"))
}

/// Hexadecimal digests mix digits and letters; plain words and plain numbers are no addresses.
fn is_address(text: &str) -> bool {
    text.starts_with("0x")
        || text.starts_with("0X")
        || text.contains('.')
        || (text.bytes().any(|b| b.is_ascii_digit())
            && text.bytes().any(|b| b.is_ascii_alphabetic()))
}

fn number_or_word(text: &str) -> String {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { "0".to_owned() } else { text.to_owned() }
}

fn is_temporary(path: &str) -> bool {
    ["/tmp/", "/var/folders/", "/T/", "\\Temp\\", "/temp/"].iter().any(|part| path.contains(part))
}

/// A quoted name: kept in exact texts, and where the line is terse and it is a call, a macro or a
/// path of a library, by its last part; `_` otherwise.
fn quoted(whole: &str, exact: bool, terse: bool) -> String {
    if exact {
        let inner = whole.trim_matches(QUOTES);
        return if inner.contains('/') || inner.contains("0x") {
            "`_`".to_owned()
        } else {
            whole.to_owned()
        };
    }
    let mut masked = String::from("`");
    let inner = whole.trim_matches(QUOTES);
    let callee = inner.split('(').next().unwrap_or_default();
    let callee = callee.split("::<").next().unwrap_or_default();
    let path = inner.contains("::") || inner.ends_with(')');
    let last = callee.split('<').next().unwrap_or_default().rsplit("::").next().unwrap_or_default();
    if terse && (path || inner.ends_with('!')) && !last.is_empty() {
        let _ = write!(masked, "{}", last.trim_matches(|c: char| !c.is_alphanumeric() && c != '_'));
    } else {
        masked.push('_');
    }
    masked.push('`');
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, exact: &str, group: &str) {
        assert_eq!(mask(text, Detail::Exact), exact);
        assert_eq!(mask(text, Detail::Group), group);
    }

    #[test]
    fn what_changes_from_run_to_run_goes() {
        check(
            "2026-11-22T20:29:32.123Z pid=17 at /tmp/x.1/src/lib.rs:9:24 took 0.13s, 3 of 4",
            "<time> <thread> at <path> took <duration>, 3 of 4",
            "<time> <thread> at <path> took <duration>, 0 of 0",
        );
        check(
            "/home/a/p/src/lib.rs:9:24: 0xdeadbeef 4fe0104ed9 http://h:80/a?b 10.0.0.1:443 me@x.org",
            "lib.rs: <address> <address> <url> <address> <email>",
            "<path>: <address> <address> <url> <address> <email>",
        );
        check(
            "thread 'tests::bad' (16526) panicked",
            "thread 'tests::bad' <thread> panicked",
            "thread `bad` <thread> panicked",
        );
        check("defaced acceded 1234567", "defaced acceded 1234567", "defaced acceded 0");
    }

    #[test]
    fn a_terse_line_keeps_the_name_that_tells_its_kind() {
        check(
            "error: use of `u8::to_ne_bytes`",
            "error: use of `u8::to_ne_bytes`",
            "error: use of `to_ne_bytes`",
        );
        check(
            "error: cannot find value `x` in this scope",
            "error: cannot find value `x` in this scope",
            "error: cannot find value `_` in this scope",
        );
    }

    proptest::proptest! {
        #[test]
        fn masking_twice_changes_nothing_more(text in "[a-z0-9 :./'`x-]{0,60}") {
            let once = mask(&text, Detail::Group).into_owned();
            let twice = mask(&once, Detail::Group).into_owned();
            proptest::prop_assert!(twice.len() <= once.len() + 8 * once.matches('<').count());
        }
    }
}
