//! Crashes of the program under work: sanitizers, failed checks, panics, signals.
//!
//! The names of the kinds are those of ClusterFuzz, the widest published vocabulary of crashes.

use std::sync::LazyLock;

use regex::Regex;

/// A crash that was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Crash {
    /// "Heap-use-after-free READ 8".
    pub(crate) kind: String,
    /// The message of a failed check or panic; the line that told of the crash otherwise.
    pub(crate) headline: String,
    /// Whether the message tells crashes of this kind apart, as a failed check's does.
    pub(crate) message_tells: bool,
}

/// Kinds by their line, in the order of what says most: a failed check also raises a signal, and
/// a sanitizer then reports that signal. "*" as kind takes the first group, with a capital.
const KINDS: &[(&str, &str)] = &[
    ("Security DCHECK failure", r"Security DCHECK failed: *(.*)"),
    ("Security CHECK failure", r"(?:Security CHECK failed|SECURITY_CHECK failed): *(.*)"),
    ("Security DCHECK failure", r"SECURITY_D?CHECK.*failed: *(.*)"),
    ("ASSERT", r"^abort: (CSA_\w+ failed: .*)|assert\.h assertion failed at \S+ in \w+: (.*)"),
    (
        "CHECK failure",
        r"(?:Check failed|D?CHECK failure|Debug check failed|D?CHECK failed|RepresentationChangerError): *(.*)",
    ),
    (
        "Uncaught exception",
        r"=== (?:Uncaught Python exception|Java Exception)|== Java Exception: (.*)|Uncaught Exception: (.*)",
    ),
    ("Unreachable code", r"^# *(?:unreachable|unimplemented) code"),
    ("ASSERT", r"^# *((?:CSA_|Torque )\S*(?:ASSERT|DCHECK)? ?failed: .*)"),
    (
        "Fatal error",
        r"^fatal error: (.*)|\bF\d{4} [\d:.]+ +\d+ [\w./]+:\d+\] (.*)|^# (Type representation error: .*)|Fatal error in .*\n# (Cannot .*)",
    ),
    (
        "ASSERT",
        r"(?:Assertion|assertion) [`'\x22\u{2018}]?(.+?)[`'\x22\u{2019}]? failed|Assertion failed: (.*)|assert failure: (.*)|terminating with .*assert.*: (.*)",
    ),
    ("Index out of range", r"(?:panic: )?runtime error: index out of range"),
    ("Slice bounds out of range", r"(?:panic: )?runtime error: slice bounds out of range"),
    ("Invalid memory address", r"(?:panic: )?runtime error: invalid memory address"),
    ("Integer divide by zero", r"panic: runtime error: integer divide by zero"),
    ("ASSERT", r"^panic: (.*)"),
    ("ASSERT", r"thread '[^']*'(?: \(\d+\))? panicked at (?:'(.*)',|[^\n]*:\n(.*))"),
    ("Missing-library", r"error while loading shared libraries: ([^\s:]+)"),
    (
        "Bad-cast",
        r"runtime error: (?:member call|member access|downcast|upcast|cast) (?:on|within|of) (?:address|type).*which does not point to an object|runtime error: control flow integrity check.*",
    ),
    ("Bad-cast", r"runtime error: control flow integrity|control flow integrity violation"),
    ("Null-dereference WRITE", r"runtime error: store to null pointer"),
    ("Null-dereference READ", r"runtime error: load of null pointer"),
    ("Upcast-of-null-pointer", r"runtime error: upcast of null pointer"),
    (
        "Null-dereference",
        r"runtime error: (?:member (?:call|access)|reference binding|.*) (?:on|within|to|of) null pointer of",
    ),
    (
        "Pointer-overflow",
        r"runtime error: (?:pointer index expression|addition of unsigned offset|subtraction of unsigned offset|applying (?:non-)?zero|applying .*offset)",
    ),
    ("Divide-by-zero", r"runtime error: division by zero|\(Integer divide-by-zero\)"),
    ("Implicit-conversion", r"runtime error: implicit conversion"),
    (
        "Integer-overflow",
        r"runtime error: (?:signed|unsigned) integer overflow|runtime error: negation of|runtime error: division of .* cannot be represented|\(Integer overflow\)",
    ),
    (
        "Invalid-bool-value",
        r"runtime error: load of value \S+ which is not a valid value for type '(?:bool|const bool)'|runtime error: load of value .*for type 'bool'",
    ),
    ("Invalid-enum-value", r"runtime error: load of value .* not a valid value for type"),
    ("Non-positive-vla-bound-value", r"runtime error: variable length array bound"),
    ("Object-size", r"runtime error: .* with insufficient space for an object"),
    ("Undefined-shift", r"runtime error: (?:left|right) shift|runtime error: shift exponent"),
    ("Float-cast-overflow", r"runtime error: .* is outside the range of representable values"),
    ("Misaligned-address", r"runtime error: .* misaligned address"),
    ("Index-out-of-bounds", r"runtime error: index .* out of bounds"),
    ("Unreachable code", r"runtime error: execution reached"),
    (
        "Out-of-memory",
        r"ERROR: libFuzzer: out-of-memory|Sanitizer: (?:requested )?allocation-size-too-big|Sanitizer: (?:allocator is )?out[- ]of[- ]memory|Sanitizer failed to allocate|Failure description: rss-limit-exceeded|exceeds maximum supported size",
    ),
    (
        "Timeout",
        r"ERROR: libFuzzer: timeout|Failure description: (?:per-input-)?timeout|ALARM: working on the last Unit",
    ),
    ("Overwrites-const-input", r"libFuzzer: (?:overwrites-const-input|fuzz target overwrites)"),
    ("Unexpected-exit", r"libFuzzer: fuzz target exited"),
    ("Stack-overflow", r"Sanitizer: stack-overflow|\(Stack overflow\)|has overflowed its stack"),
    ("Ill", r"Sanitizer: (?:ILL|illegal-instruction)"),
    ("Abrt", r"Sanitizer: ABRT"),
    ("Bus", r"Sanitizer: BUS"),
    ("Breakpoint", r"Sanitizer: (?:breakpoint|TRAP)"),
    ("Floating-point-exception", r"Sanitizer: FPE"),
    ("Invalid-free", r"Sanitizer: attempting free on address"),
    ("Heap-double-free", r"Sanitizer: attempting double-free"),
    ("Bad-free", r"Sanitizer: bad-free"),
    ("Data race", r"ThreadSanitizer: data race"),
    ("Direct-leak", r"Direct leak of"),
    ("Indirect-leak", r"Indirect leak of"),
    (
        "SEGV",
        r"Sanitizer: (?:SEGV|access-violation|unknown-crash) on (?:unknown )?address (0x[0-9a-fA-F]+)",
    ),
    ("SEGV", r"Sanitizer: (?:SEGV|access-violation|unknown-crash)"),
    ("*", r"(?:Address|HWAddress|Memory|Thread|Leak)Sanitizer:? ([a-z][a-z-]{4,})"),
    ("SEGV", r"SIGSEGV|[Ss]egmentation fault|Received signal 11\b"),
    ("Abrt", r"SIGABRT|signal 6\b|Aborted \(core dumped\)"),
    ("Bus", r"SIGBUS"),
    ("Ill", r"SIGILL|Illegal instruction"),
    ("Floating-point-exception", r"SIGFPE"),
    ("SIGTRAP", r"SIGTRAP"),
    ("Fatal-signal", r"libFuzzer: deadly signal"),
];

