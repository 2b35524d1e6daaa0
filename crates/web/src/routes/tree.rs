//! `/tree`: the supervision tree as it is now.

use std::collections::HashMap;

use axum::Json as Document;
use axum::extract::State as Extracted;
use axum::http::StatusCode;
use futures_util::future::join_all;
use journeyman_supervision::TreeNode;
use serde_json::Value;

use super::{Answer, value};
use crate::api::State;
use crate::problem::Refusal;

/// Where the tree begins.
const ROOT: &str = "root";

pub(crate) async fn show(Extracted(shared): State) -> Answer<Value> {
    let Some(tree) = shared.directory.tree(ROOT) else {
        let stopped = "the supervision tree is not running";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "stopped", stopped));
    };
    let asked = shared.agents.runs().into_iter().map(|handle| async move {
        let snapshot = handle.snapshot().await.ok()?;
        Some((handle.run.to_string(), snapshot.now))
    });
    let now: HashMap<_, _> = join_all(asked).await.into_iter().flatten().collect();
    Ok(Document(node(&tree, &now)?))
}

/// A node, and below a run what it does now.
fn node(tree: &TreeNode, now: &HashMap<String, String>) -> Result<Value, Refusal> {
    let mut document = value(tree)?;
    let children: Result<Vec<_>, _> = tree.children.iter().map(|child| node(child, now)).collect();
    document["children"] = Value::Array(children?);
    if let Some(now) = now.get(tree.path.id()) {
        document["now"] = Value::String(now.clone());
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_says_what_it_does_wherever_it_hangs() {
        let leaf = |path: &str, children: Vec<Value>| {
            json!({
                "path": path, "kind": "worker", "strategy": null,
                "status": { "state": "running" }, "generation": 1, "restarts": 3,
                "restarts_in_period": 2, "budget": null, "restart_in_ms": null, "uptime_ms": 5,
                "mailbox_depth": 0, "last_exit": null, "last_exit_ago_ms": null,
                "children": children,
            })
        };
        let tree = leaf("root", vec![leaf("root/agents", vec![leaf("root/agents/r1", vec![])])]);
        let tree: TreeNode = serde_json::from_value(tree).unwrap();
        let now = HashMap::from([("r1".to_owned(), "round 1: clippy".to_owned())]);
        let document = node(&tree, &now).unwrap();
        let run = &document["children"][0]["children"][0];
        assert_eq!(run["now"], "round 1: clippy");
        assert_eq!((&run["restarts"], &run["restarts_in_period"]), (&json!(3), &json!(2)));
        assert_eq!(run["status"]["state"], "running");
        assert_eq!(document["now"], Value::Null);
    }
}
