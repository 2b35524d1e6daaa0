//! The table of matchers, in the order of what says most.
//!
//! A pattern sees the windows around faults, with `^` and `$` at line ends. `$1` in a kind is the
//! first group that matched. Typed kinds carry just what a remedy needs.

use journeyman_domain::failure::Category;

/// In which phases a rule is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Anywhere,
    Acting,
    NotVerifying,
}

/// One matcher.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) category: Category,
    pub(super) kind: &'static str,
    pub(super) pattern: &'static str,
    pub(super) place: Where,
    /// Whether it says only that something failed, so that headline and stack must tell which.
    pub(super) weak: bool,
    /// Whether a crash in the same text says more.
    pub(super) late: bool,
}

impl Rule {
    /// Whether it is a test runner's line.
    pub(super) fn is_test(&self) -> bool {
        self.category == Category::TestAssertion
    }
}

/// A rule that tells a kind, in any phase.
const fn rule(category: Category, kind: &'static str, pattern: &'static str) -> Rule {
    Rule { category, kind, pattern, place: Where::Anywhere, weak: false, late: false }
}

/// A rule that says only that something failed.
const fn weak(category: Category, kind: &'static str, pattern: &'static str) -> Rule {
    Rule { category, kind, pattern, place: Where::Anywhere, weak: true, late: true }
}

/// A rule that a crash outdoes: programs complain of files and networks before they die.
const fn late(category: Category, kind: &'static str, pattern: &'static str) -> Rule {
    Rule { category, kind, pattern, place: Where::Anywhere, weak: false, late: true }
}

const fn acting(category: Category, kind: &'static str, pattern: &'static str) -> Rule {
    Rule { category, kind, pattern, place: Where::Acting, weak: false, late: false }
}

const fn not_verifying(category: Category, kind: &'static str, pattern: &'static str) -> Rule {
    Rule { category, kind, pattern, place: Where::NotVerifying, weak: false, late: true }
}

