//! `journeyman tree`: what runs.

use serde_json::Value;

use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::{Context, Session};

/// Shows it.
pub async fn execute(context: &Context) -> Result<Exit, Failure> {
    let Some(client) = context.daemon().await else {
        return Err(Failure::missing("no daemon is running", "start one with: journeyman up"));
    };
    let session = Session::remote(client);
    let tree: Value = session.client.get("/api/v1/tree").await?;
    output::either(context.json, &tree, || {
        let mut text = String::new();
        draw(&tree, "", "", &mut text);
        text
    })?;
    Ok(Exit::Done)
}

fn draw(node: &Value, first: &str, rest: &str, text: &mut String) {
    let path = node["path"].as_str().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or(path);
    let state = node["status"]["state"].as_str().unwrap_or_default().replace('_', " ");
    let mut line = format!("{first}{name}  {state}");
    if let Some(strategy) = node["strategy"].as_str() {
        line.push_str(&format!("  {strategy}"));
    }
    let count = |key: &str| node[key].as_u64().unwrap_or(0);
    if count("restarts") > 0 {
        line.push_str(&format!("  {} restarts", count("restarts")));
    }
    if count("mailbox_depth") > 0 {
        line.push_str(&format!("  {} waiting", count("mailbox_depth")));
    }
    if let Some(uptime) = node["uptime_ms"].as_i64() {
        line.push_str(&format!("  {}", output::duration(uptime)));
    }
    if let Some(now) = node["now"].as_str().filter(|now| !now.is_empty()) {
        line.push_str(&format!("  {now}"));
    }
    text.push_str(&line);
    text.push('\n');
    let children: Vec<_> = node["children"].as_array().into_iter().flatten().collect();
    for (place, child) in children.iter().enumerate() {
        let last = place + 1 == children.len();
        let (tip, stem) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(child, &format!("{rest}{tip}"), &format!("{rest}{stem}"), text);
    }
}
