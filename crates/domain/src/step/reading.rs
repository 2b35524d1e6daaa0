//! Reading a journal back: the entries that were written, or the first sign that it is not that any more.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Entry;

/// A row of a journal as it stands in the database.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Its number.
    pub seq: i32,
    /// The word beside the entry.
    pub kind: &'a str,
    /// The entry.
    pub payload: &'a Value,
    /// Whether its digest fits; `None` where it has none.
    pub is_whole: Option<bool>,
}

/// Why a journal cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The numbers go from 1 without gaps.
    #[error("step {0} is missing")]
    Missing(i32),
    /// The entry is none that this program knows.
    #[error("step {seq} cannot be read ({reason})")]
    Unreadable {
        /// The step.
        seq: i32,
        /// What does not fit.
        reason: String,
    },
    /// Word and entry name different kinds.
    #[error("step {seq} stands there as '{column}' and is '{entry}'")]
    OtherKind {
        /// The step.
        seq: i32,
        /// The word beside it.
        column: String,
        /// What the entry is.
        entry: &'static str,
    },
    /// The digest is another one: the row was changed, or is another run's.
    #[error("step {0} is not what was written")]
    Changed(i32),
    /// It does not follow from what stands before it.
    #[error("step {seq} ({kind}) does not follow the steps before it")]
    OutOfPlace {
        /// The step.
        seq: i32,
        /// Its kind.
        kind: &'static str,
    },
}

/// The entries of a journal, in order.
///
/// # Errors
/// The first [`Damage`].
pub fn read<'a>(rows: impl IntoIterator<Item = Row<'a>>) -> Result<Vec<Entry>, Damage> {
    let mut entries = Vec::new();
    let mut open = BTreeSet::new();
    for (expected, row) in (1..).zip(rows) {
        let seq = row.seq;
        if seq != expected {
            return Err(Damage::Missing(expected));
        }
        let entry: Entry = serde_json::from_value(row.payload.clone())
            .map_err(|error| Damage::Unreadable { seq, reason: error.to_string() })?;
        if entry.kind() != row.kind {
            let column = row.kind.to_owned();
            return Err(Damage::OtherKind { seq, column, entry: entry.kind() });
        }
        if row.is_whole == Some(false) {
            return Err(Damage::Changed(seq));
        }
        if !follows(&entry, seq == 1, &mut open) {
            return Err(Damage::OutOfPlace { seq, kind: entry.kind() });
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Whether an entry may stand here. `open` are the calls that have no result so far.
fn follows(entry: &Entry, is_first: bool, open: &mut BTreeSet<String>) -> bool {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only these say where they stand")]
    match entry {
        Entry::Started { .. } => is_first,
        // A run that could not even be prepared has an end alone.
        Entry::Outcome { .. } => true,
        Entry::ToolIntent { call, .. } => !is_first && open.insert(call.call_id.clone()),
        Entry::ToolResult { result } => open.remove(&result.call_id),
        _ => !is_first,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn journal() -> Vec<Value> {
        let call =
            json!({ "call_id": "c1", "title": "a", "tool": { "name": "read", "path": "a" } });
        vec![
            json!({ "kind": "outcome", "outcome": { "outcome": "verified" } }),
            json!({ "kind": "tool_intent", "call": call, "effect": "read" }),
            json!({ "kind": "tool_result", "result": { "call_id": "c1",
                "ended": { "ended": "exited", "code": 0 }, "head": "", "tail": null,
                "output_bytes": 0, "duration_ms": 1, "changed": false } }),
            json!({ "kind": "approved" }),
        ]
    }

    fn rows(payloads: &[Value]) -> Vec<Row<'_>> {
        (1..)
            .zip(payloads)
            .map(|(seq, payload)| {
                let kind = payload["kind"].as_str().unwrap();
                Row { seq, kind, payload, is_whole: Some(true) }
            })
            .collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let payloads = journal();
        assert_eq!(read(rows(&payloads)).map(|entries| entries.len()), Ok(4));
    }

    #[test]
    fn each_damage_has_its_sentence() {
        let payloads = journal();
        let damaged = |change: &dyn Fn(&mut Vec<Row<'_>>)| {
            let mut rows = rows(&payloads);
            change(&mut rows);
            read(rows).unwrap_err().to_string()
        };
        let gap = damaged(&|rows| rows.retain(|row| row.seq != 2));
        assert_eq!(gap, "step 2 is missing");
        let other = damaged(&|rows| rows[3].kind = "delivered");
        assert_eq!(other, "step 4 stands there as 'delivered' and is 'approved'");
        let changed = damaged(&|rows| rows[1].is_whole = Some(false));
        assert_eq!(changed, "step 2 is not what was written");
        let unread = json!({ "kind": "approve" });
        let unread = read([Row { seq: 1, kind: "approve", payload: &unread, is_whole: None }]);
        assert!(matches!(unread, Err(Damage::Unreadable { seq: 1, .. })), "{unread:?}");
        let twice = damaged(&|rows| rows[3] = Row { seq: 4, ..rows[2] });
        assert_eq!(twice, "step 4 (tool_result) does not follow the steps before it");
        let first = damaged(&|rows| *rows = vec![Row { seq: 1, ..rows[3] }]);
        assert_eq!(first, "step 1 (approved) does not follow the steps before it");
    }
}
