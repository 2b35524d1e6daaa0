//! The one table of the names of spans, attributes and metrics.
//!
//! Owns: every name that leaves the process by OpenTelemetry; `docs/TRACES.md` shows this table.
//! Must never: hold a name that nobody sets. Names of generative AI follow the OpenTelemetry
//! semantic conventions v1.42.0, status development, and are therefore kept here as plain text.

use std::fmt::Write as _;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A span; `{…}` in its name is filled in.
    Span,
    /// An attribute of spans or metrics.
    Attribute,
    /// A metric that only grows.
    Counter,
    /// A metric of the present state.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// The name as it is sent.
    pub name: &'static str,
    /// What it stands for.
    pub kind: Kind,
    /// A metric's unit (UCUM); a span's kind; an attribute's type.
    pub unit: &'static str,
    /// One sentence.
    pub meaning: &'static str,
}

macro_rules! names {
    ($($constant:ident = $name:literal, $kind:ident, $unit:literal, $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $constant: &str = $name;)*

        /// Every name, in the order of the documentation.
        pub const TABLE: &[Name] = &[
            $(Name { name: $name, kind: Kind::$kind, unit: $unit, meaning: $meaning },)*
        ];
    };
}

names! {
    SPAN_EXECUTE_TASK = "execute_task", Span, "internal", "One execution of a task, from its claim to its outcome: the root of its trace, linked to the execution before.";
    SPAN_PREPARE_WORKSPACE = "prepare_workspace", Span, "internal", "The clone of the codebase is made or restored.";
    SPAN_INVOKE_AGENT = "invoke_agent {gen_ai.agent.name}", Span, "internal", "One turn of an agent in its run: what its driver does until it says that it is done.";
    SPAN_EXECUTE_TOOL = "execute_tool {gen_ai.tool.name}", Span, "internal", "One tool call or command of a run, from its intent to its result.";
    SPAN_CHAT = "chat {gen_ai.request.model}", Span, "client", "One try of a model call, from the request to the end of its stream.";
    SPAN_VERIFY = "verify", Span, "internal", "The runtime checks base and candidate in clean checkouts.";
    SPAN_RUN_CHECK = "run_check", Span, "internal", "One check on one checkout.";
    SPAN_DELIVER = "deliver", Span, "internal", "The verified change is committed and handed over.";
    SPAN_SEND = "send {effect.kind}", Span, "client", "One attempt at an effect on a foreign system, from its claim to its record: the root of its trace, linked to what decided it.";
    SPAN_ACTOR_MESSAGE = "{actor} {message}", Span, "consumer", "One message handled by an actor: a child of an ask, linked to whatever told it otherwise.";
    SPAN_RESTART = "restart {actor}", Span, "internal", "From a supervisor's decision to start a child again to its next instance, to the failure of its start, or to a stop: linked to the message whose handling failed, to the exit, or to the restart before.";
    SPAN_LIFE = "{change} {actor}", Span, "internal", "A moment in the life of a supervised child that belongs to no message and no restart: a first start, or its failure without a panic, an exit without one, missed health probes, a give-up without a known cause, a stop.";
    SPAN_REQUEST = "{http.request.method} {http.route}", Span, "server", "One request to the API; what it adds is linked to it.";

    ATTR_ACTOR = "actor", Attribute, "string", "An actor's name in the table of actors, without an instance.";
    ATTR_ACTOR_PATH = "actor.path", Attribute, "string", "An actor's place in the supervision tree.";
    ATTR_ACTOR_GENERATION = "actor.generation", Attribute, "int", "Which instance it is: 1 for the first, one more after each restart.";
    ATTR_MESSAGE_KIND = "message.kind", Attribute, "string", "The variant of the message.";
    ATTR_MESSAGE_ID = "message.id", Attribute, "string", "The message's UUIDv7.";
    ATTR_MESSAGE_QUEUE_US = "message.queue_us", Attribute, "int", "Time from sending to handling in microseconds.";
    ATTR_HTTP_METHOD = "http.request.method", Attribute, "string", "The method of a request.";
    ATTR_HTTP_ROUTE = "http.route", Attribute, "string", "Its route, without ids.";
    ATTR_HTTP_STATUS = "http.response.status_code", Attribute, "int", "The status of the answer.";
    ATTR_TASK_ID = "task.id", Attribute, "string", "The task.";
    ATTR_EXECUTION_ID = "execution.id", Attribute, "string", "The execution of the task.";
    ATTR_EXECUTION_ATTEMPT = "execution.attempt", Attribute, "int", "Its number among the task's executions, from 1.";
    ATTR_EXECUTION_OUTCOME = "execution.outcome", Attribute, "string", "The state that it ended in.";
    ATTR_QUEUE_WAIT_MS = "queue.wait_ms", Attribute, "int", "Milliseconds from when the task could be claimed to its first claim of this execution.";
    ATTR_RUN_ID = "run.id", Attribute, "string", "The agent's run.";
    ATTR_STEP_SEQ = "step.seq", Attribute, "int", "The step of the run's journal that holds the intent.";
    ATTR_DRIVER = "driver", Attribute, "string", "How the agent acts: mechanic, command, native, acp or codegen.";
    ATTR_VERIFIED = "verified", Attribute, "bool", "Whether the runtime itself saw the change pass; never the agent's word.";
    ATTR_CHECK_NAME = "check.name", Attribute, "string", "The check, such as cargo test.";
    ATTR_CHECK_SIDE = "check.side", Attribute, "string", "base or candidate.";
    ATTR_CHECK_OUTCOME = "check.outcome", Attribute, "string", "passed, failed, timeout or broken.";
    ATTR_EFFECT_KIND = "effect.kind", Attribute, "string", "push or pull_request.";
    ATTR_EFFECT_ATTEMPT = "effect.attempt", Attribute, "int", "Its number among the attempts at the effect, from 1.";
    ATTR_EFFECT_OUTCOME = "effect.outcome", Attribute, "string", "done, failed, retry (another attempt follows), released (the sender was stopped), fenced (its lease is lost), unrecorded (the database did not take the end) or panicked.";
    ATTR_CHILD_EXIT = "exit", Attribute, "string", "Why a supervised child ended: normal, shutdown, drained, killed, cancelled or failed.";
    ATTR_RESTART_CAUSE = "restart.cause", Attribute, "string", "The path of the child whose failure asked for the restart: itself, or one of its group.";
    ATTR_RESTART_DELAY_MS = "restart.delay_ms", Attribute, "int", "The wait before the start.";
    ATTR_CHANGE = "change", Attribute, "string", "What happened to a supervised child: started, start_failed, unhealthy, exited, restarting, gave_up or stopped.";
    ATTR_PROCESS_EXIT_CODE = "process.exit.code", Attribute, "int", "Exit status of a child process.";
    ATTR_ERROR_TYPE = "error.type", Attribute, "string", "The category that the classifier gave to a failure.";
    ATTR_OPERATION = "gen_ai.operation.name", Attribute, "string", "invoke_agent, chat or execute_tool.";
    ATTR_PROVIDER = "gen_ai.provider.name", Attribute, "string", "Who serves the model; the driver's name where there is no model.";
    ATTR_AGENT_ID = "gen_ai.agent.id", Attribute, "string", "The agent's id.";
    ATTR_AGENT_NAME = "gen_ai.agent.name", Attribute, "string", "The agent's name.";
    ATTR_CONVERSATION = "gen_ai.conversation.id", Attribute, "string", "The run again, where viewers of agents look for it.";
    ATTR_REQUEST_MODEL = "gen_ai.request.model", Attribute, "string", "The model that was asked.";
    ATTR_MAX_TOKENS = "gen_ai.request.max_tokens", Attribute, "int", "Tokens that the answer could have.";
    ATTR_RESPONSE_MODEL = "gen_ai.response.model", Attribute, "string", "The model that answered, by its own word.";
    ATTR_RESPONSE_ID = "gen_ai.response.id", Attribute, "string", "The provider's id of the answer.";
    ATTR_FINISH_REASONS = "gen_ai.response.finish_reasons", Attribute, "string", "Why the model stopped: end, tool_calls, length, refusal, context_window or paused.";
    ATTR_INPUT_TOKENS = "gen_ai.usage.input_tokens", Attribute, "int", "Tokens of the request, caches included.";
    ATTR_OUTPUT_TOKENS = "gen_ai.usage.output_tokens", Attribute, "int", "Tokens of the answer, reasoning included.";
    ATTR_CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens", Attribute, "int", "Of the request's tokens, those from a cache.";
    ATTR_CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens", Attribute, "int", "Of the request's tokens, those put into a cache.";
    ATTR_REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens", Attribute, "int", "Of the answer's tokens, those of reasoning.";
    ATTR_INPUT_MESSAGES = "gen_ai.input.messages", Attribute, "string", "The request's conversation as JSON; only where OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is true.";
    ATTR_OUTPUT_MESSAGES = "gen_ai.output.messages", Attribute, "string", "The answer's words and calls as JSON; only where OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is true.";
    ATTR_TOKEN_TYPE = "gen_ai.token.type", Attribute, "string", "input or output.";
    ATTR_TOOL_NAME = "gen_ai.tool.name", Attribute, "string", "The tool.";
    ATTR_TOOL_CALL = "gen_ai.tool.call.id", Attribute, "string", "The call's id in the journal.";
    ATTR_TOOL_TYPE = "gen_ai.tool.type", Attribute, "string", "function, extension or datastore.";

    METRIC_MAILBOX_DEPTH = "actor_mailbox_depth", Gauge, "{message}", "Messages that wait for an actor; by actor.";
    METRIC_ACTOR_QUEUE = "actor_queue_seconds", Histogram, "s", "From sending a message to handling it; by actor.";
    METRIC_ACTOR_HANDLE = "actor_handle_seconds", Histogram, "s", "Handling one message; by actor and message.kind.";
    METRIC_ACTOR_RESTARTS = "actor_restarts_total", Counter, "{restart}", "Restarts by a supervisor; by actor and exit.";
    METRIC_SUPERVISED = "supervision_records_total", Counter, "{record}", "Changes in the lives of supervised children; by actor and change.";
    METRIC_QUEUE_WAIT = "queue_wait_seconds", Histogram, "s", "From the time a task could run to its claim.";
    METRIC_QUEUE_CLAIM = "queue_claim_seconds", Histogram, "s", "One claim on the database.";
    METRIC_EXECUTION = "execution_seconds", Histogram, "s", "From the claim of an execution to its outcome; by driver and execution.outcome.";
    METRIC_TOKENS = "gen_ai.client.token.usage", Histogram, "{token}", "Tokens of a model call; by gen_ai.provider.name, gen_ai.request.model and gen_ai.token.type.";
    METRIC_MODEL_CALL = "gen_ai.client.operation.duration", Histogram, "s", "One try of a model call; by gen_ai.provider.name, gen_ai.request.model and error.type.";
    METRIC_FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk", Histogram, "s", "From the request to the first piece of the answer; by gen_ai.provider.name and gen_ai.request.model.";
    METRIC_EFFECT = "effect_seconds", Histogram, "s", "One attempt at an effect on a foreign system; by effect.kind and effect.outcome.";
    METRIC_CHECK = "check_seconds", Histogram, "s", "One check on one checkout; by check.side and check.outcome.";
}

