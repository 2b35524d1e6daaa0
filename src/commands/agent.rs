//! `journeyman agent …`: the agents that work.

use serde_json::{Map, Value, json};

use super::task::{segment, short_id};
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::{Context, Session};

/// Does it.
pub async fn execute(context: &Context, command: cli::Agent) -> Result<Exit, Failure> {
    let changes = match &command {
        cli::Agent::Set { changes, .. } => Some(parse(changes)?),
        cli::Agent::List | cli::Agent::Show { .. } | cli::Agent::Test { .. } => None,
    };
    let session = Session::open(context).await?;
    let client = &session.client;
    let done = match &command {
        cli::Agent::List => client.get::<Value>("/api/v1/agents").await,
        cli::Agent::Show { agent } => {
            client.get(&format!("/api/v1/agents/{}", segment(agent))).await
        }
        cli::Agent::Test { agent, model } => {
            let path = format!("/api/v1/agents/{}/test", segment(agent));
            client.post(&path, &json!({ "model": model })).await
        }
        cli::Agent::Set { agent, .. } => {
            client.post(&format!("/api/v1/agents/{}", segment(agent)), &changes).await
        }
    };
    session.close().await;
    let document = done?;
    output::either(context.json, &document, || match (&command, document["agents"].as_array()) {
        (_, Some(agents)) => list(agents),
        (cli::Agent::Test { .. }, None) => tested(&document),
        (_, None) => serde_json::to_string_pretty(&document).unwrap_or_default(),
    })?;
    Ok(Exit::Done)
}

fn list(agents: &[Value]) -> String {
    let rows: Vec<_> = agents
        .iter()
        .map(|row| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let driver = text(&row["configuration"]["driver"]);
            [
                short_id(&text(&row["id"])),
                text(&row["name"]),
                text(&row["agent_type"]),
                if driver.is_empty() { "default".to_owned() } else { driver },
                if row["is_active"] == json!(true) { "active" } else { "inactive" }.to_owned(),
            ]
        })
        .collect();
    output::table(["AGENT", "NAME", "TYPE", "DRIVER", "STATE"], &rows)
}

/// What a test of an agent found, as a line.
fn tested(document: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (agent, driver) = (text(&document["agent"]), text(&document["driver"]));
    let model = &document["model"];
    if model.is_null() {
        return match document["program"].as_str() {
            Some(program) => format!("{agent}: driver {driver}, its program {program} is there"),
            None => format!("{agent}: driver {driver}, which needs no model"),
        };
    }
    let tools = if model["calls_tools"] == true {
        "calls tools"
    } else {
        "did not call the tool that it was asked to call; tool_mode = \"json_schema\" may help"
    };
    let cost = model["cost_usd"].as_f64().map(|cost| format!(", ${cost:.4}")).unwrap_or_default();
    format!(
        "{agent}: driver {driver}; {}/{} answered in {}, {tools} ({} tokens{cost})",
        text(&model["provider"]),
        text(&model["model"]),
        output::duration(model["duration_ms"].as_i64().unwrap_or_default()),
        model["tokens"],
    )
}

/// `KEY=VALUE` pairs as the API takes them.
fn parse(changes: &[String]) -> Result<Value, Failure> {
    let mut document = Map::new();
    for change in changes {
        let Some((key, value)) = change.split_once('=') else {
            return Err(Failure::usage(format!("'{change}' is not of the form KEY=VALUE")));
        };
        let value = match key {
            "active" | "network" => Value::Bool(value.parse().map_err(|_| {
                Failure::usage(format!("{key} takes true or false, not '{value}'"))
            })?),
            "max_concurrent" => json!(value.parse::<u32>().map_err(|_| {
                Failure::usage(format!("{key} takes a whole number, not '{value}'"))
            })?),
            "command" => json!(
                shlex::split(value)
                    .ok_or_else(|| { Failure::usage(format!("a quote is open in: {value}")) })?
            ),
            "driver" | "model" | "description" => json!(value),
            _ => {
                return Err(Failure::usage(format!(
                    "an agent has no '{key}'; known are active, driver, command, network, model, \
                     description, max_concurrent"
                )));
            }
        };
        document.insert(key.to_owned(), value);
    }
    Ok(Value::Object(document))
}
