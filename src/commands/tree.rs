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
    text.push_str(first);
    text.push_str(&line(node));
    text.push('\n');
    let children: Vec<_> = node["children"].as_array().into_iter().flatten().collect();
    for (place, child) in children.iter().enumerate() {
        let last = place + 1 == children.len();
        let (tip, stem) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(child, &format!("{rest}{tip}"), &format!("{rest}{stem}"), text);
    }
}

/// One child in one line.
fn line(node: &Value) -> String {
    let path = node["path"].as_str().unwrap_or_default();
    let state = node["status"]["state"].as_str().unwrap_or_default().replace('_', " ");
    let duration = |ms: &Value| ms.as_i64().map(output::duration);
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let mut parts = vec![path.rsplit('/').next().unwrap_or(path).to_owned()];
    parts.push(match duration(&node["restart_in_ms"]) {
        Some(left) => format!("{state}, again in {left}"),
        None => state,
    });
    parts.extend(node["strategy"].as_str().map(str::to_owned));
    let budget = &node["budget"];
    if count(&budget["used"]) > 0 {
        let period = duration(&budget["period_ms"]).unwrap_or_default();
        parts.push(format!("{} of {} restarts in {period}", budget["used"], budget["intensity"]));
    }
    match (count(&node["restarts"]), count(&node["restarts_in_period"])) {
        (0, _) => {}
        (all, lately) => {
            let s = if all == 1 { "" } else { "s" };
            parts.push(format!("restarted {all} time{s}, {lately} lately"));
        }
    }
    if count(&node["mailbox_depth"]) > 0 {
        parts.push(format!("{} waiting", node["mailbox_depth"]));
    }
    parts.extend(duration(&node["uptime_ms"]).map(|uptime| format!("up {uptime}")));
    parts.extend(node["now"].as_str().filter(|now| !now.is_empty()).map(str::to_owned));
    if let Some(exit) = exit(&node["last_exit"]) {
        let ago = duration(&node["last_exit_ago_ms"]).unwrap_or_default();
        parts.push(format!("last exit {ago} ago: {exit}"));
    }
    parts.join("  ")
}

/// Characters of an error in a line of the tree; the log has all of it.
const MOST: usize = 100;

fn exit(exit: &Value) -> Option<String> {
    if let Some(word) = exit.as_str() {
        return Some(word.to_owned());
    }
    let message = exit["failed"].as_str()?.lines().next().unwrap_or_default();
    let cut = if message.chars().count() > MOST { "…" } else { "" };
    Some(format!("failed: {}{cut}", message.chars().take(MOST).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_says_what_happened_to_whom() {
        let node = |path: &str, rest: Value| {
            let mut node = json!({
                "path": path, "strategy": null, "status": { "state": "running" }, "budget": null,
                "restarts": 0, "restarts_in_period": 0, "restart_in_ms": null, "uptime_ms": 61_000,
                "mailbox_depth": 0, "last_exit": null, "last_exit_ago_ms": null, "children": [],
            });
            for (key, value) in rest.as_object().unwrap() {
                node[key] = value.clone();
            }
            node
        };
        let down = json!({
            "status": { "state": "backing_off", "until_unix_ms": 1 }, "restart_in_ms": 4_200,
            "uptime_ms": null, "restarts": 7, "restarts_in_period": 2, "mailbox_depth": 3,
            "last_exit": { "failed": "no such table\nand more" }, "last_exit_ago_ms": 800,
        });
        let back = json!({
            "restarts": 1, "last_exit": "killed", "last_exit_ago_ms": 61_000, "now": "round 1"
        });
        let children = [node("root/auditor", down), node("root/gateway", back)];
        let tree = node(
            "root",
            json!({
                "strategy": "rest_for_one", "children": children,
                "budget": { "used": 2, "intensity": 3, "period_ms": 60_000 },
            }),
        );
        let mut text = String::new();
        draw(&tree, "", "", &mut text);
        assert_eq!(
            text,
            "root  running  rest_for_one  2 of 3 restarts in 1 min 00 s  up 1 min 01 s\n\
             ├─ auditor  backing off, again in 4.2 s  restarted 7 times, 2 lately  3 waiting  last \
             exit 0.8 s ago: failed: no such table\n\
             └─ gateway  running  restarted 1 time, 0 lately  up 1 min 01 s  round 1  last exit 1 \
             min 01 s ago: killed\n"
        );
    }
}
