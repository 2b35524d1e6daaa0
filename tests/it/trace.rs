//! One execution is one trace, as a collector receives it from the whole program.

use std::collections::BTreeSet;
use std::time::Duration;

use journeyman_domain::step::Entry;
use journeyman_store::Store;
use journeyman_telemetry::names::{self, Kind};
use journeyman_testkit::otlp::{OtlpReceiver, ReceivedSpan, tree};
use serde_json::Value;

use crate::support::{Home, Ran, wait_until};

const LIMIT: Duration = Duration::from_secs(20);
const MANIFEST: &str =
    "[package]\nname = \"sums\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";
const LOCK: &str = "version = 4\n\n[[package]]\nname = \"sums\"\nversion = \"0.1.0\"\n";
const BROKEN: &str = "pub fn total(numbers: &[i64]) -> i64 {
    let sum = 0;
    for number in numbers {
        sum += number;
    }
    sum
}

#[test]
fn adds() {
    assert_eq!(total(&[1, 2, 3]), 6);
}
";

/// The program in this home, its telemetry sent to the receiver.
fn run(home: &Home, receiver: &OtlpReceiver, arguments: &[&str]) -> Ran {
    let mut command = home.command(arguments);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint());
    Ran::from(command.output().unwrap())
}

/// The spans of one execution, once its root has arrived, the root first.
fn trace(receiver: &OtlpReceiver, trace_id: &str) -> Vec<ReceivedSpan> {
    let is_root = |span: &ReceivedSpan| span.trace_id == trace_id && span.name == "execute_task";
    let spans = receiver.wait_for(LIMIT, |spans| spans.iter().any(is_root)).unwrap();
    spans.into_iter().filter(|span| span.trace_id == trace_id).collect()
}

/// The trace as a text, below what it leads back to.
fn shown(all: &[ReceivedSpan], trace: &[ReceivedSpan]) -> String {
    let linked = |span: &&ReceivedSpan| trace[0].links.iter().any(|(_, id)| *id == span.span_id);
    let spans: Vec<_> = all.iter().filter(linked).chain(trace).cloned().collect();
    tree(&spans)
}

fn trace_id(task: &Value) -> String {
    task["trace_id"].as_str().unwrap().to_owned()
}

/// Messages outside of the trace that lead back to it: what was told on the way.
fn told(all: &[ReceivedSpan], trace: &[ReceivedSpan]) -> BTreeSet<String> {
    let name_of = |id: &str| trace.iter().find(|span| span.span_id == id).map(|span| &span.name);
    let pairs = all.iter().flat_map(|span| span.links.iter().map(move |(_, to)| (span, to)));
    pairs.filter_map(|(span, to)| Some(format!("{} -> {}", span.name, name_of(to)?))).collect()
}

