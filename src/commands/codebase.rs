//! `journeyman codebase …`: the repositories that are known.

use serde_json::{Value, json};

use super::task::{segment, short_id};
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::{Context, Session};

/// Does it.
pub async fn execute(context: &Context, command: cli::Codebase) -> Result<Exit, Failure> {
    let session = Session::open(context).await?;
    let done = match command {
        cli::Codebase::Add { path, name } => match std::path::absolute(&path) {
            Ok(path) => {
                let body = json!({ "path": path, "name": name });
                session.client.post::<Value>("/api/v1/codebases", &body).await
            }
            Err(error) => Err(Failure::from_error(error)),
        },
        cli::Codebase::Set { codebase, max_concurrent } => {
            let body = json!({ "max_concurrent": max_concurrent });
            let path = format!("/api/v1/codebases/{}", segment(&codebase));
            session.client.post::<Value>(&path, &body).await
        }
        cli::Codebase::List => session.client.get::<Value>("/api/v1/codebases").await,
    };
    session.close().await;
    let document = done?;
    output::either(context.json, &document, || {
        let one = [document.clone()];
        let rows: Vec<_> = document["codebases"]
            .as_array()
            .map_or(&one[..], Vec::as_slice)
            .iter()
            .map(|row| {
                let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
                [short_id(&text("id")), text("name"), text("primary_language"), text("local_path")]
            })
            .collect();
        output::table(["CODEBASE", "NAME", "LANGUAGE", "PATH"], &rows)
    })?;
    Ok(Exit::Done)
}
