//! The plays. Together they reach every failpoint; a test says so.

use std::time::Duration;

use journeyman_testkit::forge::Fault;
use journeyman_testkit::model::{Misbehaviour, Reply, Script};
use serde_json::{Value, json};

use super::{Act, Play};

/// All of them.
pub const PLAYS: &[Play] = &[
    Play { name: "graph", files: NOTE, script: None, forge: false, acts: graph, weight: 80 },
    Play {
        name: "command",
        files: PREPARED,
        script: None,
        forge: false,
        acts: command,
        weight: 40,
    },
    Play {
        name: "model",
        files: NOTE,
        script: Some(model_script),
        forge: false,
        acts: model,
        weight: 40,
    },
    Play { name: "wishes", files: UNCHECKED, script: None, forge: false, acts: wishes, weight: 30 },
    Play { name: "failures", files: NOTE, script: None, forge: false, acts: failures, weight: 30 },
    Play {
        name: "schedules",
        files: NOTE,
        script: None,
        forge: false,
        acts: schedules,
        weight: 20,
    },
    Play { name: "forge", files: NOTE, script: None, forge: true, acts: forge, weight: 30 },
    Play { name: "damaged", files: NOTE, script: None, forge: false, acts: damaged, weight: 6 },
    Play { name: "upkeep", files: NOTE, script: None, forge: false, acts: upkeep, weight: 2 },
    Play { name: "steady", files: NOTE, script: None, forge: false, acts: steady, weight: 0 },
    Play { name: "detached", files: NOTE, script: None, forge: false, acts: detached, weight: 0 },
];

const NOTE: &[(&str, &str)] =
    &[("note.txt", "one\n"), (".journeyman.toml", "checks = [\"grep -q two note.txt\"]\n")];

/// The same, and dependencies that are fetched first.
const PREPARED: &[(&str, &str)] = &[
    ("note.txt", "one\n"),
    (".journeyman.toml", "checks = [\"grep -q two note.txt\"]\nprepare = [\"echo fetched\"]\n"),
];

fn task(name: &str, more: Value) -> Value {
    let mut task = json!({ "repo": "{repo}", "key": name, "prompt": format!("{{prefix}}{name}") });
    if let (Value::Object(task), Value::Object(more)) = (&mut task, more) {
        task.extend(more);
    }
    task
}

/// A task whose program writes the line that the check wants.
fn writes(name: &str, more: Value) -> Value {
    let mut task = task(name, more);
    task["command"] = json!(["sh", "-c", "echo two >> note.txt"]);
    task["driver"] = json!("command");
    task
}

/// A task that nobody works on.
fn stands(name: &str, more: Value) -> Value {
    let mut task = task(name, more);
    task["driver"] = json!("none");
    task
}

/// The scheduler alone: tasks without a run, in a graph.
fn graph() -> Vec<Act> {
    vec![
        Act::Add(vec![stands("lone", json!({ "unique": "{prefix}key" }))]),
        Act::Add(vec![
            stands("root", json!({ "priority": "high" })),
            stands("left", json!({ "after": ["root"] })),
            stands("right", json!({ "after": ["root"], "on_failure": "run" })),
            stands("join", json!({ "after": ["left", "right"] })),
            stands("part", json!({ "parent": "whole" })),
            stands("whole", json!({})),
            stands("end", json!({ "after": ["join", "whole"], "on_failure": "fail" })),
        ]),
        Act::Add((0..40).map(|n| stands(&format!("many{n}"), json!({}))).collect()),
        Act::Add((0..70).map(|n| stands(&format!("more{n}"), json!({ "after": [] }))).collect()),
    ]
}

/// What a program leaves behind: a process in a session of its own, and one that has nothing of its environment either.
/// Both say whose they are in their arguments.
const LEAVES: &str = "setsid sh -c 'sleep 600; :' {left} >/dev/null 2>&1 & \
     env -i setsid sh -c 'sleep 600; :' {left} >/dev/null 2>&1 & ";

