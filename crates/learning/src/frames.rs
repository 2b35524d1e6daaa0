//! The functions of a stack: which of the program's own code led to the failure.

use std::sync::LazyLock;

use regex::Regex;

/// Frames looked for; only the first few tell failures apart.
const MOST_FRAMES: usize = 8;
/// Longer names are template arguments.
const NAME_BYTES: usize = 80;

struct Shapes {
    /// "#0 0x7f in function file:1:2" of sanitizers and debuggers.
    native: Regex,
    /// "  File "x.py", line 1, in function".
    python: Regex,
    /// "  at package.Class.method(File.java:1)".
    java: Regex,
    /// "  at function (file:1:2)".
    script: Regex,
    /// "  4: crate::module::function".
    rust: Regex,
    /// "package.function(0x1, …)" with its file on the next line.
    go: Regex,
    /// Code that is never the reason: runtimes, libraries, the machinery of failing itself.
    foreign: Regex,
}

static SHAPES: LazyLock<Option<Shapes>> = LazyLock::new(|| shapes().ok());

fn shapes() -> Result<Shapes, regex::Error> {
    Ok(Shapes {
        native: Regex::new(
            r"(?:^|\s)#(\d+)\s+(?:pc )?0x[0-9a-fA-F]+\s+(?:\[0x[0-9a-fA-F]+\]\s+)?(?:in\s+)?(\S.*)$",
        )?,
        python: Regex::new(r#"^\s*(?:#\d+ )?File "([^"]*)", line \d+, in (\S+)"#)?,
        java: Regex::new(
            r"^\s*at ([\w.$<>]+)\((?:[\w$]+\.(?:java|kt|scala|groovy)(?::\d+)?|Native Method|Unknown Source)\)",
        )?,
        script: Regex::new(
            r"^\s*at (?:async )?(?:new )?([\w.$<>]+)(?: \[as [^\]]+\])? \(([^()]+):\d+:\d+\)",
        )?,
        rust: Regex::new(r"^\s+\d+:\s+(?:0x[0-9a-f]+ - )?([A-Za-z_<][^\s].*)$")?,
        go: Regex::new(r"^([\w./%*()·-]+)\((?:0x|\.\.\.|\{|\)|\?)")?,
        foreign: Regex::new(concat!(
            r"^(?:_*(?:asan|msan|hwasan|tsan|lsan|ubsan|interceptor|sanitizer|libc_|GI_|assert|cxa|gnu_cxx|str\w+_chk|aeabi|rust|dl_|scrt|clone|run_exit|pthread|chk_fail|fortify|stack_chk|restore_rt|kernel_rt|ubsan)",
            r"|wrap_|raise\b|abort\b|gsignal|exit\b|_start\b|main$|fuzzer::|LLVMFuzzer|start_thread|mem(?:cpy|set|move|cmp|chr)\b|str\w{2,7}$|[mc]alloc|realloc|free$|calloc|operator (?:new|delete)|printf|vfprintf",
            r"|std::|core::|alloc::|<core::|<std::|<alloc::|rust_|test::|backtrace::|panic_|<.* as core::",
            r"|logging::|base::debug::|V8_Fatal|v8::base::|absl::|google::LogMessage|testing::|void testing|boost::exception|tcmalloc|partition_alloc",
            r"|runtime\.(?:go|main|panic|raise|throw|sigpanic|mcall|systemstack|morestack|cgocall|fatal|dieFrom|gopanic|call|asmcgocall|crash|cgoSig|exit|signal)|panic$|created by|main\._cgo|testing\.",
            r"|java\.|javax\.|jdk\.|sun\.|org\.junit|org\.gradle|org\.apache\.maven|com\.code_intelligence|kotlin\.|scala\.",
            r"|node:|Module\.|Object\.<anonymous>|processTicks|Script\.|internal/|process\.|listOnTimeout|Test\.|Suite\.|TestContext|Promise|new Promise",
            r"|abort_|demangling_|CrashTrampoline|do_system|wait4|fuzztest::|centipede::|<lib|linux-gate|lib[\w.+-]+\.so|KiUser|Rtl|Base[A-Z]\w+Thread|ntdll|ucrtbase|_CxxThrow|invoke_main|DebugBreak|kasan_|kernel_|dump_stack|__dump|print_address|end_report|<unknown|<module>$|_pytest|pluggy|run_?test|runpy|TestOneInput$|PyRun|Py_|_PyE|_bootstrap|\?\?|atexit)",
        ))?,
    })
}

/// The program's own functions, innermost first, of the first stack that has any.
pub(crate) fn frames(text: &str) -> Vec<String> {
    let Some(shapes) = SHAPES.as_ref() else { return Vec::new() };
    let mut stack: Vec<String> = Vec::new();
    let mut python: Vec<String> = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let next = lines.get(index + 1).copied().unwrap_or_default();
        if let Some(found) = shapes.python.captures(line) {
            // Another process's traceback may follow; the last one is the cause that was shown.
            if !is_library(&found[1]) {
                python.push(found[2].to_owned());
            }
            continue;
        }
        if line.starts_with("Traceback (most recent") {
            python.clear();
        }
        // A second stack says where memory was allocated or freed, which is not the fault.
        let again = shapes.native.captures(line).is_some_and(|found| &found[1] == "0");
        if again && !stack.is_empty() {
            break;
        }
        if stack.len() < MOST_FRAMES
            && let Some(name) = shapes.function(line, next)
            && !shapes.foreign.is_match(&name)
            && stack.last() != Some(&name)
        {
            stack.push(name);
        }
    }
    if python.is_empty() {
        return stack;
    }
    python.retain(|name| !shapes.foreign.is_match(name));
    python.reverse();
    python.truncate(MOST_FRAMES);
    python
}