pub(super) const RULES: &[Rule] = &[
    // Resources: they make everything else fail.
    rule(
        Category::ResourceDisk,
        "disk:full",
        r"No space left on device|ENOSPC|[Dd]isk quota exceeded|database or disk is full",
    ),
    late(Category::ResourceDisk, "disk:handles", r"Too many open files|EMFILE|ENFILE"),
    rule(
        Category::ResourceMemory,
        "memory",
        r"memory allocation of \d+ bytes failed|JavaScript heap out of memory|java\.lang\.OutOfMemoryError|^MemoryError|Cannot allocate memory|OOMKilled|[Oo]ut of memory: Kill|oom-kill|(?i:job failed.*exit code 137)|[Kk]illed .* sonar-scanner|signal: 9, SIGKILL",
    ),
    // Model and provider, while an agent acts.
    acting(
        Category::Budget,
        "quota",
        r"insufficient_quota|exceeded your current quota|credit balance is too low|[Pp]ayment [Rr]equired|budget (?:is )?(?:used up|exhausted|exceeded)",
    ),
    acting(
        Category::ContextOverflow,
        "context",
        r"context_length_exceeded|maximum context length|prompt is too long|exceeds? (?:the )?(?:model's )?context window|too many tokens",
    ),
    acting(
        Category::ProviderRateLimit,
        "rate_limit",
        r"(?i:rate[ _-]?limit(?:ed|_error| exceeded| reached)|too many requests|overloaded_error)",
    ),
    acting(
        Category::ProviderAuth,
        "api_key",
        r"(?i:invalid[ _-]?api[ _-]?key|incorrect api key|authentication_error|permission_error)",
    ),
    acting(
        Category::ProviderInvalid,
        "model",
        r"model_not_found|invalid_request_error|content_filter|content_policy|unknown model",
    ),
    acting(
        Category::ModelOutput,
        "model_output",
        r"(?i:(?:could not|cannot|failed to) parse (?:the )?(?:model|answer|response|tool)|not valid json|empty (?:answer|response|completion)|\bno diff\b|refused to (?:answer|comply)|unexpected end of json)",
    ),
    acting(
        Category::ToolMisuse,
        "edit",
        r"(?i:old_str(?:ing)? (?:was )?not found|edit did not match|string to replace (?:was )?not found|does not match the file|no such tool|unknown tool|invalid (?:tool )?arguments?|missing required (?:parameter|argument))",
    ),
    // Version control.
    rule(
        Category::MergeConflict,
        "conflict",
        r"^CONFLICT \(|Automatic merge failed|error: patch failed|patch does not apply|merge conflict in|could not apply [0-9a-f]{7}",
    ),
    rule(
        Category::VcsTransient,
        "git:lock",
        r"(?:index|HEAD|config|packed-refs)\.lock'?: File exists|cannot lock ref|could not lock config file",
    ),
    not_verifying(
        Category::ProviderAuth,
        "git:access",
        r"fatal: unable to access .*40[13]|fatal: Authentication failed|remote: (?:Permission to|Invalid username)|Permission denied \(publickey|could not read Username",
    ),
    not_verifying(
        Category::VcsTransient,
        "git:transfer",
        r"fatal: unable to access|RPC failed|remote end hung up|early EOF|expected.*packfile|Empty reply from server|index-pack failed",
    ),
    // Something is not installed.
    rule(
        Category::EnvMissing,
        "missing_header:$1",
        r"fatal error: '?([\w./+-]+\.(?:h|hh|hpp|hxx))'?(?: file not found|: No such file)",
    ),
    rule(
        Category::EnvMissing,
        "missing_library:$1",
        r"(?:ld(?:\.\w+)?: |: )cannot find -l([\w.+-]+)|library not found for -l([\w.+-]+)|error while loading shared libraries: ([^\s:]+)|unable to find library -l([\w.+-]+)",
    ),
    rule(
        Category::EnvMissing,
        "missing_package_config:$1",
        r"Package '?([\w.+-]+)'?,? (?:required by .*, )?(?:was )?not found(?: in the pkg-config)?|No package '([\w.+-]+)' found",
    ),
    rule(
        Category::EnvMissing,
        "missing_command:cargo-$1",
        r"error: no such (?:sub)?command: `([\w-]+)`",
    ),
    rule(
        Category::EnvMissing,
        "missing_command:$1",
        r"(?:^|: )([\w.+-]+): (?:command )?not found$|(?:^|: )command not found: ([\w.+-]+)|env: (?u:\u{2018}|'|`)?([\w.+-]+)(?u:\u{2019}|'|`)?: No such file|exec: \x22([\w./+-]+)\x22: executable file not found|linker `([\w.+-]+)` not found|make(?:\[\d+\])?: ([\w.+-]+): No such file|spawn ([\w.+-]+) ENOENT|'([\w.+-]+)' is not recognized as|is `([\w-]+)` installed\?",
    ),
    rule(
        Category::EnvMissing,
        "missing_toolchain:$1",
        r"toolchain '([\w.-]+)' is not installed|error: (?:the )?'?([\w-]+)'? (?:binary|component).* is not (?:installed|applicable)|can't find crate for `(?:core|std)`",
    ),
    rule(
        Category::EnvMissing,
        "missing_module:$1",
        r"(?:ModuleNotFoundError|ImportError): No module named '?([\w.]+)'?|: No module named ([\w.]+)$|Cannot find (?:module|package) '([^'./][^']*)'|Can't locate ([\w/]+)\.pm|cannot load such file -- ([\w/-]+)",
    ),
    rule(
        Category::EnvMissing,
        "missing_class:$1",
        r"NoClassDefFoundError: ([\w/.$]+)|ClassNotFoundException: ([\w.$]+)",
    ),
    rule(
        Category::EnvMissing,
        "missing_variable:$1",
        r"([A-Z][A-Z0-9_]{2,})(?:: unbound variable|: parameter not set)|KeyError: '([A-Z][A-Z0-9_]{2,})'|(?i:(?:required )?env(?:ironment)? var(?:iable)?s?) [`'\x22]?(\w+)[`'\x22]?.{0,12}(?:not set|not defined|not present|not found|missing)|environment variable `?(\w+)`? not (?:defined|set)|(?i:please set (\w+)\b.*variable)|required env var (\w+|.*) is not set|wget: missing URL",
    ),
    late(
        Category::EnvMissing,
        "service:docker",
        r"(?i:cannot connect to the docker daemon|error during connect.*docker|no such container|no container found for)",
    ),
    // Packages.
    rule(
        Category::DependencyResolution,
        "cargo:offline",
        r"attempting to make an HTTP request, but --offline|you may want to (?:run `cargo fetch`|remove the --offline)",
    ),
    rule(
        Category::DependencyResolution,
        "cargo:no_matching_package:$1",
        r"no matching package named `([\w-]+)`|perhaps you meant:.*\n.*package `([\w-]+)`",
    ),
    rule(
        Category::DependencyResolution,
        "cargo:version:$1",
        r"failed to select a version for (?:the requirement )?`([\w-]+)",
    ),
    rule(
        Category::DependencyResolution,
        "cargo:lock",
        r"lock file .* needs to be updated but --(?:locked|frozen)|cannot update the lock file",
    ),
    rule(
        Category::DependencyResolution,
        "cargo:fetch",
        r"error: failed to (?:get|download|fetch|load source for)|failed to (?:download|fetch) .*(?:crate|registry|index)|spurious network error",
    ),
    rule(
        Category::DependencyResolution,
        "npm:$1",
        r"npm (?:ERR!|error) code (E[A-Z0-9_]+)|(ERR_PNPM_\w+)|error An unexpected error occurred: \x22(\w+)",
    ),
    rule(
        Category::DependencyResolution,
        "pip:no_version:$1",
        r"No matching distribution found for ([\w.-]+)|Could not find a version that satisfies the requirement ([\w.-]+)",
    ),
    rule(
        Category::DependencyResolution,
        "pip:conflict",
        r"ResolutionImpossible|conflicting dependencies|No solution found when resolving|because .* depends on .* version solving failed",
    ),
    rule(
        Category::DependencyResolution,
        "pip:build:$1",
        r"Failed building wheel for ([\w.-]+)|Failed to build ([\w.-]+)$|could not install deps",
    ),
    rule(Category::DependencyResolution, "uv:lock", r"The lockfile at .* needs to be updated"),
    rule(
        Category::DependencyResolution,
        "go:module:$1",
        r"missing go\.sum entry for module providing package (\S+)|no required module provides package ([^\s;]+)|go: ([\w./-]+)@\S+: .*(?:unknown revision|lookup disabled|404|dial tcp)",
    ),
    rule(
        Category::DependencyResolution,
        "maven",
        r"Could not (?:resolve dependencies|find artifact|transfer artifact)|Could not resolve all (?:files|dependencies)",
    ),
    rule(
        Category::DependencyResolution,
        "apt:$1",
        r"Unable to locate package ([\w.+-]+)|unable to select packages|Release file for .* is not valid yet|safe thing yum can do is fail|Hash Sum mismatch",
    ),
    // Compilers.
    rule(Category::BuildType, "rustc:$1", r"^error\[(E\d{4})\]"),
    rule(Category::BuildType, "tsc:$1", r"error (TS\d{4,5}):"),
    rule(Category::BuildType, "mypy:$1", r"^\S+\.pyi?:\d+(?::\d+)?: error: .*\[([a-z-]+)\]$"),
    rule(Category::BuildCompile, "python:$1", r"^\s*(?:E\s+)?((?:Syntax|Indentation|Tab)Error): "),
    rule(
        Category::BuildCompile,
        "javascript:SyntaxError",
        r"^(?:Uncaught )?SyntaxError: |^\s+SyntaxError: \S+: ",
    ),
    rule(Category::BuildCompile, "go:undefined", r"^\S*\.go:\d+:\d+: undefined: "),
    rule(
        Category::BuildCompile,
        "go:unused",
        r"^\S*\.go:\d+:\d+: (?:declared and not used|\x22.*\x22 imported and not used)",
    ),
    rule(Category::BuildCompile, "go:syntax", r"^\S*\.go:\d+:\d+: syntax error"),
    rule(
        Category::BuildType,
        "go:type",
        r"^\S*\.go:\d+:\d+: (?:cannot use|invalid operation|not enough arguments|too many arguments|assignment mismatch|impossible type)",
    ),
    rule(
        Category::BuildCompile,
        "link:undefined_reference",
        r"undefined reference to |Undefined symbols for architecture|undefined symbol: ",
    ),
    rule(
        Category::BuildCompile,
        "javac:cannot_find_symbol",
        r"\.java:\d+: error: cannot find symbol",
    ),
    weak(
        Category::BuildCompile,
        "cc",
        r"^\S+\.(?:c|cc|cpp|cxx|h|hpp|m|mm):\d+:\d+: (?:fatal )?error: ",
    ),
    weak(Category::BuildCompile, "javac", r"\.(?:java|kt):\d+: error: "),
    rule(
        Category::BuildCompile,
        "missing_file:$1",
        r"Cannot find module '(\.[^']*)'|Could not resolve \x22(\.[^\x22]*)\x22",
    ),
    // Linters and formatters.
    rule(
        Category::Lint,
        "clippy:$1",
        r"clippy::([a-z0-9_]+)|`-[WD] clippy::([a-z0-9-]+)`|rust-clippy/\S*#([a-z0-9_]+)",
    ),
    rule(Category::Lint, "rustc:$1", r"`#\[(?:warn|deny)\(([a-z_]+)\)\]`|`-D ([a-z-]+)`"),
    rule(
        Category::Lint,
        "ruff:$1",
        r"^\S+\.pyi?:\d+:\d+: ([A-Z]{1,4}\d{3,4}) |^([A-Z]{1,4}\d{3,4}) (?:\[\*\] )?\S.*\n +--> ",
    ),
    rule(Category::Lint, "eslint:$1", r"^\s+\d+:\d+\s+error\s+.*\s{2,}((?:@[\w-]+/)?[\w/-]+)$"),
    rule(
        Category::Lint,
        "format",
        r"^Diff in \S+|would reformat|Code style issues found|files? would be reformatted|These files are not formatted",
    ),
    weak(
        Category::BuildCompile,
        "",
        r"^(?:error|warning): .*\n *--> |^error: (?:could not compile|expected|cannot find|unexpected|unresolved|mismatched|unknown|no rules)|make(?:\[\d+\])?: \*\*\* No rule",
    ),
    // Tests. What is thrown tells more than that a test failed.
    weak(
        Category::TestAssertion,
        "exception:$1",
        r"^E\s+(\w+(?:Error|Exception|Warning|Exit))\b|^(?:\w+\.)*(\w+(?:Error|Exception)): .*\n\n-{20,}\nRan |^\s+(AssertionError)\b",
    ),
    weak(
        Category::TestAssertion,
        "",
        r"^test .* \.\.\. FAILED|^test result: FAILED|^\s*--- FAIL: |^FAIL\t|^FAILED \S+::|^(?:FAIL|ERROR): \w+ \(|^not ok \d|^Tests: .*failed|^\s*\d+ failing|\d+ failed(?:,| in) .*\d|^\s+FAIL \[|^\s*FAIL\s+\S+\.(?:[jt]sx?|mjs)|Tests run: .*(?:Failures|Errors): [1-9]|^\s*(?u:\u{2716}) |^\s*(?u:\u{25cf}) .* (?u:\u{203a}) |Failing scenarios|AssertionError: expected",
    ),
    // Time.
    late(
        Category::TimeoutHard,
        "timeout",
        r"(?i:execution took longer than|wait time.*exceeded|timed out waiting for|test timed out after|exceeded timeout of \d|deadline exceeded$)",
    ),
    // Databases.
    late(
        Category::InfraDatabase,
        "database:$1",
        r"(deadlock detected|could not serialize access|too many clients already|database is locked)|(?:relation|table) [\x22'`]?[\w.]+[\x22'`]? (does not exist)|(UndefinedTable)|FATAL: +(database|password|role)",
    ),
    // Networks and foreign systems.
    not_verifying(
        Category::ProviderAuth,
        "certificate",
        r"x509: certificate|SSLCertVerificationError|certificate verify failed|self[- ]signed certificate",
    ),
    not_verifying(
        Category::ProviderRateLimit,
        "http:429",
        r"toomanyrequests|pull rate limit|\b429 Too Many|HTTP(?:/\d\S*)? 429",
    ),
    not_verifying(
        Category::ProviderAuth,
        "http:401",
        r"(?i:\b401 unauthorized|authentication required|unauthorized: |token (?:provided )?is (?:invalid|expired)|password.*login failed|error\W.* username.*password)",
    ),
    not_verifying(
        Category::ProviderAuth,
        "http:403",
        r"(?i:\b403 forbidden|error.*is forbidden)|cannot patch .*Secret",
    ),
    not_verifying(
        Category::ProviderTransient,
        "network:name",
        r"(?i:temporary failure in name resolution|could not resolve host|no such host|name or service not known|getaddrinfo|server misbehaving|EAI_AGAIN)",
    ),
    not_verifying(
        Category::ProviderTransient,
        "network:refused",
        r"(?i:connection refused|ECONNREFUSED|no route to host|network is unreachable|AMQPConnectionError)",
    ),
    not_verifying(
        Category::ProviderTransient,
        "network:cut",
        r"(?i:connection reset|ECONNRESET|broken pipe|transfer closed with|IncompleteRead|unexpected eof|Transport indicated EOF|SSL_ERROR_SYSCALL|errno 104|: EOF$|get .*: EOF|stream (?:was )?(?:closed|cut|ended))",
    ),
    not_verifying(
        Category::ProviderTransient,
        "network:timeout",
        r"(?i:connection timed out|read (?:operation )?timed out|i/o timeout|TLS handshake timeout|Client\.Timeout exceeded|ETIMEDOUT|operation timed out|Max retries exceeded)",
    ),
    not_verifying(
        Category::ProviderTransient,
        "http:5xx",
        r"(?i:\b50[0234] (?:internal server error|bad gateway|service unavailable|gateway time-?out|server error)|\b5\d\d server error|internal server error|but got 503|HTTP status:? 50\d|invalid status code from registry)",
    ),
    not_verifying(
        Category::ProviderInvalid,
        "http:404",
        r"(?i:requested URL returned error: ?404|\b404 not found)|no such image|image not known|reading manifest .* unknown",
    ),
    not_verifying(
        Category::ProviderInvalid,
        "bad_answer",
        r"(?i:could not read json|not a valid json|JSONError|JSONDecodeError|failed to parse|parse error|validation failed|does not look like a tar archive)",
    ),
    // The sandbox, last: a program that explains itself says more.
    late(Category::SandboxDenied, "sandbox:read_only", r"Read-only file system|EROFS"),
    weak(
        Category::SandboxDenied,
        "sandbox:denied",
        r"Operation not permitted|Permission denied|EACCES|EPERM",
    ),
    late(
        Category::EnvMissing,
        "missing_file",
        r"FileNotFoundError|ENOENT|(?i:no such file or directory)",
    ),
    weak(Category::Unknown, "exception:$1", r"^(?:\w+\.)*(\w+(?:Error|Exception)): "),
];
