//! `journeyman audit …`: the record of every change.

use journeyman_store::audit::Mark;
use serde_json::Value;

use super::task::{query, segment, short_id};
use crate::boot::seen;
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::{Context, Session};

/// Does it.
pub async fn execute(context: &Context, command: cli::Audit) -> Result<Exit, Failure> {
    let path = match &command {
        cli::Audit::List { table, record, limit } => {
            let query = query(&[
                ("table", table.clone()),
                ("record", record.clone()),
                ("limit", Some(limit.to_string())),
            ]);
            format!("/api/v1/audit{query}")
        }
        cli::Audit::Show { id } => format!("/api/v1/audit/{}", segment(id)),
        cli::Audit::Verify => {
            let seen = seen::File::of(&context.paths.data).read();
            let text = |mark: Option<Mark>| mark.map(|it| format!("{},{}", it.position, it.id));
            let query = query(&[("rows", text(seen.rows)), ("events", text(seen.events))]);
            format!("/api/v1/audit-chain{query}")
        }
    };
    let session = Session::open(context).await?;
    let document = session.client.get::<Value>(&path).await;
    session.close().await;
    let document = document?;
    match command {
        cli::Audit::List { .. } => {
            output::either(context.json, &document, || list(&document))?;
            Ok(Exit::Done)
        }
        cli::Audit::Show { .. } => {
            output::json(&document)?;
            Ok(Exit::Done)
        }
        cli::Audit::Verify => {
            let sound = document["ok"].as_bool().unwrap_or(false);
            output::either(context.json, &document, || {
                let count = |key: &str| document[key].as_i64().unwrap_or(0);
                let verdict = if sound { "the chain holds" } else { "THE CHAIN IS BROKEN" };
                let (sealed, unsealed) = (count("sealed"), count("unsealed"));
                let mut text = format!("{verdict}: {sealed} sealed, {unsealed} not yet sealed\n");
                let links_only = count("links_only");
                if links_only > 0 {
                    text.push_str(&format!(
                        "of {} blocks, {links_only} by their links alone: rows of them are gone by retention\n",
                        count("blocks")
                    ));
                }
                if let Some(broken) = document["first_broken"].as_str() {
                    text.push_str(&format!("{broken}\n"));
                }
                for chain in document["lacking"].as_array().into_iter().flatten() {
                    text.push_str(&format!(
                        "the end of the chain '{}' is gone: this data folder has seen more of it\n",
                        chain.as_str().unwrap_or_default()
                    ));
                }
                text
            })?;
            Ok(if sound { Exit::Done } else { Exit::Failed })
        }
    }
}

fn list(document: &Value) -> String {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows: Vec<_> = document["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| {
            let fields: Vec<_> = row["changed_fields"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            [
                text(row, "occurred_at").chars().take(19).collect(),
                text(row, "operation"),
                text(row, "table_name"),
                short_id(&text(row, "record_id")),
                text(row, "actor"),
                fields.join(", "),
            ]
        })
        .collect();
    output::table(["AT", "OPERATION", "TABLE", "ROW", "BY", "FIELDS"], &rows)
}
