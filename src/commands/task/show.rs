//! A task for a person's eye.

use std::fmt::Write as _;

use journeyman_web::types::{Delivery, Task};
use serde_json::Value;

use crate::output;

/// Tests of one kind that are listed by name; `--json` has them all.
const LISTED: usize = 10;

/// The last eight digits of an id.
pub fn short(id: &str) -> String {
    let digits: String = id.chars().filter(|character| *character != '-').collect();
    digits[digits.len().saturating_sub(8)..].to_owned()
}

/// Its state in a few words: "completed, verified", "waiting for approval".
pub(super) fn state(task: &Task) -> String {
    match (task.status.as_str(), &task.waiting_for, task.verified) {
        ("completed", _, Some(true)) => "completed, verified".to_owned(),
        ("completed", _, _) if task.driver.as_deref() == Some("none") => "completed".to_owned(),
        ("completed", _, _) => "completed, not verified".to_owned(),
        ("waiting", Some(reason), _) if reason == "retry_at" => "waiting to retry".to_owned(),
        ("waiting", Some(reason), _) if reason == "lock" => "waiting for files".to_owned(),
        ("waiting", Some(reason), _) => format!("waiting for {reason}"),
        (status, _, _) => status.to_owned(),
    }
}

/// Everything about it.
pub fn describe(task: &Task) -> String {
    let mut text = format!("{}  {}\n", short(&task.id), task.title);
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {name:<9} {value}");
        }
    };
    row("state", Some(state(task)));
    row("because", task.because.clone());
    row("codebase", task.repo.clone());
    row("part of", task.parent.as_deref().map(short));
    row("files", Some(task.files.join(", ")));
    row("due", task.due.map(|due| due.format("%Y-%m-%d %H:%M UTC").to_string()));
    let agent = [task.agent.clone(), task.driver.clone(), task.model.clone()];
    row("agent", Some(agent.into_iter().flatten().collect::<Vec<_>>().join(", ")));
    row("branch", task.branch.clone());
    row("patch", task.patch.clone());
    for delivery in &task.deliveries {
        row(&delivery.kind.replace("pull_request", "request"), Some(sent(delivery)));
    }
    row("base", task.base_commit.clone());
    row("commit", task.head_commit.clone());
    row("attempts", (task.attempts > 1).then(|| task.attempts.to_string()));
    row("cost", task.cost_usd.map(|cost| format!("${cost:.4}, {} tokens", task.tokens)));
    if let (Some(started), Some(completed)) = (task.started_at, task.completed_at) {
        row("took", Some(output::duration((completed - started).num_milliseconds().max(0))));
    }
    row("trace", task.trace_id.clone());
    row("error", task.error.clone());
    if let Some(verification) = &task.verification {
        text.push_str(&evidence(verification));
    }
    for error in &task.errors {
        let _ = writeln!(
            text,
            "  failed    {}: {} (error {})",
            error.category,
            error.message,
            short(&error.id)
        );
    }
    text
}

/// Where a part of a delivery is, in one line.
fn sent(delivery: &Delivery) -> String {
    let Delivery { state, target, remote_id, attempts, last_error, .. } = delivery;
    match (state.as_str(), remote_id) {
        ("done", Some(address)) if address.contains("://") => address.clone(),
        ("done", _) => format!("done, {target}"),
        _ => {
            let tried =
                if *attempts > 1 { format!(" after {attempts} attempts") } else { String::new() };
            let why = last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            format!("{state}{tried}, {target}{why}")
        }
    }
}

/// The evidence of a verification.
fn evidence(verification: &Value) -> String {
    let mut text = String::new();
    for check in verification["checks"].as_array().into_iter().flatten() {
        let name = check["check"].as_str().unwrap_or_default();
        let became = check["comparison"].as_str().unwrap_or_default().replace('_', " ");
        let tests = check["tests"].as_object().map_or_else(String::new, |tests| {
            let count = |key: &str| tests.get(key).and_then(Value::as_u64).unwrap_or(0);
            format!(", {} passed, {} failed", count("passed_count"), count("failed_count"))
        });
        let took = check["duration_ms"].as_i64().map(output::duration).unwrap_or_default();
        let _ = writeln!(text, "  check     {name}: {became}{tests} ({took})");
    }
    let mut list = |title: &str, key: &str| {
        let items: Vec<_> =
            verification[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for item in items.iter().take(LISTED) {
            let _ = writeln!(text, "  {title:<9} {item}");
        }
        if items.len() > LISTED {
            let _ = writeln!(text, "  {title:<9} … and {} more", items.len() - LISTED);
        }
    };
    list("mended", "newly_passing");
    list("broken", "newly_failing");
    list("missing", "missing");
    list("edited", "edited_tests");
    list("edited", "edited_checks");
    list("not so", "reasons");
    text
}
