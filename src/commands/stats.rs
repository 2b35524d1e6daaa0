//! `journeyman stats`: what was done lately, and what it cost.

use serde_json::Value;

use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::{Context, Session};

/// Shows it.
pub async fn execute(context: &Context, days: u32) -> Result<Exit, Failure> {
    let session = Session::open(context).await?;
    let stats = session.client.get::<Value>(&format!("/api/v1/stats?days={days}")).await;
    session.close().await;
    let stats = stats?;
    output::either(context.json, &stats, || describe(days, &stats))?;
    Ok(Exit::Done)
}

/// Shows what the queue holds.
pub async fn queue(context: &Context) -> Result<Exit, Failure> {
    let session = Session::open(context).await?;
    let stats = session.client.get::<Value>("/api/v1/stats/queue").await;
    session.close().await;
    let stats = stats?;
    output::either(context.json, &stats, || describe_queue(&stats))?;
    Ok(Exit::Done)
}

fn describe_queue(stats: &Value) -> String {
    let number = |row: &Value, key: &str| row[key].as_i64().unwrap_or_default();
    let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows_of = |key: &str| stats[key].as_array().cloned().unwrap_or_default();
    let ready = rows_of("ready");
    let total: i64 = ready.iter().map(|row| number(row, "tasks")).sum();
    let mut text = format!("{total} ready\n");
    for row in &ready {
        let whom = match (word(row, "agent"), row["is_runless"].as_bool()) {
            (_, Some(true)) => "nobody: they only stand for others".to_owned(),
            (agent, _) if agent.is_empty() => format!("any agent with {}", word(row, "capability")),
            (agent, _) => agent,
        };
        let oldest = row["oldest"].as_str().unwrap_or("-").chars().take(16).collect::<String>();
        text.push_str(&format!(
            "  {:>7}  {}  for {whom}, the oldest from {}\n",
            number(row, "tasks"),
            row["codebase"].as_str().unwrap_or("no codebase"),
            oldest.replace('T', " "),
        ));
    }
    for row in rows_of("states") {
        let named = match row["waiting_for"].as_str() {
            Some("retry_at") => "waiting to retry".to_owned(),
            Some("lock") => "waiting for files".to_owned(),
            Some(reason) => format!("waiting for {reason}"),
            None => word(&row, "status"),
        };
        text.push_str(&format!("{} {named}\n", number(&row, "tasks")));
    }
    for row in rows_of("running") {
        let node: String = word(&row, "node").chars().rev().take(8).collect();
        let node: String = node.chars().rev().collect();
        text.push_str(&format!(
            "  {:>7}  {} on node {node}\n",
            number(&row, "runs"),
            word(&row, "agent")
        ));
    }
    let (pace, scheduler) = (&stats["last_hour"], &stats["scheduler"]);
    text.push_str(&format!(
        "the last hour: {} runs begun, {} completed, {} failed\n",
        number(pace, "begun"),
        number(pace, "completed"),
        number(pace, "failed"),
    ));
    if let (Some(half), Some(most)) = (pace["wait_p50_s"].as_f64(), pace["wait_p99_s"].as_f64()) {
        text.push_str(&format!(
            "they waited {} (p50), {} (p99) for their turn\n",
            seconds(half),
            seconds(most)
        ));
    }
    if let (Some(name), Some(at)) =
        (stats["next_schedule"]["name"].as_str(), stats["next_schedule"]["next_at"].as_str())
    {
        let at: String = at.chars().take(16).collect();
        text.push_str(&format!("the next schedule: {name} at {} UTC\n", at.replace('T', " ")));
    }
    if scheduler["maintenance"].as_bool() == Some(true) {
        text.push_str("maintenance mode is on: nothing is begun\n");
    }
    if scheduler["held"].as_bool() == Some(true) {
        text.push_str("this daemon is drained: it begins nothing; journeyman drain --off\n");
    }
    text
}

fn seconds(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a task")]
    let ms = (seconds * 1000.0) as i64;
    output::duration(ms)
}

fn describe(days: u32, stats: &Value) -> String {
    let tasks = &stats["tasks"];
    let count = |key: &str| tasks[key].as_i64().unwrap_or_default();
    let mut text = format!(
        "the last {days} days: {} tasks, {} completed ({} verified), {} failed, {} open\n",
        count("tasks"),
        count("completed"),
        count("verified"),
        count("failed"),
        count("open"),
    );
    if let Some(average) = tasks["average_s"].as_f64() {
        text.push_str(&format!("a completed task took {} on average\n", seconds(average)));
    }
    let models = stats["models"].as_array().cloned().unwrap_or_default();
    if models.is_empty() {
        text.push_str("no model was asked\n");
        return text;
    }
    let number = |row: &Value, key: &str| row[key].as_i64().unwrap_or_default();
    let cost =
        |value: &Value| value.as_f64().map_or("unknown".to_owned(), |usd| format!("${usd:.4}"));
    let rows: Vec<_> = models
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let cached = number(row, "cache_read_tokens");
            let input =
                number(row, "uncached_input_tokens") + cached + number(row, "cache_write_tokens");
            [
                format!("{}/{}", text("provider"), text("model")),
                number(row, "answers").to_string(),
                number(row, "failures").to_string(),
                input.to_string(),
                cached.to_string(),
                number(row, "output_tokens").to_string(),
                cost(&row["cost_usd"]),
            ]
        })
        .collect();
    let headings = ["MODEL", "ANSWERS", "FAILED", "INPUT", "CACHED", "OUTPUT", "COST"];
    text.push_str(&output::table(headings, &rows));
    text
}
