//! Received spans as an indented text that is the same for each run of the same work.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::{ReceivedSpan, ReceivedStatus};

/// Each trace as a tree, traces and siblings by their start, without anything that differs from
/// run to run: ids become `[id]`, measured figures `[n]`, links name the span they lead to.
pub fn tree(spans: &[ReceivedSpan]) -> String {
    let mut ordered: Vec<_> = spans.iter().collect();
    ordered.sort_by_key(|span| span.start_ns);
    let by_id: HashMap<_, _> = ordered.iter().map(|span| (span.span_id.as_str(), *span)).collect();
    let mut text = String::new();
    for span in &ordered {
        let parent = span.parent.as_deref();
        if !parent.is_some_and(|parent| by_id.contains_key(parent)) {
            branch(&mut text, span, &ordered, &by_id, 0);
        }
    }
    text
}

fn branch(
    text: &mut String,
    span: &ReceivedSpan,
    all: &[&ReceivedSpan],
    by_id: &HashMap<&str, &ReceivedSpan>,
    depth: usize,
) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{}{}", "  ".repeat(depth), span.name);
    if span.kind != "internal" {
        let _ = write!(text, " ({})", span.kind);
    }
    if depth == 0 && span.parent.is_some() {
        text.push_str(" (parent not received)");
    }
    for (key, value) in &span.attributes {
        let _ = write!(text, " {key}={}", redacted(key, value));
    }
    match &span.status {
        ReceivedStatus::Unset => {}
        ReceivedStatus::Ok => text.push_str(" [ok]"),
        ReceivedStatus::Error(description) => {
            let _ = write!(text, " [error: {description}]");
        }
    }
    for (_, linked) in &span.links {
        let name = by_id.get(linked.as_str()).map_or("(not received)", |span| &span.name);
        let _ = write!(text, " -> {name}");
    }
    text.push('\n');
    for child in all.iter().filter(|child| child.parent.as_ref() == Some(&span.span_id)) {
        branch(text, child, all, by_id, depth + 1);
    }
}

fn redacted<'a>(key: &str, value: &'a str) -> &'a str {
    let last = key.rsplit('.').next().unwrap_or(key);
    let measured = ["_ms", "_us", "_ns", "_seconds", "_bytes"];
    if last == "id" || last.ends_with("_id") {
        "[id]"
    } else if measured.iter().any(|unit| last.ends_with(unit)) {
        "[n]"
    } else {
        value
    }
}