static MATCHERS: LazyLock<Vec<(&'static str, Regex)>> = LazyLock::new(|| {
    let compiled = |(kind, pattern): &(&'static str, &str)| {
        Some((*kind, Regex::new(&format!("(?m){pattern}")).ok()?))
    };
    KINDS.iter().filter_map(compiled).collect()
});

/// What all kinds have in common: without one of these words there is no crash to look for.
static ANY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new("anitizer|libFuzzer|runtime error:|[Cc]heck failed|CHECK|ssert|panic|Java Exception|Python exception|atal error|\
                SIG[A-Z]{3}|egmentation fault|signal 6|Aborted|leak of|Received signal|flow integrity|shared libraries|description: |EXCEPTION|divide-by-zero|overflow|\
                reachable code|implemented code|RepresentationChanger|ncaught|Illegal instruction|F\\d{4} |ALARM: |CSA_").ok()
});

/// The crash that a text tells of.
pub(crate) fn crash(text: &str) -> Option<Crash> {
    ANY.as_ref()?.find(text)?;
    let (kind, found) =
        MATCHERS.iter().find_map(|(kind, matcher)| Some((*kind, matcher.captures(text)?)))?;
    let whole = found.get(0)?;
    let group = found.iter().skip(1).flatten().next().map_or("", |group| group.as_str().trim());
    let message_tells = matches!(
        kind,
        "CHECK failure"
            | "Security CHECK failure"
            | "Security DCHECK failure"
            | "ASSERT"
            | "Fatal error"
            | "Missing-library"
    ) && !group.is_empty();
    let line_from = text[..whole.start()].rfind('\n').map_or(0, |at| at + 1);
    let line_to = text[whole.start()..].find('\n').map_or(text.len(), |at| whole.start() + at);
    // The values that a comparison saw are another thing in every run.
    let message =
        if group.contains(" vs. ") { group.split(" (").next().unwrap_or(group) } else { group };
    let message = if kind.ends_with("CHECK failure") {
        message.split("; ").next().unwrap_or(message)
    } else {
        message
    };
    let headline = if message_tells { message } else { text[line_from..line_to].trim() };
    let kind = match kind {
        "SEGV" => segv(text, group),
        "*" => format!("{}{}", capital(group), access(text)),
        kind => kind.to_owned(),
    };
    Some(Crash { kind, headline: headline.to_owned(), message_tells })
}

