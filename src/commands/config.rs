//! `journeyman config …`: settings with their origins.

use journeyman_domain::failure::sentence;
use journeyman_web::types::Setting;
use serde_json::json;

use crate::cli;
use crate::config::{ConfigError, edit_file};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::{Context, Session};

/// Does it.
pub async fn execute(context: &Context, command: cli::Config) -> Result<Exit, Failure> {
    match command {
        cli::Config::Path => {
            let document = json!({
                "settings": context.paths.settings_file(),
                "data": context.paths.data,
            });
            output::either(context.json, &document, || {
                format!(
                    "settings  {}\ndata      {}\n",
                    context.paths.settings_file().display(),
                    context.paths.data.display()
                )
            })?;
        }
        cli::Config::Set { key, value, system: true } => {
            let session = Session::open(context).await?;
            let path = format!("/api/v1/settings/{}", super::task::segment(&key));
            let value: serde_json::Value =
                serde_json::from_str(&value).unwrap_or(serde_json::Value::String(value));
            let done = session.client.post::<Setting>(&path, &json!({ "value": value })).await;
            session.close().await;
            done?;
        }
        cli::Config::Set { key, value, system: false } => {
            edit_file(&context.paths.settings_file(), &context.layers, &key, &value)
                .map_err(|error| wrong(&error))?;
        }
        cli::Config::Get { key } => {
            let rows = rows(context).await?;
            let Some(row) = rows.into_iter().find(|row| row.key == key) else {
                return Err(wrong(&ConfigError::UnknownKey(key)));
            };
            output::either(context.json, &row, || plain(&row.value))?;
        }
        cli::Config::List { origin } => {
            let rows = rows(context).await?;
            output::either(
                context.json,
                &json!({ "settings": rows, "next_cursor": null }),
                || {
                    if origin {
                        let cells: Vec<_> = rows
                            .iter()
                            .map(|row| [row.key.clone(), plain(&row.value), row.origin.clone()])
                            .collect();
                        output::table(["SETTING", "VALUE", "FROM"], &cells)
                    } else {
                        let cells: Vec<_> =
                            rows.iter().map(|row| [row.key.clone(), plain(&row.value)]).collect();
                        output::table(["SETTING", "VALUE"], &cells)
                    }
                },
            )?;
        }
    }
    Ok(Exit::Done)
}

/// The typed settings, then the rows of `system_configuration` that have other readers.
async fn rows(context: &Context) -> Result<Vec<Setting>, Failure> {
    let session = Session::open(context).await?;
    let table = session.client.get::<Vec<Setting>>("/api/v1/settings").await;
    session.close().await;
    let table = table?;
    let pairs = table.iter().map(|row| (row.key.clone(), row.value.clone()));
    let layers = context.layers.clone().with_table(pairs);
    let mut rows: Vec<_> = layers
        .iter()
        .map(|(key, value, origin)| Setting {
            key: key.to_owned(),
            value: serde_json::to_value(value).unwrap_or_default(),
            origin: origin.to_string(),
        })
        .collect();
    for row in table {
        if !rows.iter().any(|known| known.key == row.key) {
            rows.push(row);
        }
    }
    for row in &mut rows {
        if row.key == "database.url" && row.value.as_str().is_some_and(has_password) {
            row.value = json!("***");
        }
    }
    rows.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(rows)
}

/// Whether a URL carries a password.
fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
    let user = authority.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':')) || url.contains("password=")
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn wrong(error: &ConfigError) -> Failure {
    Failure::new(Exit::Usage, "config", sentence(error))
}