/// What the checks of a task's runs printed.
async fn check_outputs(store: &Store, task: &Value) -> Vec<String> {
    let id = task["id"].as_str().unwrap().parse().unwrap();
    let steps = store.journal().tail(id, None, 1000).await.unwrap();
    let entries = steps.into_iter().map(|step| serde_json::from_value(step.payload).unwrap());
    let mut printed = Vec::new();
    for entry in entries {
        if let Entry::BaseChecked { checks } | Entry::Verification { checks, .. } = entry {
            printed.extend(checks.into_iter().map(|check| check.head.trim().to_owned()));
        }
    }
    printed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_the_mechanic_is_one_trace() {
    let home = Home::new().await;
    let receiver = OtlpReceiver::start().unwrap();
    let files = [
        ("Cargo.toml", MANIFEST),
        ("Cargo.lock", LOCK),
        (".gitignore", "/target\n"),
        ("src/lib.rs", BROKEN),
    ];
    let repository = home.repository("sums", &files);
    let path = repository.to_str().unwrap();
    let ran = run(&home, &receiver, &["run", "--json", "--repo", path, "Make it build"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let task = ran.json();
    let spans = trace(&receiver, &trace_id(&task));
    insta::assert_snapshot!(shown(&receiver.spans(), &spans), @"
    POST /api/v1/tasks (server) http.request.method=POST http.response.status_code=200 http.route=/api/v1/tasks
    execute_task driver=mechanic execution.attempt=1 execution.id=[id] execution.outcome=completed queue.wait_ms=[n] run.id=[id] task.id=[id] verified=true -> POST /api/v1/tasks
      prepare_workspace
      invoke_agent General Assistant gen_ai.agent.id=[id] gen_ai.agent.name=General Assistant gen_ai.conversation.id=[id] gen_ai.operation.name=invoke_agent gen_ai.provider.name=mechanic
        execute_tool exec gen_ai.operation.name=execute_tool gen_ai.tool.call.id=[id] gen_ai.tool.name=exec gen_ai.tool.type=function process.exit.code=101 step.seq=2
        execute_tool read gen_ai.operation.name=execute_tool gen_ai.tool.call.id=[id] gen_ai.tool.name=read gen_ai.tool.type=function process.exit.code=0 step.seq=4
        execute_tool edit gen_ai.operation.name=execute_tool gen_ai.tool.call.id=[id] gen_ai.tool.name=edit gen_ai.tool.type=function process.exit.code=0 step.seq=6
        execute_tool exec gen_ai.operation.name=execute_tool gen_ai.tool.call.id=[id] gen_ai.tool.name=exec gen_ai.tool.type=function process.exit.code=0 step.seq=8
        execute_tool exec gen_ai.operation.name=execute_tool gen_ai.tool.call.id=[id] gen_ai.tool.name=exec gen_ai.tool.type=function process.exit.code=0 step.seq=10
        execute_tool exec gen_ai.operation.name=execute_tool gen_ai.tool.call.id=[id] gen_ai.tool.name=exec gen_ai.tool.type=function process.exit.code=0 step.seq=12
      verify verified=true
        run_check check.name=cargo check check.outcome=failed check.side=base
        run_check check.name=cargo test check.outcome=failed check.side=base
        run_check check.name=cargo check check.outcome=passed check.side=candidate
        run_check check.name=cargo test check.outcome=passed check.side=candidate
      deliver
    ");
    let told = told(&receiver.spans(), &spans);
    assert_eq!(told, BTreeSet::from(["learner Resolved -> verify".to_owned()]));
    let roots = spans.iter().filter(|span| span.parent.is_none()).count();
    assert_eq!(roots, 1);
    let metrics: Vec<_> = receiver.metrics().into_iter().collect();
    let expected = [
        "actor_handle_seconds",
        "actor_mailbox_depth",
        "actor_queue_seconds",
        "check_seconds",
        "execution_seconds",
        "queue_claim_seconds",
        "queue_wait_seconds",
        "supervision_records_total",
    ];
    assert_eq!(metrics, expected);
    let started = [("actor", "scheduler"), ("change", "started")];
    assert_eq!(receiver.count("supervision_records_total", &started), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_in_its_trace_and_the_next_attempt_leads_back_to_it() {
    let home = Home::new().await;
    let receiver = OtlpReceiver::start().unwrap();
    let repository = home.repository("notes", &[("note.txt", "one\n")]);
    let path = repository.to_str().unwrap();
    let (program, check) = ("sh -c 'echo $TRACEPARENT > note.txt'", "echo $TRACEPARENT; false");
    let endpoint = receiver.endpoint();
    let mut daemon = home.up_with(|command| {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    });
    let arguments =
        ["run", "--json", "--repo", path, "--command", program, "--check", check, "Write it"];
    let ran = home.run(&arguments);
    assert_eq!(ran.code, 1, "{ran:?}");
    let first = ran.json();
    let id = first["id"].as_str().unwrap();
    // What the first attempt's children were told, before the second one's are.
    let printed = check_outputs(home.store(), &first).await;
    home.run(&["task", "retry", id]).ok();
    wait_until("the second attempt failed", || {
        let task = home.task(id);
        (&task["status"], &task["attempts"]) == (&"failed".into(), &2.into())
    });
    let second = trace_id(&home.task(id));
    assert_ne!(second, trace_id(&first));
    assert_eq!(daemon.stop(), 0, "{}", home.daemon_log());

    let spans = trace(&receiver, &trace_id(&first));
    insta::assert_snapshot!(shown(&receiver.spans(), &spans), @"
    POST /api/v1/tasks (server) http.request.method=POST http.response.status_code=200 http.route=/api/v1/tasks
    execute_task driver=command execution.attempt=1 execution.id=[id] execution.outcome=failed queue.wait_ms=[n] run.id=[id] task.id=[id] verified=false -> POST /api/v1/tasks
      prepare_workspace
      invoke_agent General Assistant gen_ai.agent.id=[id] gen_ai.agent.name=General Assistant gen_ai.conversation.id=[id] gen_ai.operation.name=invoke_agent gen_ai.provider.name=command
        execute_tool exec gen_ai.operation.name=execute_tool gen_ai.tool.call.id=[id] gen_ai.tool.name=exec gen_ai.tool.type=function process.exit.code=0 step.seq=2
      verify error.type=unknown verified=false
        run_check check.name=echo $TRACEPARENT; false check.outcome=failed check.side=base
        run_check check.name=echo $TRACEPARENT; false check.outcome=failed check.side=candidate
        classifier Classify (consumer) actor=classifier actor.generation=1 actor.path=root/minds/classifier message.id=[id] message.kind=Classify message.queue_us=[n] task.id=[id]
      invoke_agent General Assistant gen_ai.agent.id=[id] gen_ai.agent.name=General Assistant gen_ai.conversation.id=[id] gen_ai.operation.name=invoke_agent gen_ai.provider.name=command
        execute_tool exec gen_ai.operation.name=execute_tool gen_ai.tool.call.id=[id] gen_ai.tool.name=exec gen_ai.tool.type=function process.exit.code=0 step.seq=8
      verify error.type=unknown verified=false
        run_check check.name=echo $TRACEPARENT; false check.outcome=failed check.side=candidate
        classifier Classify (consumer) actor=classifier actor.generation=1 actor.path=root/minds/classifier message.id=[id] message.kind=Classify message.queue_us=[n] task.id=[id]
    ");
    let checks: Vec<_> = spans.iter().filter(|span| span.name == "run_check").collect();
    let expected: Vec<_> =
        checks.iter().map(|span| format!("00-{}-{}-01", span.trace_id, span.span_id)).collect();
    assert_eq!(printed, expected);

    let (before, after) = (&spans[0], &trace(&receiver, &second)[0]);
    assert_eq!(after.links, [(before.trace_id.clone(), before.span_id.clone())]);
    let attempts = [before, after].map(|root| root.attributes["execution.attempt"].as_str());
    assert_eq!(attempts, ["1", "2"]);
    every_attribute_is_in_the_table(&receiver.spans());
}

/// The table has what is sent, and nothing else.
fn every_attribute_is_in_the_table(spans: &[ReceivedSpan]) {
    let sent: BTreeSet<_> =
        spans.iter().flat_map(|span| span.attributes.keys().map(String::as_str)).collect();
    let rows = names::TABLE.iter().filter(|row| row.kind == Kind::Attribute);
    let mut known: BTreeSet<_> = rows.map(|row| row.name).collect();
    // Of restarts, which `supervision` looks at.
    for name in [names::ATTR_CHILD_EXIT, names::ATTR_RESTART_CAUSE, names::ATTR_RESTART_DELAY_MS] {
        assert!(known.remove(name), "{name}");
    }
    // Of what is sent to foreign systems, which `outbox::trace` looks at.
    known.retain(|name| !name.starts_with("effect."));
    // Of model calls, which `native::trace` looks at.
    let of_models = [
        "gen_ai.request.",
        "gen_ai.response.",
        "gen_ai.usage.",
        "gen_ai.token.",
        "gen_ai.input.",
        "gen_ai.output.",
    ];
    known.retain(|name| !of_models.iter().any(|start| name.starts_with(start)));
    assert_eq!(sent, known);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_after_a_kill_leads_back_to_its_life_before() {
    let home = Home::new().await;
    let receiver = OtlpReceiver::start().unwrap();
    let repository = home.repository("notes", &[("note.txt", "one\n")]);
    let path = repository.to_str().unwrap();
    let endpoint = receiver.endpoint();
    // It waits for a file that only its second life finds.
    let program = "sh -c 'touch here; until test -e open; do sleep 0.05; done'";
    let mut daemon = home.up_with(|command| {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
    });
    let arguments =
        ["task", "add", "--json", "--repo", path, "--command", program, "--check", "true", "Wait"];
    let added = home.run(&arguments).ok().json();
    let id = added["tasks"][0]["id"].as_str().unwrap();
    let trees = || {
        let runs = std::fs::read_dir(home.data().join("runs")).into_iter().flatten();
        runs.map(|run| run.unwrap().path().join("tree"))
    };
    wait_until("the program is at work", || trees().any(|tree| tree.join("here").exists()));
    let before = trace_id(&home.task(id));
    daemon.kill();
    let mut daemon = home.up_with(|command| {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
    });
    wait_until("the task is completed", || {
        for tree in trees() {
            // The folder may be about to come or to go.
            let _ = std::fs::write(tree.join("open"), "");
        }
        home.task(id)["status"] == "completed"
    });
    let after = trace_id(&home.task(id));
    assert_eq!(daemon.stop(), 0, "{}", home.daemon_log());
    let root = &trace(&receiver, &after)[0];
    let linked: Vec<_> = root.links.iter().map(|(trace, _)| trace.as_str()).collect();
    assert_eq!(linked, [before.as_str()]);
    assert_ne!(after, before);
}