/// Programs, a milestone, and the ways of delivery.
fn command() -> Vec<Act> {
    let slow = json!(["sh", "-c", format!("{LEAVES} sleep 0.5; echo two >> note.txt")]);
    vec![
        Act::Add(vec![task("slow", json!({ "driver": "command", "command": slow }))]),
        Act::Until(
            "SELECT EXISTS (SELECT FROM run_steps s JOIN agent_tasks r ON r.id = s.run_id JOIN tasks t ON t.id = r.task_id \
             WHERE t.title = '{prefix}slow' AND s.kind = 'tool_intent')",
        ),
        Act::Restart,
        Act::Add(vec![
            writes("branch", json!({})),
            stands("milestone", json!({ "after": ["branch"] })),
            writes("patch", json!({ "after": ["milestone"], "deliver": "patch" })),
            writes("none", json!({ "deliver": "none" })),
        ]),
    ]
}

fn model() -> Vec<Act> {
    let native = json!({ "driver": "native", "model": "scripted/small-1" });
    vec![
        Act::Add(vec![task("model", native.clone())]),
        Act::Until("SELECT status = 'completed' FROM tasks WHERE title = '{prefix}model'"),
        // Its answer never comes to an end.
        Act::Add(vec![task("hangs", native)]),
        Act::Until(
            "SELECT EXISTS (SELECT FROM run_steps s JOIN agent_tasks r ON r.id = s.run_id JOIN tasks t ON t.id = r.task_id \
             WHERE t.title = '{prefix}hangs' AND s.kind = 'model_request')",
        ),
        Act::Post {
            path: "/tasks/{hangs}/cancel",
            body: json!({}),
            done: "SELECT cancel_requested_at IS NOT NULL OR status = 'cancelled' FROM tasks WHERE title = '{prefix}hangs'",
        },
    ]
}

/// Looks, edits wrongly, is told so, edits rightly; the provider fails once on the way.
fn model_script() -> Script {
    let edit = |old: &str, new: &str| {
        Reply::call("edit", &json!({ "path": "note.txt", "old": old, "new": new }))
    };
    Script::turns([
        Reply::call("read", &json!({ "path": "note.txt" })),
        edit("one", "three"),
        Reply::call("bash", &json!({ "command": "cat note.txt" })),
        Reply::text("Done."),
        edit("three", "two"),
        Reply::text("Done now."),
    ])
    .misbehave_when(1, Misbehaviour::overloaded(), |seen| seen.turn == 1 && !seen.says("hangs"))
    .misbehave_when(1_000, Misbehaviour::HangStream { after_events: 1 }, |seen| seen.says("hangs"))
    .key(crate::world::KEY)
}

/// A repository without checks: what is changed there waits for its user.
const UNCHECKED: &[(&str, &str)] = &[("note.txt", "one\n")];

/// Everything that a user may wish of tasks, agents, codebases and the daemon.
fn wishes() -> Vec<Act> {
    let post = |path, body, done| Act::Post { path, body, done };
    let wish = |path, done| Act::Post { path, body: json!({}), done };
    vec![
        Act::Add(vec![
            writes("gate", json!({})),
            stands("held", json!({ "after": ["gate"] })),
            stands("gone", json!({ "after": ["gate"] })),
            writes("later", json!({ "after": ["held"], "check": ["grep -q two note.txt"] })),
        ]),
        Act::Until(
            "SELECT status = 'waiting' AND waiting_for = 'approval' FROM tasks WHERE title = '{prefix}gate'",
        ),
        wish(
            "/tasks/{held}/pause",
            "SELECT status = 'paused' FROM tasks WHERE title = '{prefix}held'",
        ),
        wish(
            "/tasks/{gone}/cancel",
            "SELECT status = 'cancelled' FROM tasks WHERE title = '{prefix}gone'",
        ),
        post(
            "/codebases/{repo}",
            json!({ "max_concurrent": 3 }),
            "SELECT settings ->> 'max_concurrent' = '3' FROM codebases WHERE local_path = '{repo}'",
        ),
        post(
            "/agents/General%20Assistant",
            json!({ "max_concurrent": 5 }),
            "SELECT configuration ->> 'max_concurrent' = '5' FROM codegen_agents WHERE name = 'General Assistant'",
        ),
        post(
            "/settings/system.max_concurrent_tasks",
            json!({ "value": 9 }),
            "SELECT config_value::text = '9' FROM system_configuration WHERE config_key = 'system.max_concurrent_tasks'",
        ),
        post("/drain", json!({ "on": true }), "SELECT false"),
        post("/drain", json!({ "on": false }), "SELECT false"),
        wish(
            "/tasks/{held}/resume",
            "SELECT status <> 'paused' FROM tasks WHERE title = '{prefix}held'",
        ),
        wish(
            "/tasks/{gate}/approve",
            "SELECT approved_at IS NOT NULL FROM tasks WHERE title = '{prefix}gate'",
        ),
    ]
}