/// Attributes that hold what was said: sent only where the user asked for it.
pub const CONTENT: [&str; 2] = [ATTR_INPUT_MESSAGES, ATTR_OUTPUT_MESSAGES];

/// The table as the Markdown of `docs/TRACES.md`.
pub fn markdown() -> String {
    let metrics = |kind| !matches!(kind, Kind::Span | Kind::Attribute);
    let mut text = String::new();
    section(&mut text, "Spans", "Kind", |row| (row.kind == Kind::Span).then(|| row.unit.into()));
    section(&mut text, "Attributes", "Type", |row| {
        (row.kind == Kind::Attribute).then(|| row.unit.into())
    });
    section(&mut text, "Metrics", "Instrument, unit", |row| {
        let kind = format!("{:?}", row.kind).to_lowercase();
        metrics(row.kind).then(|| format!("{kind}, {}", row.unit))
    });
    text
}

fn section(text: &mut String, title: &str, unit: &str, select: impl Fn(&Name) -> Option<String>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n### {title}\n\n| Name | {unit} | Meaning |\n|---|---|---|");
    for row in TABLE {
        if let Some(unit) = select(row) {
            let _ = writeln!(text, "| `{}` | {unit} | {} |", row.name, row.meaning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_shows_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/TRACES.md");
        let document = std::fs::read_to_string(path).unwrap();
        let (_, rest) = document.split_once("<!-- names: begin -->\n").unwrap();
        let (shown, _) = rest.split_once("\n<!-- names: end -->").unwrap();
        let expected = markdown();
        assert_eq!(shown, expected, "docs/TRACES.md must hold:\n{expected}");
    }

    #[test]
    fn no_name_stands_for_two_things_and_none_would_be_masked() {
        let mut names: Vec<_> = TABLE.iter().map(|row| row.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        let is_masked = |name: &&str| crate::redact::is_private(name);
        let masked: Vec<_> = names.iter().copied().filter(is_masked).collect();
        assert_eq!(masked, CONTENT, "what was said, and nothing else");
    }
}