fn is_library(path: &str) -> bool {
    ["/site-packages/", "/dist-packages/", "/lib/python", "<frozen"]
        .iter()
        .any(|part| path.contains(part))
}

impl Shapes {
    fn function(&self, line: &str, next: &str) -> Option<String> {
        if let Some(found) = self.native.captures(line) {
            return native_name(&found[2]);
        }
        if let Some(found) = self.java.captures(line) {
            let name = found[1].to_owned();
            let mut parts: Vec<&str> = name.rsplitn(3, '.').take(2).collect();
            parts.reverse();
            return (!self.foreign.is_match(&name)).then(|| parts.join("."));
        }
        if let Some(found) = self.script.captures(line) {
            let foreign = found[2].contains("node_modules") || found[2].starts_with("node:");
            return (!foreign).then(|| found[1].to_owned());
        }
        if let Some(found) = self.rust.captures(line) {
            let placed = next.trim_start().starts_with("at ");
            return placed.then(|| rust_name(&found[1]));
        }
        if let Some(found) = self.go.captures(line) {
            let placed = next.starts_with(char::is_whitespace) && next.contains(".go:");
            let name = found[1].rsplit('/').next().unwrap_or_default();
            return (placed && name.contains('.')).then(|| name.replace("%2e", "."));
        }
        None
    }
}

/// "ns::f(int) const file.cc:1:2 (module+0x1)" is "ns::f".
fn native_name(rest: &str) -> Option<String> {
    let rest = rest.replace("(anonymous namespace)::", "").replace("operator()", "operator");
    let mut depth = 0_i32;
    let mut end = rest.len();
    for (at, c) in rest.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            '(' if depth <= 0 => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    let mut name = rest[..end].trim();
    // Without parameters the file follows the name at once.
    if let Some((front, file)) = name.rsplit_once(' ')
        && (file.contains(['/', '\\'])
            || file.split(':').nth(1).is_some_and(|line| line.parse::<u32>().is_ok()))
        && !file.contains("::")
    {
        name = front.trim();
    }
    let name = name.split("+0x").next().unwrap_or_default().trim_end_matches(" const");
    let real =
        name.chars().any(char::is_alphabetic) && !name.starts_with("0x") && !name.starts_with('/');
    real.then(|| name[..crate::window::boundary(name, NAME_BYTES)].trim_end().to_owned())
}

/// Without the hash that every build changes, and without the numbers of closures.
fn rust_name(name: &str) -> String {
    let name = name.trim();
    let name = match name.rsplit_once("::h") {
        Some((front, hash))
            if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            front
        }
        _ => name,
    };
    let plain = name.split("::{{closure}}").next().unwrap_or(name);
    plain[..crate::window::boundary(plain, NAME_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_own_frames_of_each_kind_of_stack() {
        let native = "==1==ERROR: x\n    #0 0x4f in __asan_memcpy asan.cc:1\n    #1 0x50 in ns::(anonymous namespace)::f(int, std::x<a(b)>) const /src/f.cc:3:4\n    \
                      #2 0x51 in g file.c:1\nfreed by:\n    #0 0x1 in h h.c:1\n";
        assert_eq!(frames(native), ["ns::f", "g"]);
        let rust = "   3: core::panicking::panic_fmt\n             at /rustc/x/panicking.rs:80:14\n   4: demo::tests::bad::{{closure}}\n             at ./src/lib.rs:9:24\n   \
                    5: demo::tests::bad::h0123456789abcdef\n             at ./src/lib.rs:9:21\n";
        assert_eq!(frames(rust), ["demo::tests::bad"]);
        let python = "Traceback (most recent call last):\n  File \"/r/a.py\", line 1, in outer\n    inner()\n  File \"/usr/lib/python3/json.py\", line 1, in loads\n  \
                      File \"/r/a.py\", line 9, in inner\nValueError: x\n";
        assert_eq!(frames(python), ["inner", "outer"]);
        assert_eq!(
            frames(
                "panic: x\n\ngoroutine 1 [running]:\nexample.com/x/json.(*State).unquote(0x10c, 0x1)\n\t/src/decode.go:1264 +0xb3b\n"
            ),
            ["json.(*State).unquote"]
        );
        assert_eq!(
            frames(
                "\tat org.junit.Assert.fail(Assert.java:88)\n\tat com.a.Calc.add(Calc.java:12)\n"
            ),
            ["Calc.add"]
        );
        assert_eq!(
            frames("    at check (/out/a.js:27:9)\n    at x (/r/node_modules/y.js:1:1)\n"),
            ["check"]
        );
        let braces = "panic: x\ngoroutine 17 [running]:\nregexp.(*Regexp).Split(0x10c0, {0x10c, 0x9}, 0xff)\n\u{2003}regexp/regexp.go:1266 +0x617\n";
        assert_eq!(frames(braces), ["regexp.(*Regexp).Split"]);
        assert_eq!(frames("nothing here\n at all"), Vec::<String>::new());
    }
}