/// An access near null is a null dereference; which access it was is on a line of its own.
fn segv(text: &str, address: &str) -> String {
    let address = u64::from_str_radix(address.trim_start_matches("0x"), 16).ok();
    let access = ["READ", "WRITE"].into_iter().find(|access| {
        text.contains(&format!("caused by a {access} memory access"))
            || text.contains(&format!("ERROR: {access} "))
    });
    let kind = if address.is_some_and(|address| address < 0x1_0000) {
        "Null-dereference"
    } else {
        "UNKNOWN"
    };
    access.map_or_else(|| kind.to_owned(), |access| format!("{kind} {access}"))
}

/// " READ 8" from "READ of size 8".
fn access(text: &str) -> String {
    for access in ["READ", "WRITE"] {
        let size =
            text.find(&format!("{access} of size ")).map(|at| &text[at + access.len() + 9..]);
        if let Some(size) = size {
            let digits = size.bytes().take_while(u8::is_ascii_digit).count();
            let size = &size[..digits];
            return if size.is_empty() {
                format!(" {access} {{*}}")
            } else {
                format!(" {access} {size}")
            };
        }
    }
    String::new()
}

fn capital(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, kind: &str, headline: &str) {
        let crash = crash(text).unwrap();
        assert_eq!((crash.kind.as_str(), crash.headline.as_str()), (kind, headline));
    }

    #[test]
    fn crashes_by_their_kind() {
        let asan = "==1==ERROR: AddressSanitizer: heap-use-after-free on address 0x60f0\nREAD of size 8 at 0x60f0 thread T0\n";
        check(
            asan,
            "Heap-use-after-free READ 8",
            "==1==ERROR: AddressSanitizer: heap-use-after-free on address 0x60f0",
        );
        let null = "==1==ERROR: AddressSanitizer: SEGV on unknown address 0x000000000010 (pc 0x1)\n==1==The signal is caused by a WRITE memory access.\n";
        assert_eq!(crash(null).unwrap().kind, "Null-dereference WRITE");
        check(
            "a.c:1:2: runtime error: signed integer overflow: 1 + 2\n",
            "Integer-overflow",
            "a.c:1:2: runtime error: signed integer overflow: 1 + 2",
        );
        check("x: a.c:3: f: Assertion `n > 0' failed.\nAborted (core dumped)\n", "ASSERT", "n > 0");
        check(
            "thread 'main' (7) panicked at src/main.rs:2:5:\nindex out of bounds\n",
            "ASSERT",
            "index out of bounds",
        );
        check(
            "panic: runtime error: index out of range [5] with length 3\n",
            "Index out of range",
            "panic: runtime error: index out of range [5] with length 3",
        );
        assert_eq!(crash("all tests passed\n"), None);
    }
}