/// What goes wrong, and what is mended.
fn failures() -> Vec<Act> {
    vec![
        Act::Add(vec![
            json!({ "repo": "{repo}", "key": "fails", "prompt": "{prefix}fails", "driver": "command",
                    "command": ["sh", "-c", "echo three >> note.txt"], "files": ["note.txt"] }),
            writes("waits", json!({ "files": ["*.txt"], "priority": "low" })),
            stands("lost", json!({ "after": ["fails"], "on_failure": "wait" })),
        ]),
        Act::Until(
            "SELECT bool_and(status IN ('failed', 'completed')) FROM tasks \
             WHERE title IN ('{prefix}fails', '{prefix}waits')",
        ),
        Act::Post {
            path: "/tasks/{fails}/retry",
            body: json!({}),
            done: "SELECT attempts > 1 OR status <> 'failed' FROM tasks WHERE title = '{prefix}fails'",
        },
        Act::Until(
            "SELECT status = 'failed' AND attempts > 1 FROM tasks WHERE title = '{prefix}fails'",
        ),
        Act::Post {
            path: "/errors/{error:fails}/resolve",
            body: json!({ "note": "as it should" }),
            done: "SELECT bool_or(e.resolution_status = 'resolved') FROM error_reports e JOIN tasks t ON t.id = e.task_id \
                   WHERE t.title = '{prefix}fails'",
        },
        Act::Hand {
            sql: "UPDATE tasks SET status = 'pending', waiting_for = NULL WHERE title = '{prefix}lost'; \
                  DELETE FROM task_dependencies WHERE task_id = (SELECT id FROM tasks WHERE title = '{prefix}lost')",
            done: "SELECT NOT EXISTS (SELECT FROM task_dependencies d JOIN tasks t ON t.id = d.task_id \
                   WHERE t.title = '{prefix}lost')",
        },
        Act::Restart,
        Act::Until("SELECT status = 'completed' FROM tasks WHERE title = '{prefix}lost'"),
    ]
}

/// Tasks that the clock adds.
fn schedules() -> Vec<Act> {
    let schedule = |name: &str| {
        json!({ "name": format!("{{prefix}}{name}"), "cron": "0 0 1 1 *",
                "task": { "repo": "{repo}", "prompt": format!("{{prefix}}{name}"), "driver": "none" } })
    };
    vec![
        Act::Post {
            path: "/schedules",
            body: schedule("yearly"),
            done: "SELECT EXISTS (SELECT FROM task_schedules WHERE name = '{prefix}yearly')",
        },
        Act::Post {
            path: "/schedules/{prefix}yearly/pause",
            body: json!({}),
            done: "SELECT status = 'paused' FROM task_schedules WHERE name = '{prefix}yearly'",
        },
        Act::Post {
            path: "/schedules/{prefix}yearly/resume",
            body: json!({}),
            done: "SELECT status = 'active' FROM task_schedules WHERE name = '{prefix}yearly'",
        },
        Act::Hand {
            sql: "UPDATE task_schedules SET next_at = now() - interval '1 second' WHERE name = '{prefix}yearly'",
            done: "SELECT next_at < now() OR last_at IS NOT NULL FROM task_schedules WHERE name = '{prefix}yearly'",
        },
        Act::Until("SELECT last_at IS NOT NULL FROM task_schedules WHERE name = '{prefix}yearly'"),
        Act::Hand {
            sql: "UPDATE task_schedules SET next_at = now() - interval '1 second', task = '\"damaged\"' \
                  WHERE name = '{prefix}yearly'",
            done: "SELECT task ? 'damaged' FROM task_schedules WHERE name = '{prefix}yearly'",
        },
        Act::Until("SELECT status = 'paused' FROM task_schedules WHERE name = '{prefix}yearly'"),
        Act::Post {
            path: "/schedules/{prefix}yearly/remove",
            body: json!({}),
            done: "SELECT NOT EXISTS (SELECT FROM task_schedules WHERE name = '{prefix}yearly')",
        },
    ]
}

