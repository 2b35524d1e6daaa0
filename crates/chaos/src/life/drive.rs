//! The user of a life: goes on with the acts, and waits until there is nothing more to come.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use journeyman_runtime::client::Client;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{Lived, Progress};
use crate::judge;
use crate::play::Act;
use crate::stage::Stage;

/// Between two looks, each of which costs the database some work.
const PAUSE: Duration = Duration::from_millis(40);

/// Nothing of the scenario can move by itself any more.
const SETTLED: &str = "SELECT NOT EXISTS (SELECT FROM tasks WHERE title LIKE '{prefix}%' AND (status IN ('pending', 'ready', \
     'running') OR status = 'waiting' AND waiting_for IN ('retry_at', 'rate_limit', 'provider', 'lock'))) \
     AND NOT EXISTS (SELECT FROM outbox WHERE state IN ('pending', 'sending'))";

/// Goes on until everything is settled, or an act asks for a new life. The life may end anywhere meanwhile: then this is
/// dropped, and the next one looks how far it came.
pub(super) async fn drive(
    stage: &Stage<'_>,
    client: &Client,
    progress: &mut Progress,
) -> Result<Lived> {
    let mut database = PgConnection::connect(&stage.world.url()).await?;
    let (began, patience) = (Instant::now(), stage.world.options().patience);
    while let Some(act) = progress.acts.get(progress.next) {
        if matches!(act, Act::Restart) {
            progress.next += 1;
            return Ok(Lived::Restarts);
        }
        loop {
            if is_done(stage, &mut database, act).await? {
                break;
            }
            match perform(stage, client, &mut database, act).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(_) if began.elapsed() < patience => {}
                Err(error) => return Ok(Lived::Stuck(format!("{act:?}: {error:#}"))),
            }
            if began.elapsed() > patience {
                return Ok(Lived::Stuck(format!("{act:?}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
        progress.next += 1;
    }
    while !stage.holds(&mut database, SETTLED).await? {
        if began.elapsed() > patience {
            return Ok(Lived::Stuck(open(stage, &mut database).await?));
        }
        tokio::time::sleep(PAUSE).await;
    }
    // Nobody works any more, and the runtime lives: what its programs left behind is gone.
    progress.left = judge::left_behind(stage, &mut database).await?;
    Ok(Lived::Over)
}

async fn is_done(stage: &Stage<'_>, database: &mut PgConnection, act: &Act) -> Result<bool> {
    match act {
        Act::Add(tasks) => {
            let first = tasks.first().context("no task")?;
            let title = stage.fill(first["prompt"].as_str().unwrap_or_default());
            let query = sqlx::query_scalar("SELECT EXISTS (SELECT FROM tasks WHERE title = $1)");
            Ok(query.bind(title).fetch_one(database).await?)
        }
        Act::Post { done, .. } | Act::Hand { done, .. } | Act::Until(done) => {
            stage.holds(database, done).await
        }
        Act::Restart => Ok(false),
    }
}

/// Whether that was all there is to it.
async fn perform(
    stage: &Stage<'_>,
    client: &Client,
    database: &mut PgConnection,
    act: &Act,
) -> Result<bool> {
    match act {
        Act::Add(tasks) => {
            post(client, "/tasks", &filled(stage, &json!({ "tasks": tasks }))).await?;
            Ok(true)
        }
        Act::Post { path, body, .. } => {
            let mut path = stage.fill(path);
            if let Some((before, rest)) = path.split_once("/tasks/{")
                && let Some((name, after)) = rest.split_once('}')
            {
                let id = stage.task(database, name).await?;
                path = format!("{before}/tasks/{id}{after}");
            }
            if let Some((before, rest)) = path.split_once("{error:")
                && let Some((name, after)) = rest.split_once('}')
            {
                let id = stage.error(database, name).await?;
                path = format!("{before}{id}{after}");
            }
            let path = path.replace(&stage.repository.display().to_string(), &codebase(stage));
            post(client, &path, &filled(stage, body)).await?;
            Ok(true)
        }
        Act::Hand { sql, .. } => {
            let mut transaction = database.begin().await?;
            transaction.execute(AssertSqlSafe(stage.fill(sql))).await?;
            transaction.commit().await?;
            Ok(true)
        }
        Act::Until(_) | Act::Restart => Ok(false),
    }
}

/// The codebase's name: that of its folder.
fn codebase(stage: &Stage<'_>) -> String {
    let name = stage.repository.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

async fn post(client: &Client, path: &str, body: &Value) -> Result<()> {
    match client.post::<Value>(&format!("/api/v1{path}"), body).await {
        Ok(_) => Ok(()),
        Err(failure) => bail!("{path}: {failure}"),
    }
}

fn filled(stage: &Stage<'_>, value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(stage.fill(text)),
        Value::Array(values) => values.iter().map(|value| filled(stage, value)).collect(),
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(key, value)| (key.clone(), filled(stage, value))).collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// What did not settle.
async fn open(stage: &Stage<'_>, database: &mut PgConnection) -> Result<String> {
    let sql = "SELECT coalesce(string_agg(concat_ws(' ', title, status, waiting_for, error), '; '), '') FROM tasks \
         WHERE title LIKE $1 AND status NOT IN ('completed', 'failed', 'cancelled', 'timeout')";
    let open: String =
        sqlx::query_scalar(sql).bind(format!("{}%", stage.prefix)).fetch_one(database).await?;
    Ok(format!("not settled: {open}"))
}
