//! Failures: what kinds there are, how bad they are, and what follows.
//!
//! Whether to try again is a property of the category and of what the attempt could have touched,
//! never of a counter in somebody's memory.

mod call;
mod history;
mod policy;

use serde::{Deserialize, Serialize};

pub use self::call::call_evidence;
pub use self::history::{Reported, in_a_row};
pub use self::policy::{Attempt, backoff_ms, delay_ms, policy};
use crate::model::FailureKind;
use crate::status::{Priority, vocabulary};

vocabulary! {
    /// The closed list of categories; the part before the dot is the family.
    Category, "category" {
        /// 5xx, reset, cut stream.
        ProviderTransient = "provider.transient",
        /// 429, overloaded.
        ProviderRateLimit = "provider.rate_limit",
        /// 401, 403.
        ProviderAuth = "provider.auth",
        /// 400, unknown model, content filter.
        ProviderInvalid = "provider.invalid",
        /// Tokens, money or quota used up.
        Budget = "budget",
        /// The context does not fit.
        ContextOverflow = "context_overflow",
        /// No diff, bad JSON, refusal, empty answer.
        ModelOutput = "model.output",
        /// Bad arguments, missing file, edit that did not match.
        ToolMisuse = "tool.misuse",
        /// The sandbox said no.
        SandboxDenied = "sandbox.denied",
        /// A command, module, header or variable is missing.
        EnvMissing = "env.missing",
        /// Versions cannot be resolved, or a package cannot be fetched.
        DependencyResolution = "dependency.resolution",
        /// It does not compile: names, syntax.
        BuildCompile = "build.compile",
        /// It does not compile: types, borrows.
        BuildType = "build.type",
        /// A linter or formatter is not content.
        Lint = "lint",
        /// A test's expectation does not hold.
        TestAssertion = "test.assertion",
        /// The same tree gave both outcomes.
        TestFlaky = "test.flaky",
        /// Merge conflict.
        MergeConflict = "merge.conflict",
        /// A lock or the network of a version-control command.
        VcsTransient = "vcs.transient",
        /// No output for too long.
        TimeoutIdle = "timeout.idle",
        /// The time limit.
        TimeoutHard = "timeout.hard",
        /// Out of memory.
        ResourceMemory = "resource.memory",
        /// Disk full, or no file handles left.
        ResourceDisk = "resource.disk",
        /// The database: serialisation, deadlock, connection, full.
        InfraDatabase = "infra.database",
        /// A panic or a broken invariant of ours.
        RuntimeBug = "runtime.bug",
        /// A crash of the program under work: signal, sanitizer, panic.
        ProgramCrash = "program.crash",
        /// The agent repeats itself.
        AgentLoop = "agent.loop",
        /// The agent says done, the checks say no.
        AgentFalseSuccess = "agent.false_success",
        /// The agent said that it can do no more.
        AgentStuck = "agent.stuck",
        /// The checks cannot judge it, or the result is wrong by a reviewer's word.
        LogicWrong = "logic.wrong",
        /// None of these.
        Unknown = "unknown",
    }
}

vocabulary! {
    /// The mission's eleven classes, `error_classification` of the schema.
    ErrorClass, "error class" {
        /// Does not parse or compile.
        SyntaxError = "syntax_error",
        /// Wrong result.
        LogicError = "logic_error",
        /// Fails while running.
        RuntimeError = "runtime_error",
        /// Too slow.
        PerformanceIssue = "performance_issue",
        /// Unsafe.
        SecurityVulnerability = "security_vulnerability",
        /// Packages and versions.
        DependencyIssue = "dependency_issue",
        /// Settings and environment.
        ConfigurationError = "configuration_error",
        /// A foreign system.
        IntegrationFailure = "integration_failure",
        /// Data that contradicts itself.
        DataInconsistency = "data_inconsistency",
        /// Memory, disk, handles, budget, time.
        ResourceExhaustion = "resource_exhaustion",
        /// None of these.
        Unknown = "unknown",
    }
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum Policy {
    /// Another round of the same run with the evidence.
    RetryWithEvidence,
    /// Another attempt after this time; not the agent's fault.
    Wait {
        /// Milliseconds, before jitter.
        delay_ms: u64,
    },
    /// Another attempt by another agent.
    OtherAgent,
    /// No further attempt.
    Stop,
    /// The user must say.
    Ask,
    /// Another attempt soon: the work was cut off, which is no fault of it. Without one left, the task is parked.
    CutOff,
}

/// Where in a run something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Making the workspace.
    Prepare,
    /// The driver acts.
    Act,
    /// The checks run.
    Verify,
    /// The branch or patch is written.
    Deliver,
}

/// An error and its causes as one sentence, joined by colons; a cause that is quoted already is left
/// out.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What is known of a failure, before anybody has judged it. Structured evidence first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Where.
    pub phase: Phase,
    /// The check or tool that failed ("cargo test"), where one did.
    pub source: Option<String>,
    /// Exit code, where a program ended.
    pub exit_code: Option<i32>,
    /// Signal, where one ended it.
    pub signal: Option<i32>,
    /// Whether the runtime's own time limit ended it.
    pub timed_out: bool,
    /// HTTP status, where a provider answered.
    pub http_status: Option<u16>,
    /// SQLSTATE, where the database failed.
    pub sqlstate: Option<String>,
    /// The kind, where a call of a model failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_failure: Option<FailureKind>,
    /// The output or message: untrusted text.
    pub text: String,
}

/// The source of what the runtime's own judgement finds, though no program failed, in work that the
/// agent called done.
pub const CLAIM: &str = "claim";
/// The same in work that the agent did not call done.
pub const VERDICT: &str = "verdict";

impl Evidence {
    /// Evidence that is a text alone.
    pub const fn of(phase: Phase, text: String) -> Self {
        Self {
            phase,
            source: None,
            exit_code: None,
            signal: None,
            timed_out: false,
            http_status: None,
            sqlstate: None,
            model_failure: None,
            text,
        }
    }
}

/// What the classifier made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// Its category.
    pub category: Category,
    /// The mission's class of it.
    pub class: ErrorClass,
    /// The typed problem: "rustc:E0308", "missing_command:npm"; empty where none was told.
    pub kind: String,
    /// How bad.
    pub severity: Priority,
    /// One line for a person, without secrets.
    pub headline: String,
    /// Hexadecimal; equal for equal failures, names and numbers included.
    pub fingerprint: String,
    /// Hexadecimal; equal for failures of one kind.
    pub group: String,
    /// 0 to 1.
    pub confidence: f64,
    /// Which matcher said so.
    pub classified_by: String,
}
