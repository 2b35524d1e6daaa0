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
    if let Some(seconds) = tasks["average_s"].as_f64() {
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a task")]
        let ms = (seconds * 1000.0) as i64;
        text.push_str(&format!("a completed task took {} on average\n", output::duration(ms)));
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
