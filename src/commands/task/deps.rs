//! `journeyman task deps`: what a task waits for and what waits for it, as trees.

use serde_json::Value;

use super::{segment, show};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::Context;

/// Shows them.
pub(super) async fn execute(context: &Context, client: &Client, id: &str) -> Result<Exit, Failure> {
    let document: Value = client.get(&format!("/api/v1/tasks/{}/deps", segment(id))).await?;
    output::either(context.json, &document, || describe(&document))?;
    Ok(Exit::Done)
}

fn describe(document: &Value) -> String {
    let mut text = format!("{}\n", line(document));
    for (title, key) in [("waits for", "depends_on"), ("is waited for by", "blocks")] {
        if document[key].as_array().is_none_or(Vec::is_empty) {
            text.push_str(&format!("{title}: nothing\n"));
        } else {
            text.push_str(&format!("{title}:\n"));
            branches(&document[key], key, "", &mut text);
        }
    }
    if document["is_cut"] == true {
        text.push_str("there is more of it than is shown here\n");
    }
    text
}

fn line(task: &Value) -> String {
    let word = |key: &str| task[key].as_str().unwrap_or_default();
    format!("{}  {}  {}", show::short(word("id")), word("status"), word("title"))
}

/// The tasks under one, each on its line. What was drawn before, or is very deep, ends with dots.
fn branches(tasks: &Value, key: &str, before: &str, text: &mut String) {
    let tasks = tasks.as_array().map_or(&[][..], Vec::as_slice);
    for (number, task) in tasks.iter().enumerate() {
        let is_last = number + 1 == tasks.len();
        let (branch, beside) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let dots = if task[key].is_null() { " …" } else { "" };
        text.push_str(&format!("{before}{branch}{}{dots}\n", line(task)));
        branches(&task[key], key, &format!("{before}{beside}"), text);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_is_drawn_and_what_was_drawn_before_is_not_again() {
        let task = |number: u32, under: Value| json!({ "id": format!("0000000{number}"), "status": "ready", "title": format!("t{number}"), "depends_on": under });
        let mut document = task(
            1,
            json!([task(2, json!([task(4, json!([]))])), task(3, json!([task(2, Value::Null)]))]),
        );
        document["blocks"] = json!([]);
        insta::assert_snapshot!(describe(&document), @r"
        00000001  ready  t1
        waits for:
        ├─ 00000002  ready  t2
        │  └─ 00000004  ready  t4
        └─ 00000003  ready  t3
           └─ 00000002  ready  t2 …
        is waited for by: nothing
        ");
    }
}