/// A journal that somebody changes by hand while its run is under way: what goes on with it cannot trust it.
fn damaged() -> Vec<Act> {
    let slow = json!(["sh", "-c", "sleep 2; echo two >> note.txt"]);
    vec![
        Act::Add(vec![
            task("damaged", json!({ "driver": "command", "command": slow })),
            writes("sound", json!({})),
        ]),
        Act::Until(
            "SELECT EXISTS (SELECT FROM run_steps s JOIN agent_tasks r ON r.id = s.run_id JOIN tasks t ON t.id = r.task_id \
             WHERE t.title = '{prefix}damaged' AND s.kind = 'tool_intent')",
        ),
        Act::Hand {
            sql: "SET LOCAL session_replication_role = 'replica'; UPDATE run_steps SET payload = '{\"kind\": \"started\"}' \
                  WHERE seq = 1 AND run_id IN (SELECT r.id FROM agent_tasks r JOIN tasks t ON t.id = r.task_id \
                  WHERE t.title = '{prefix}damaged')",
            done: "SELECT EXISTS (SELECT FROM run_steps s JOIN agent_tasks r ON r.id = s.run_id \
                   JOIN tasks t ON t.id = r.task_id WHERE t.title = '{prefix}damaged' AND s.seq = 1 \
                   AND s.payload = '{\"kind\": \"started\"}')",
        },
        Act::Restart,
    ]
}

/// Long enough that the auditor seals and looks after the partitions.
fn upkeep() -> Vec<Act> {
    vec![
        Act::Add(vec![stands("lone", json!({}))]),
        Act::Until(
            "SELECT clock_timestamp() > max(started_at) + interval '6 seconds' FROM runtime_nodes",
        ),
    ]
}

/// A program that leaves another one behind, in a session of its own. Where children have no namespaces, it survives
/// its launcher.
fn detached() -> Vec<Act> {
    let leaves = "setsid sleep 120 >/dev/null 2>&1 & echo two >> note.txt; sleep 8";
    vec![Act::Add(vec![task(
        "detached",
        json!({ "driver": "command", "command": ["sh", "-c", leaves] }),
    )])]
}

/// Several tasks whose programs take their time: something is under way at any moment.
fn steady() -> Vec<Act> {
    let slow = json!(["sh", "-c", format!("{LEAVES} sleep 1; echo two >> note.txt")]);
    let task = |n: usize| {
        task(&format!("steady{n}"), json!({ "driver": "command", "command": slow.clone() }))
    };
    vec![Act::Add((0..5).map(task).collect())]
}

/// Pull requests. The forge's faults are in [`FAULTS`], and the answer to the second push is lost.
fn forge() -> Vec<Act> {
    let sent = "SELECT coalesce(bool_and(o.state IN ('done', 'failed')) AND count(*) = 2, false) FROM outbox o \
         JOIN tasks t ON t.id = o.task_id WHERE t.title = '{prefix}second'";
    // Each fault is meant for one of the two.
    let first = "SELECT coalesce(bool_and(o.state = 'done') AND count(*) = 2, false) FROM outbox o \
         JOIN tasks t ON t.id = o.task_id WHERE t.title = '{prefix}first'";
    vec![
        Act::Add(vec![writes("first", json!({ "deliver": "pr" }))]),
        Act::Until(first),
        Act::Add(vec![writes("second", json!({ "deliver": "pr" }))]),
        Act::Until(sent),
        Act::Post {
            path: "/tasks/{second}/resend",
            body: json!({}),
            done: "SELECT coalesce(bool_and(o.state <> 'failed'), false) FROM outbox o \
                   JOIN tasks t ON t.id = o.task_id WHERE t.title = '{prefix}second'",
        },
    ]
}

/// What the forge does to those who open pull requests: it does the work and answers that it failed, lets nobody in, and
/// is slow.
pub const FAULTS: [Fault; 3] = [
    Fault::StatusAfterWork(500),
    Fault::Status(401),
    Fault::SlowAfterWork(Duration::from_millis(1_500)),
];
